import CLinux
import Glibc
import SystemPackage

/// A process held by a pidfd: it goes on to mean the same process after that has exited and
/// its number has been given to another.
public struct ProcessDescriptor: ~Copyable, Sendable {
    /// Where a process stands in the tree of user namespaces, seen from ours.
    public enum UserNamespace: Equatable, Sendable {
        /// In our own: its ids are what they seem.
        case same
        /// In another one, made by this uid: ids mapped into it are that user's word.
        case other(inode: UInt64, ownerUID: UInt32)
        /// The kernel (< 6.11) does not tell, we may not ask, or the process is gone.
        case unknown
    }

    /// The user namespace of this process, which others are compared with. It is read once: a
    /// process that moves to another one needs a new value.
    public struct OwnUserNamespace: Sendable {
        let file: FileIdentity?

        /// The corresponding C function is `stat` of `/proc/self/ns/user`.
        public init() {
            file = fileIdentity(path: "/proc/self/ns/user")
        }
    }

    /// Readable once the process has exited.
    public let descriptor: OwnedDescriptor

    init(adopting descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }

    /// The process that called `connect` (on a listener's side of a connection), `listen` (on
    /// a client's side) or `socketpair`. Nil where the kernel (< 6.5) lacks it, or (< 6.16)
    /// where that process has been reaped.
    ///
    /// The corresponding C function is `getsockopt` with `SO_PEERPIDFD`.
    public static func ofPeer(of socket: borrowing OwnedDescriptor) -> ProcessDescriptor? {
        let number = try? SocketOptions.get(
            socket.rawValue, CLINUX_SO_PEERPIDFD, "getsockopt SO_PEERPIDFD")
        guard let number, number >= 0 else { return nil }
        return ProcessDescriptor(adopting: OwnedDescriptor(adopting: number))
    }

    /// A running process, or a zombie, by its number.
    ///
    /// The corresponding C function is `pidfd_open`.
    public static func open(pid: Int32) throws(KernelError) -> ProcessDescriptor {
        let number = try kernelTry("pidfd_open") { clinux_pidfd_open(pid) }
        return ProcessDescriptor(adopting: OwnedDescriptor(adopting: number))
    }

    /// The identity of the process until reboot: equal for every descriptor of it, kept over
    /// exec, never given to another. Nil before Linux 6.9, where all pidfds share one inode.
    ///
    /// The corresponding C function is `fstat`.
    public var inode: UInt64? {
        guard Self.inodesAreUnique else { return nil }
        return fileIdentity(descriptor.rawValue)?.inode
    }

    /// Whether the process number may by now belong to another process. While this is false,
    /// a packet with that number in its credentials was sent by this process (or by one that
    /// may claim any number). Any error counts as true.
    ///
    /// The corresponding C function is `poll`: POLLHUP is reported once the process was reaped.
    /// Kernels that do not know this say POLLIN for a zombie and for a reaped process alike,
    /// and are asked once more with `pidfd_send_signal`.
    public func hasExitedAndBeenReaped() -> Bool {
        var request = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
        guard case .success = kernelCall("poll", { unsafe poll(&request, 1, 0) }) else {
            return true
        }
        if request.revents == 0 { return false }
        if request.revents & ~Int16(POLLIN) != 0 { return true }
        let number = descriptor.rawValue
        let signal = kernelCall("pidfd_send_signal") { clinux_pidfd_send_signal(number, 0) }
        guard case .failure(let error) = signal else { return false }
        return error.errno != .notPermitted
    }

    /// The user namespace of the process, seen from ours.
    ///
    /// The corresponding C function is `ioctl` with `PIDFD_GET_USER_NAMESPACE`, then with
    /// `NS_GET_OWNER_UID`. It needs the right to trace the process, so a broker without
    /// privilege gets `.unknown` even for its own namespace.
    public func userNamespace(seenFrom own: OwnUserNamespace) -> UserNamespace {
        let number = descriptor.rawValue
        let opened = kernelCall("ioctl PIDFD_GET_USER_NAMESPACE") {
            clinux_pidfd_user_namespace(number)
        }
        guard case .success(let opened) = opened else { return .unknown }
        let namespace = OwnedDescriptor(adopting: opened)
        guard let theirs = fileIdentity(namespace.rawValue), let ours = own.file else {
            return .unknown
        }
        if theirs.isSameFile(as: ours) { return .same }
        var owner: UInt32 = 0
        guard unsafe clinux_namespace_owner(namespace.rawValue, &owner) >= 0 else {
            return .unknown
        }
        return .other(inode: theirs.inode, ownerUID: owner)
    }

    /// The process number as the kernel has it now, by PIDFD_GET_INFO (6.13); nil where that
    /// is missing or the process was reaped.
    ///
    /// The corresponding C function is `ioctl` with `PIDFD_GET_INFO`.
    func currentPID() -> Int32? {
        var pid: Int32 = 0
        guard unsafe clinux_pidfd_info_pid(descriptor.rawValue, &pid) >= 0 else { return nil }
        return pid
    }

    /// Whether this kernel gives every process an inode of its own (6.9), found out once.
    static let inodesAreUnique: Bool = {
        guard let own = try? open(pid: getpid()) else { return false }
        return isPIDFileSystem(own.descriptor.rawValue)
    }()
}

/// The corresponding C function is `fstatfs`.
private func isPIDFileSystem(_ fd: Int32) -> Bool {
    var status = statfs()
    guard unsafe fstatfs(fd, &status) == 0 else { return false }
    return Int64(status.f_type) == CLINUX_PIDFS_MAGIC
}
