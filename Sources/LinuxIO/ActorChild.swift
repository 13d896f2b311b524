import CLinux
import Glibc
import SystemPackage

extension Actor {
    /// A process to fork, and what it does before it exits. It runs C code only, so forking is
    /// safe whatever threads this process has.
    public struct Child: Sendable {
        /// Which new namespaces it starts.
        public enum Namespaces: Sendable {
            case none
            /// CLONE_NEWUSER. Without a map it has no id there but the overflow one.
            case user(IDMap?)
            /// CLONE_NEWPID.
            case pid
            /// CLONE_NEWUSER and CLONE_NEWPID.
            case userAndPID(IDMap)
        }

        /// Uids and gids `inside...` of the new user namespace are `outside...` of ours.
        public struct IDMap: Equatable, Sendable {
            public let inside: UInt32
            public let outside: UInt32
            public let count: UInt32

            /// Only the creator's own ids, which everybody may map.
            public static func ownID(as inside: UInt32) -> IDMap {
                IDMap(inside: inside, outside: 0, count: 1)
            }

            /// 65,536 ids from 0, which takes privilege.
            public static func range(from outside: UInt32) -> IDMap {
                IDMap(inside: 0, outside: outside, count: 65536)
            }
        }

        /// Where to connect the socket first.
        public var connectPath: String?
        /// The word under which it reports itself on standard output.
        public var word: String?
        public var payload: String?
        /// The pid that it shall have (clone3 set_tid), which takes privilege.
        public var takePID: Int32?
        public var namespaces = Namespaces.none
        /// Ids that it takes, all three of each.
        public var userID: UInt32?
        public var groupID: UInt32?
        /// Whether it waits for a byte of standard input before it sends.
        public var waitsForInput = false
        /// In a new pid namespace: a second process sends "victim", and this one claims to be it.
        public var claimsSibling = false

        /// A uid and gid (of its own user namespace) that it claims.
        public var claimedID: UInt32?
        /// How often it sends.
        public var repeats = 1

        public init() {}
    }

    /// Forks a process that works on `socket`, and waits until it has exited. Returns its pid as
    /// we see it.
    ///
    /// - Throws: why it could not be made (EEXIST: `takePID` is in use), or what failed in it.
    ///
    /// The corresponding C functions are `clone3` and `waitpid`.
    @discardableResult
    public static func fork(
        _ child: Child, on socket: borrowing OwnedDescriptor
    ) throws(KernelError) -> Int32 {
        try unsafe run(child, socket.rawValue, ring: nil, leave: false)
    }

    /// Forks it and does not wait.
    @discardableResult
    public static func forkAndLeave(
        _ child: Child, on socket: borrowing OwnedDescriptor
    ) throws(KernelError) -> Int32 {
        try unsafe run(child, socket.rawValue, ring: nil, leave: true)
    }

    static func run(
        _ child: Child, _ socket: Int32, ring: OpaquePointer?, leave: Bool
    ) throws(KernelError) -> Int32 {
        var recipe = unsafe clinux_actor_child()
        unsafe recipe.socket = socket
        unsafe recipe.report = STDOUT_FILENO
        unsafe recipe.take_pid = child.takePID ?? 0
        unsafe recipe.uid = child.userID ?? UInt32.max
        unsafe recipe.gid = child.groupID ?? UInt32.max
        unsafe recipe.gate = child.waitsForInput ? STDIN_FILENO : -1
        unsafe recipe.claims_sibling = child.claimsSibling ? 1 : 0
        unsafe recipe.claim_id = child.claimedID ?? UInt32.max
        unsafe recipe.repeats = UInt32(child.repeats)
        unsafe recipe.ring = ring
        unsafe recipe.leave = leave ? 1 : 0
        let map: Child.IDMap?
        switch child.namespaces {
        case .none:
            map = nil
        case .user(let given):
            unsafe recipe.namespaces = UInt64(CLINUX_ACTOR_NAMESPACE_USER)
            map = given
        case .pid:
            unsafe recipe.namespaces = UInt64(CLINUX_ACTOR_NAMESPACE_PID)
            map = nil
        case .userAndPID(let given):
            unsafe recipe.namespaces = UInt64(
                CLINUX_ACTOR_NAMESPACE_USER | CLINUX_ACTOR_NAMESPACE_PID)
            map = given
        }
        unsafe recipe.map_inside = map?.inside ?? 0
        unsafe recipe.map_outside = map?.outside ?? 0
        unsafe recipe.map_count = map?.count ?? 0
        let texts = unsafe [child.word, child.connectPath, child.payload].map { text in
            unsafe text.map { unsafe strdup($0) } ?? nil
        }
        defer { unsafe texts.forEach { unsafe free($0) } }
        unsafe recipe.word = UnsafePointer(texts[0])
        unsafe recipe.connect_path = UnsafePointer(texts[1])
        unsafe recipe.payload = UnsafePointer(texts[2])
        var failure: Int32 = 0
        let pid = try kernelTry("clone3") { unsafe clinux_actor_fork(&recipe, &failure) }
        guard failure == 0 else {
            throw KernelError(call: "in the child", errno: Errno(rawValue: failure))
        }
        return pid
    }
}

/// An io_uring with a submission thread in the kernel (IORING_SETUP_SQPOLL). The thread works
/// with the credentials that its creator had when the ring was opened, for ever.
@safe
public struct ActorRing: ~Copyable {
    private let ring: OpaquePointer

    /// - Throws: ENOSYS, EPERM where the kernel has none or forbids it.
    ///
    /// The corresponding C function is `io_uring_setup`.
    public init() throws(KernelError) {
        guard let ring = unsafe clinux_ring_open() else {
            throw KernelError(call: "io_uring_setup", errno: Errno(rawValue: errno))
        }
        unsafe self.ring = ring
    }

    deinit {
        unsafe clinux_ring_close(ring)
    }

    /// Sends through the ring and waits for the outcome.
    ///
    /// The corresponding C function is `io_uring_enter` with `IORING_OP_SEND`.
    public func send(
        _ fd: borrowing OwnedDescriptor, _ text: String
    ) throws(KernelError) {
        let number = fd.rawValue
        let bytes = Array(text.utf8)
        try kernelTry("io_uring send") {
            unsafe clinux_ring_send(ring, number, bytes, bytes.count)
        }
    }

    /// Forks a child that sends through this ring, which it shares with us.
    @discardableResult
    public func fork(
        _ child: Actor.Child, on socket: borrowing OwnedDescriptor
    ) throws(KernelError) -> Int32 {
        try unsafe Actor.run(child, socket.rawValue, ring: ring, leave: false)
    }
}
