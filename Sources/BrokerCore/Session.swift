import BrokerWire

/// Names a session to the shell. The generation tells a session from a later one in its slot.
package struct SessionID: Hashable, Sendable {
    package let slot: Int32
    package let generation: UInt32

    package init(slot: Int32, generation: UInt32) {
        self.slot = slot
        self.generation = generation
    }
}

/// One connection, from accept to close. Protocol/README.md, section 9, has the states.
struct Session {
    enum State: Equatable {
        /// The slot is free.
        case vacant
        /// Nothing but HELLO is accepted.
        case greeting
        case active
        /// Something is left to say; nothing is read any more. `farewell` is queued when the
        /// deliveries are gone.
        case draining(farewell: Farewell?)
        /// All is said; the shell has been told to close.
        case closing
    }

    struct Farewell: Equatable {
        let reason: ReasonCode
        let explanation: String
    }

    /// What makes subjects of one session different.
    struct Sender: Equatable {
        let uid: UInt32
        let gid: UInt32
        let level: SenderRecord.Level
        let isDelegated: Bool
        let isOpenersProcess: Bool

        @inline(__always)
        init(_ record: SenderRecord) {
            uid = record.uid
            gid = record.gid
            level = record.level
            isDelegated = record.isDelegated
            isOpenersProcess = record.isOpenersProcess
        }
    }

    var id: SessionID
    /// Number told to the client, unique while the broker runs.
    var number: UInt64 = 0
    var state = State.vacant
    var opener = Peer(
        record: SenderRecord.Opener(pid: 0, uid: SenderRecord.noID, gid: 0, process: 0),
        groups: [], domain: .unknown)
    var name = ""
    /// Slot of the opener's account.
    var account = 0
    var openedNanoseconds: UInt64 = 0

    /// Replies and everything else that is not a delivery.
    var control = PacketQueue()
    /// Subscriptions that have packets to send, in the order of their turn.
    var readyHead = PacketPool.none
    var readyTail = PacketPool.none
    /// By the client's number, the slot of the subscription.
    var subscriptions: [UInt32: Int32] = [:]

    /// The link that this session stands for; a client's has none.
    var link: Int32 = -1

    /// Came too fast: it is read when its user's rate of connections allows it.
    var isHeld = false

    var isDirty = false
    /// The socket's buffer is full; the shell will say when it is writable.
    var isWriteBlocked = false
    /// The subscription whose full queue holds this publisher back, or none.
    var pausedBy = PacketPool.none
    /// To be ended after the packet in hand.
    var isDoomed = false

    /// The subject of the last packet: most packets of a session are sent by one process.
    var lastSender: Sender?
    var lastSubject: UInt32 = 0

    /// Senders of delegated packets.
    var othersSeen = SendersSeen()

    var messagesPublished: UInt64 = 0
    var messagesDelivered: UInt64 = 0
    var publishesRefused: UInt64 = 0

    var isActive: Bool {
        if case .active = state { true } else { false }
    }

    var isReading: Bool {
        switch state {
        case .greeting, .active: pausedBy == PacketPool.none && !isHeld
        case .vacant, .draining, .closing: false
        }
    }

    var hasNothingQueued: Bool { control.isEmpty && readyHead == PacketPool.none }
}

/// One subscription: what it wants, and the packets that wait for it.
struct Subscription {
    var session: Int32 = -1
    /// The number the client chose.
    var number: UInt32 = 0
    var generation: UInt32 = 0
    var policy = OverflowPolicy.disconnect
    var queueBytesMax = 0
    /// The link that this subscription stands for; a client's has none.
    var link: Int32 = -1
    /// Whether there are sender ranges to look at, or the path of a link.
    var isSelective = false
    var uidRanges: [IDRange] = []
    var gidRanges: [IDRange] = []
    var filters: [[UInt8]] = []
    /// Who subscribed: judged for each topic that is delivered.
    var subject: Subject?
    var rights = RightsTable.Place()
    /// Their entries in the trie.
    var entries: [Int32] = []
    /// What is charged for it, beside its queue.
    var bytes = 0

    var queue = PacketQueue()
    var isReady = false
    var previousReady = PacketPool.none
    var nextReady = PacketPool.none
    /// Serial of the last route collected with this subscription in it.
    var routeStamp: UInt64 = 0
    /// Publishers are held back because the queue is full (policy `block`).
    var holdsPublishers = false
    /// Messages dropped since the last one queued; the next packet begins with LOST.
    var unreportedLosses: UInt64 = 0

    var messagesDelivered: UInt64 = 0
    var messagesLost: UInt64 = 0

    /// The memory that a subscription takes, roughly: a place of its own, and for each filter the
    /// bytes twice (whole, and level by level) and a node of the trie for each level.
    static func bytes(filters: [[UInt8]], ranges: Int) -> Int {
        let (place, perFilter, perLevel, perRange) = (512, 64, 160, 8)
        let levels = filters.reduce(0) { $0 + 1 + $1.count { $0 == Topic.separator } }
        let text = filters.reduce(0) { $0 + 2 * $1.count }
        return place + filters.count * perFilter + text + levels * perLevel + ranges * perRange
    }

    func admits(uid: UInt32, gid: UInt32) -> Bool {
        let admitsUID = uidRanges.isEmpty || uidRanges.contains { $0.contains(uid) }
        return admitsUID && (gidRanges.isEmpty || gidRanges.contains { $0.contains(gid) })
    }
}
