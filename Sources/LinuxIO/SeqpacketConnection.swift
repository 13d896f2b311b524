import CLinux
import Glibc
import SystemPackage

let socketFlags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)

/// Connects to a listening SOCK_SEQPACKET socket; the descriptor is non-blocking and
/// close-on-exec. Where the kernel can do that (6.16) it refuses descriptors to who sends them.
///
/// Throws EAGAIN (`.wouldBlock`) while the listener's backlog is full, ECONNREFUSED if nobody
/// listens, ENOENT without a socket, EACCES without the permission to write to it, EPROTOTYPE
/// if it is of another type, ENOTSOCK if it is a file of another kind.
///
/// The corresponding C functions are `socket` and `connect`.
public func connectSeqpacket(path: String) throws(KernelError) -> OwnedDescriptor {
    do throws(KernelError) {
        if path.utf8.count <= DirectoryEntry.addressBytesMax {
            return try connectSeqpacket(address: path)
        }
        let directory = try DirectoryEntry(of: path)
        return try connectSeqpacket(address: directory.address)
    } catch {
        throw connectFailure(error, path: path)
    }
}

/// Linux says of a file that is no socket what it says of a socket on which nobody listens.
func connectFailure(_ error: KernelError, path: String) -> KernelError {
    guard error.errno == .connectionRefused, let file = fileIdentity(path: path), !file.isSocket
    else { return error }
    return KernelError(call: error.call, errno: .notSocket)
}

/// With a path that fits into a socket address.
func connectSeqpacket(address: String) throws(KernelError) -> OwnedDescriptor {
    guard !address.utf8.contains(0) else {
        throw KernelError(call: "connect", errno: .invalidArgument)
    }
    let socket = try openSeqpacketSocket()
    SocketOptions.setPassRights(socket, false)
    let number = socket.rawValue
    try kernelTry("connect") { unsafe clinux_connect_path(number, address) }
    return socket
}

/// Ends our sending: the peer reads what is queued and then the end of the stream, while we
/// can go on receiving. A peer that is gone already is no error.
///
/// The corresponding C function is `shutdown` with `SHUT_WR`.
public func shutdownWrite(_ fd: borrowing OwnedDescriptor) throws(KernelError) {
    try shut(fd, SHUT_WR)
}

/// Ends our receiving: what is queued can still be read, and then comes the end of the stream.
/// The peer sends in vain (EPIPE). A peer that is gone already is no error.
///
/// The corresponding C function is `shutdown` with `SHUT_RD`.
public func shutdownRead(_ fd: borrowing OwnedDescriptor) throws(KernelError) {
    try shut(fd, SHUT_RD)
}

private func shut(_ fd: borrowing OwnedDescriptor, _ how: Int) throws(KernelError) {
    let number = fd.rawValue
    do {
        try kernelTry("shutdown") { shutdown(number, Int32(how)) }
    } catch {
        if error.errno != .socketNotConnected { throw error }
    }
}

/// The corresponding C function is `socket` (`SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC`).
func openSeqpacketSocket() throws(KernelError) -> OwnedDescriptor {
    OwnedDescriptor(
        adopting: try kernelTry("socket") {
            socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | socketFlags, 0)
        })
}

/// Two connected SOCK_SEQPACKET sockets, for programs that talk to themselves or to a child.
/// Both ends are there at first; take one out to give it away or to close it.
public struct SeqpacketPair: ~Copyable, Sendable {
    public var first: OwnedDescriptor?
    public var second: OwnedDescriptor?

    /// The corresponding C function is `socketpair`, non-blocking and close-on-exec.
    public init() throws(KernelError) {
        var numbers: [Int32] = [-1, -1]
        try kernelTry("socketpair") {
            unsafe socketpair(
                AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | socketFlags, 0, &numbers)
        }
        first = OwnedDescriptor(adopting: numbers[0])
        second = OwnedDescriptor(adopting: numbers[1])
    }
}
