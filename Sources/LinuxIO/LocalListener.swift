import CLinux
import Glibc
import SystemPackage

/// A listening local socket of either kind, with credentials recorded from the start or not at
/// all: for looking at what the kernel does. A broker uses `SeqpacketListener`.
public struct LocalListener: ~Copyable, Sendable {
    public let descriptor: OwnedDescriptor
    private let claim: SocketPath
    private let identity: FileIdentity

    /// Listens on a path with mode 0666 whatever the umask. A stale socket is replaced.
    ///
    /// - Parameter records: whether connections record credentials (and process descriptors and
    ///   times, where the kernel has them) from their first packet on.
    public init(
        path: String, type: Actor.SocketType, records: Bool
    ) throws(SocketPathError) {
        let claim = try SocketPath(claiming: path)
        let socket = try Self.listen(claim, type, records: records)
        identity = try at(path) { () throws(KernelError) in
            try claim.directory.identity(of: claim.directory.name)
        }
        self.claim = claim
        descriptor = socket
    }

    /// If that fails, the lock is removed.
    private static func listen(
        _ claim: borrowing SocketPath, _ type: Actor.SocketType, records: Bool
    ) throws(SocketPathError) -> OwnedDescriptor {
        let address = claim.directory.address
        do throws(KernelError) {
            let socket = try Actor.socket(type)
            let number = socket.rawValue
            try kernelTry("fcntl F_SETFL") { clinux_add_status_flags(number, O_NONBLOCK) }
            if records {
                try SocketOptions.enableCredentialRecording(socket)
                try? SocketOptions.enableReceiveTimestamps(socket)
                SocketOptions.setPassPidfd(socket, true)
            }
            try kernelTry("fchmod") { fchmod(number, 0o666) }
            try kernelTry("bind") { unsafe clinux_bind_path(number, address) }
            // bind has applied the umask.
            try kernelTry("chmod") { unsafe chmod(address, 0o666) }
            try kernelTry("listen") { Glibc.listen(number, 64) }
            return socket
        } catch {
            try? claim.removeLock()
            throw .system(path: claim.directory.path, error)
        }
    }

    /// The next connection, waiting for one. Nil when the time is over.
    ///
    /// The corresponding C functions are `poll` and `accept4`.
    public func accept(timeoutMilliseconds: Int32) throws(KernelError) -> OwnedDescriptor? {
        guard try waitUntilReadable(descriptor, timeoutMilliseconds: timeoutMilliseconds) else {
            return nil
        }
        let number = descriptor.rawValue
        switch kernelCall("accept4", { clinux_accept4(number, socketFlags) }) {
        case .success(let accepted): return OwnedDescriptor(adopting: accepted)
        case .failure(let error):
            if error.errno == .wouldBlock || error.errno == .connectionAbort { return nil }
            throw error
        }
    }

    /// Unlinks the path, if it is still ours, and its lock.
    public func removePath() {
        if let now = try? claim.directory.identityIfPresent(of: claim.directory.name),
            now.isSameFile(as: identity)
        {
            try? claim.directory.unlink(claim.directory.name)
        }
        try? claim.removeLock()
    }
}
