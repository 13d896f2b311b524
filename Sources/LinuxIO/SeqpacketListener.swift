import CLinux
import Glibc
import SystemPackage

/// What `accept` found.
public enum AcceptOutcome: ~Copyable {
    /// A connection, non-blocking and close-on-exec, with the listener's options as they were
    /// when the peer connected. Ask `SocketOptions.recordsCredentials` before trusting it.
    case connection(OwnedDescriptor)
    /// Nobody waits.
    case wouldBlock
    /// No descriptor or no memory is left (EMFILE, ENFILE, ENOBUFS, ENOMEM). The connection
    /// goes on waiting and the listener stays readable: free something, or stop listening for
    /// a while.
    case descriptorsExhausted(KernelError)
    /// The peer has given up already; try the next one.
    case aborted
    case failed(KernelError)
}

/// A listening SOCK_SEQPACKET socket that makes every packet carry its sender's credentials.
///
/// Options are set between `socket` and `listen`: connections take them over at `connect`, so
/// no packet can be queued unrecorded. The inode has its final mode and group before the first
/// `connect` can succeed.
public struct SeqpacketListener: ~Copyable, Sendable {
    /// Readable while a connection waits.
    public let descriptor: OwnedDescriptor
    /// Nil for a socket that somebody else bound for us.
    private let bound: BoundPath?

    /// A path we bound, its lock, and which file we made there.
    private struct BoundPath: ~Copyable, Sendable {
        let claim: SocketPath
        let identity: FileIdentity
    }

    /// Listens on a path with exactly this mode whatever the umask, and this group if given.
    /// A stale socket is replaced; `SocketPathError` says what else may be in the way.
    public init(
        path: String, mode: UInt32, groupID: UInt32?, backlog: Int32
    ) throws(SocketPathError) {
        precondition(mode & ~0o777 == 0, "a socket has permission bits only")
        let socket = try at(path) { () throws(KernelError) in
            let socket = try openSeqpacketSocket()
            try SeqpacketListener.setOptions(socket)
            let number = socket.rawValue
            // The mode of the inode that bind will make, so that it is never too wide.
            try kernelTry("fchmod") { fchmod(number, mode) }
            return socket
        }
        let claim = try SocketPath(claiming: path)
        let identity: FileIdentity
        do throws(SocketPathError) {
            identity = try SeqpacketListener.bind(
                socket, claim, mode: mode, groupID: groupID, backlog: backlog)
        } catch {
            try? claim.removeLock()
            throw error
        }
        descriptor = socket
        bound = BoundPath(claim: claim, identity: identity)
    }

    /// Takes over a socket that listens already (socket activation): sets all options and calls
    /// `listen` again, so that clients see this process as their peer and not its parent.
    ///
    /// Connections that were waiting before have the options of the time they connected.
    /// Throws EPROTOTYPE for another kind of socket, EINVAL if it does not listen.
    public init(
        adopting descriptor: consuming OwnedDescriptor, backlog: Int32
    ) throws(KernelError) {
        let number = descriptor.rawValue
        let domain = try SocketOptions.get(number, SO_DOMAIN, "getsockopt SO_DOMAIN")
        let type = try SocketOptions.get(number, SO_TYPE, "getsockopt SO_TYPE")
        guard domain == AF_UNIX, type == Int32(SOCK_SEQPACKET.rawValue) else {
            throw KernelError(
                call: "adopt a SOCK_SEQPACKET socket", errno: .protocolWrongTypeForSocket)
        }
        guard try SocketOptions.get(number, SO_ACCEPTCONN, "getsockopt SO_ACCEPTCONN") == 1 else {
            throw KernelError(call: "adopt a listening socket", errno: .invalidArgument)
        }
        try kernelTry("fcntl F_SETFD") { clinux_add_descriptor_flags(number, FD_CLOEXEC) }
        try kernelTry("fcntl F_SETFL") { clinux_add_status_flags(number, O_NONBLOCK) }
        try SeqpacketListener.setOptions(descriptor)
        try SeqpacketListener.listen(descriptor, backlog: backlog)
        self.descriptor = descriptor
        bound = nil
    }

    /// Takes the next waiting connection.
    ///
    /// The corresponding C function is `accept4` (`SOCK_NONBLOCK | SOCK_CLOEXEC`).
    public func accept() -> AcceptOutcome {
        let number = descriptor.rawValue
        let result = kernelCall("accept4") { clinux_accept4(number, socketFlags) }
        switch result {
        case .success(let accepted):
            return .connection(OwnedDescriptor(adopting: accepted))
        case .failure(let error):
            return SeqpacketListener.outcome(of: error)
        }
    }

    /// Unlinks the path and its lock file, each only if it is still the file we made. False if
    /// the path was not ours (any more). The socket goes on listening for who has it open.
    @discardableResult
    public func removePath() throws(SocketPathError) -> Bool {
        switch bound {
        case .none:
            return false
        case .some(let bound):
            let path = bound.claim.directory.path
            return try at(path) { () throws(KernelError) in
                let name = bound.claim.directory.name
                let found = try bound.claim.directory.identityIfPresent(of: name)
                let ours = found.map { $0.isSameFile(as: bound.identity) } ?? false
                if ours { try bound.claim.directory.unlink(name) }
                try bound.claim.removeLock()
                return ours
            }
        }
    }

    static func outcome(of error: KernelError) -> AcceptOutcome {
        switch error.errno {
        case .wouldBlock: .wouldBlock
        case .connectionAbort, .protocolError, .connectionReset: .aborted
        case .tooManyOpenFiles, .tooManyOpenFilesInSystem, .noBufferSpace, .noMemory:
            .descriptorsExhausted(error)
        default: .failed(error)
        }
    }

    /// All but SO_PASSCRED may be missing or fail without harm to the rule that an unattested
    /// packet has no sender: SO_PASSPIDFD before 6.5, SO_PASSRIGHTS before 6.16.
    private static func setOptions(_ socket: borrowing OwnedDescriptor) throws(KernelError) {
        try SocketOptions.enableCredentialRecording(socket)
        try SocketOptions.enableReceiveTimestamps(socket)
        SocketOptions.setPassPidfd(socket, true)
        SocketOptions.setPassRights(socket, false)
    }

    /// The corresponding C function is `listen`.
    private static func listen(
        _ socket: borrowing OwnedDescriptor, backlog: Int32
    ) throws(KernelError) {
        let number = socket.rawValue
        try kernelTry("listen") { Glibc.listen(number, backlog) }
    }

    /// Binds, gives the new inode its group and the mode bits that the umask took away, and then
    /// listens.
    ///
    /// The umask itself is left alone: it belongs to all threads. What bind made is held by an
    /// O_PATH descriptor, so that a link put in its place is never followed.
    ///
    /// The corresponding C functions are `bind`, `fchownat`, `chmod` and `listen`.
    private static func bind(
        _ socket: borrowing OwnedDescriptor, _ claim: borrowing SocketPath,
        mode: UInt32, groupID: UInt32?, backlog: Int32
    ) throws(SocketPathError) -> FileIdentity {
        let number = socket.rawValue
        let path = claim.directory.path
        let address = claim.directory.address
        do throws(KernelError) {
            try kernelTry("bind") { unsafe clinux_bind_path(number, address) }
        } catch {
            if error.errno == .addressInUse { throw .inUse(path: path) }
            throw .system(path: path, error)
        }
        do throws(KernelError) {
            let identity = try finishInode(claim, mode: mode, groupID: groupID)
            try listen(socket, backlog: backlog)
            return identity
        } catch {
            try? claim.directory.unlink(claim.directory.name)
            throw .system(path: path, error)
        }
    }

    private static func finishInode(
        _ claim: borrowing SocketPath, mode: UInt32, groupID: UInt32?
    ) throws(KernelError) -> FileIdentity {
        let file = try claim.directory.open(claim.directory.name, flags: CLINUX_O_PATH)
        let number = file.rawValue
        guard let made = fileIdentity(number), made.isSocket else {
            throw KernelError(call: "open socket", errno: .notSocket)
        }
        if let groupID {
            try kernelTry("chown") { clinux_fchgrp(number, groupID) }
        }
        if made.permissions != mode {
            try kernelTry("chmod") { unsafe chmod("/proc/self/fd/\(number)", mode) }
        }
        return made
    }
}
