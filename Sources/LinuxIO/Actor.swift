import CLinux
import Glibc
import SystemPackage

/// What a process of one purpose does to show how the kernel records it. All of this changes
/// the calling process for good; a program that has other work to do starts one for it.
public enum Actor {
    /// The real, the effective and the saved id.
    public struct IDs: Equatable, Sendable {
        public var real: UInt32
        public var effective: UInt32
        public var saved: UInt32

        public init(real: UInt32, effective: UInt32, saved: UInt32) {
            self.real = real
            self.effective = effective
            self.saved = saved
        }

        public init(_ all: UInt32) {
            self.init(real: all, effective: all, saved: all)
        }
    }

    /// Kinds of local sockets.
    public enum SocketType: String, CaseIterable, Sendable {
        case seqpacket
        case stream

        var number: Int32 {
            switch self {
            case .seqpacket: Int32(SOCK_SEQPACKET.rawValue)
            case .stream: Int32(SOCK_STREAM.rawValue)
            }
        }
    }

    /// Prints `WORD pid uid gid euid egid` of the calling process on standard output, at once.
    public static func report(_ word: String) throws(KernelError) {
        try kernelTry("write") { unsafe clinux_actor_report(STDOUT_FILENO, word) }
    }

    /// Prints a line on standard output, at once.
    public static func say(_ line: String) throws(KernelError) {
        let bytes = Array((line + "\n").utf8)
        try kernelTry("write") { unsafe write(STDOUT_FILENO, bytes, bytes.count) }
    }

    /// Waits for a line on standard input. False at its end.
    @discardableResult
    public static func awaitLine() -> Bool {
        var byte: UInt8 = 0
        while true {
            guard case .success(let count) = kernelCall("read", { unsafe read(0, &byte, 1) }),
                count == 1
            else { return false }
            if byte == UInt8(ascii: "\n") { return true }
        }
    }

    /// Takes these user ids, in all threads.
    ///
    /// The corresponding C function is `setresuid`.
    public static func setUserIDs(_ ids: IDs) throws(KernelError) {
        try kernelTry("setresuid") { clinux_actor_set_ids(ids.real, ids.effective, ids.saved) }
    }

    /// Takes these group ids and gives up all supplementary ones.
    ///
    /// The corresponding C functions are `setgroups` and `setresgid`.
    public static func setGroupIDs(_ ids: IDs) throws(KernelError) {
        try kernelTry("setresgid") {
            clinux_actor_set_group_ids(ids.real, ids.effective, ids.saved)
        }
    }

    /// Lets the kernel end this process when the one that started it ends.
    ///
    /// The corresponding C function is `prctl` with `PR_SET_PDEATHSIG`; changing ids undoes it.
    public static func endWithParent() {
        _ = clinux_actor_end_with_parent()
    }

    /// A socket that is not connected; blocking.
    ///
    /// The corresponding C function is `socket` (`SOCK_CLOEXEC`).
    public static func socket(_ type: SocketType) throws(KernelError) -> OwnedDescriptor {
        OwnedDescriptor(adopting: try kernelTry("socket") { clinux_actor_socket(type.number) })
    }

    /// A connected socket; blocking. Throws as `connectSeqpacket`.
    ///
    /// The corresponding C functions are `socket` and `connect`.
    public static func connect(
        _ path: String, _ type: SocketType
    ) throws(KernelError) -> OwnedDescriptor {
        let socket = try socket(type)
        let number = socket.rawValue
        do throws(KernelError) {
            try kernelTry("connect") { unsafe clinux_connect_path(number, path) }
        } catch {
            throw connectFailure(error, path: path)
        }
        return socket
    }

    /// Sends, waiting for room; on a stream, without waiting, as much as fits.
    ///
    /// The corresponding C function is `send`.
    @discardableResult
    public static func send(
        _ fd: borrowing OwnedDescriptor, _ bytes: [UInt8], waiting: Bool = true
    ) throws(KernelError) -> Int {
        let number = fd.rawValue
        let flags = waiting ? 0 : Int32(MSG_DONTWAIT)
        return Int(
            try kernelTry("send") {
                unsafe clinux_actor_send(number, bytes, bytes.count, flags)
            })
    }

    /// Sends with credentials of our own choice, which the kernel checks.
    ///
    /// - Throws: EPERM for what we are not allowed to claim.
    ///
    /// The corresponding C function is `sendmsg` with `SCM_CREDENTIALS`.
    public static func send(
        _ fd: borrowing OwnedDescriptor, _ bytes: [UInt8], claiming ids: PacketCredentials
    ) throws(KernelError) {
        let number = fd.rawValue
        try kernelTry("sendmsg") {
            unsafe clinux_actor_send_claim(
                number, bytes, bytes.count, ids.pid, ids.uid, ids.gid)
        }
    }

    /// Sends from a thread that takes ids of its own, and reports it under `word`. Linux keeps
    /// ids per thread; it is the C library that changes them in all threads together.
    ///
    /// The corresponding C function is `syscall` with `SYS_setresuid`.
    public static func sendFromThread(
        _ fd: borrowing OwnedDescriptor, _ text: String, as userID: UInt32, groupID: UInt32,
        reporting word: String
    ) throws(KernelError) {
        let number = fd.rawValue
        try kernelTry("setresuid of a thread") {
            unsafe clinux_actor_send_from_thread(
                number, STDOUT_FILENO, word, text, userID, groupID)
        }
    }

    /// Makes calls on a socket wait (again).
    ///
    /// The corresponding C function is `fcntl` with `F_SETFL`.
    public static func makeBlocking(_ fd: borrowing OwnedDescriptor) throws(KernelError) {
        let number = fd.rawValue
        try kernelTry("fcntl F_SETFL") { clinux_actor_make_blocking(number) }
    }

    /// Hands a descriptor to the process at the other end of the channel.
    ///
    /// The corresponding C function is `sendmsg` with `SCM_RIGHTS`.
    public static func give(
        _ fd: borrowing OwnedDescriptor, through channel: borrowing OwnedDescriptor
    ) throws(KernelError) {
        let (given, number) = (fd.rawValue, channel.rawValue)
        try kernelTry("sendmsg SCM_RIGHTS") { clinux_actor_give(number, given) }
    }

    /// Waits for a descriptor from the other end of the channel.
    ///
    /// The corresponding C function is `recvmsg` with `SCM_RIGHTS`.
    public static func take(
        through channel: borrowing OwnedDescriptor
    ) throws(KernelError) -> OwnedDescriptor {
        let number = channel.rawValue
        return OwnedDescriptor(
            adopting: try kernelTry("recvmsg SCM_RIGHTS") { clinux_actor_take(number) })
    }

    /// Makes this process run another program, with one descriptor under a number of choice.
    /// Returns only by throwing.
    ///
    /// The corresponding C functions are `dup2` and `execv`.
    public static func exec(
        _ path: String, _ arguments: [String], with fd: borrowing OwnedDescriptor,
        as number: Int32
    ) throws(KernelError) {
        let held = fd.rawValue
        _ = try unsafe withArguments([path] + arguments) { arguments throws(KernelError) in
            try kernelTry("execv") { unsafe clinux_actor_exec(path, arguments, held, number) }
        }
        preconditionFailure("execv returned without an error")
    }
}
