package import LinuxIO

/// What a started process is to do.
package enum ActorRole: String, CaseIterable, Sendable {
    // Processes.
    case send, sendWhenTold = "send-when-told", fork, exec, leave, tear, interleave
    case give, take, deputy, reusePID = "reuse-pid"
    // Ids.
    case drop, setEffective = "set-effective", setUID = "set-uid", thread
    // Claims.
    case claimOwn = "claim-own", claimRefused = "claim-refused", claimAnything = "claim-anything"
    // Namespaces.
    case mappedUser = "mapped-user", unmappedUser = "unmapped-user"
    case rangeUser = "range-user", rangeClaim = "range-claim"
    case pidNamespace = "pid-namespace", pidClaim = "pid-claim"
    // io_uring.
    case ringDrop = "ring-drop", ringShared = "ring-shared"
    /// For containers: says nothing, sends, and lives until it is told to end.
    case visit
}

/// A role, and where and as whom it is played: the arguments of `broker compare-actor`.
package struct ActorOrder {
    package let role: ActorRole
    /// The socket to connect to; empty for roles that are given one.
    package var socket: String
    package var type = Actor.SocketType.seqpacket
    /// The uid (and gid of the same number) to take before anything else.
    package var user: UInt32?
    /// The uid and gid that the role changes to, where it does.
    package var other: UInt32?
    /// A socket to another process that we start; the role finds it as descriptor 3.
    var channel: Channel?

    package init(_ role: ActorRole, socket: String) {
        self.role = role
        self.socket = socket
    }

    init(
        _ role: ActorRole, _ socket: String = "", type: Actor.SocketType = .seqpacket,
        user: UInt32? = nil, other: UInt32? = nil, channel: Channel? = nil
    ) {
        self.role = role
        self.socket = socket
        self.type = type
        self.user = user
        self.other = other
        self.channel = channel
    }

    var arguments: [String] {
        var arguments = ["compare-actor", role.rawValue]
        if !socket.isEmpty { arguments += ["--socket", socket] }
        arguments += ["--type", type.rawValue]
        if let user { arguments += ["--user", String(user)] }
        if let other { arguments += ["--other", String(other)] }
        return arguments
    }
}
