package import BrokerWire
import DequeModule

/// What the broker is told about itself when it starts.
package struct BrokerConfiguration: Sendable {
    package var name: String
    package var version: String
    /// Random, new for each process.
    package var instance: UInt64
    /// Random, secret from clients.
    package var hashSeed: UInt64
    /// The broker's own process, as sender of `$SYS/broker/…`.
    package var process: SenderRecord.Opener
    /// Largest packet the kernel lets the broker send.
    package var packetBytesMax: Int
    /// The rules to begin with.
    package var policy: AccessPolicy
    package var quotas = QuotaSettings()
    /// The limits of users that have none of their own.
    package var quotaLimits: QuotaLimits {
        get { quotas.defaults }
        set { quotas.defaults = newValue }
    }
    package var replyBytesPerSessionMax = Limits.replyBytesPerSessionMax
    package var queueBytesPerSubscriptionMax = Limits.queueBytesPerSubscriptionMax

    package init(
        name: String, version: String, instance: UInt64, hashSeed: UInt64,
        process: SenderRecord.Opener, packetBytesMax: Int, policy: AccessPolicy
    ) {
        self.name = name
        self.version = version
        self.instance = instance
        self.hashSeed = hashSeed
        self.process = process
        self.packetBytesMax = packetBytesMax
        self.policy = policy
    }

    /// Largest sum of topic and payload bytes in one message.
    package var messageBytesMax: Int { packetBytesMax - Limits.messageHeadroomBytes }
}

/// The broker as a pure state machine. The shell reports what happened (a connection, a packet
/// with its attestation, time passing) and does what `Effects` asks for; nothing in here knows a
/// descriptor, a clock or a logger. The server, the simulator, the fuzzers and the benchmarks run
/// this same machine.
///
/// The methods are spread over files by what they are about: `BrokerConnections`,
/// `BrokerReceive`, `BrokerPublish`, `BrokerSubscribe`, `BrokerReply`, `BrokerOutbound`,
/// `BrokerSystem`.
package struct Broker: ~Copyable {
    package let configuration: BrokerConfiguration
    /// The access rules in force, and what they mean for the subjects seen.
    var access: RightsTable
    package internal(set) var decisions = DecisionLog()
    package internal(set) var statistics = Statistics()
    /// Of the configuration: what a message may have.
    let messageBytesMax: Int
    let startedNanoseconds: UInt64
    /// Work that `packetReceived` may still do before it leaves the rest of a packet for later.
    /// The shell sets it before each turn; the unit is about a dozen nanoseconds.
    package var workLeft = Int.max
    /// Set once: no new connections, sessions drain.
    package internal(set) var isShuttingDown = false

    var sessions: [Session] = []
    var freeSessions: [Int32] = []
    var nextSessionNumber: UInt64 = 1
    var nextGeneration: UInt32 = 1

    var subscriptions: [Subscription] = []
    var freeSubscriptions: [Int32] = []
    var trie: SubscriptionTrie
    var routes: RouteCache
    var nextRouteStamp: UInt64 = 1
    /// Accepted messages of the packet in hand that are still to be delivered.
    var run = DeliveryRun()
    /// Scratch for collecting a route.
    var collected: [UInt32] = []

    /// The subjects seen, by their number, and where their rights stand.
    var subjects: [Subject] = []
    var subjectRights: [RightsTable.Place] = []
    var subjectNumbers: [Subject: UInt32] = [:]
    var linkTable = LinkTable()
    var quotas: QuotaTable
    /// The rate that the latest publish refused for its sake went beyond.
    var latestExceeded: QuotaExceeded?
    /// The latest moment the shell has told.
    var latestNanoseconds: UInt64
    var pool: PacketPool
    /// Packets handed to the shell by `prepareOutbound` and not yet reported back.
    var outgoing: [Outgoing] = []

    /// Number the broker gives the next accepted message.
    var nextSequence: UInt64 = 1
    /// Tells received packets apart, so that each needs one SENDER per outbound packet.
    var nextPacketSerial: UInt64 = 1
    /// Sessions to be ended after the packet in hand, with what to tell them.
    var doomed: [(session: Int32, farewell: Session.Farewell)] = []

    /// Connections that came too fast, by account, in the order in which they came.
    var heldConnections: [Int: Deque<SessionID>] = [:]
    var greetingDeadlines = DeadlineQueue<SessionID>(delaySeconds: Limits.handshakeSecondsMax)
    var drainDeadlines = DeadlineQueue<SessionID>(delaySeconds: Limits.drainSecondsMax)
    var holdDeadlines = DeadlineQueue<Hold>(delaySeconds: Limits.blockSecondsMax)
    var systemTopicsNanoseconds: UInt64

    /// A `block` subscription that holds publishers back.
    struct Hold {
        let subscription: Int32
        let generation: UInt32
    }

    package init(configuration: BrokerConfiguration, nowNanoseconds: UInt64) {
        Limits.checkRelations()
        precondition(configuration.packetBytesMax >= Limits.packetBytesMin)
        precondition(configuration.packetBytesMax <= Limits.packetBytesMax)
        precondition(configuration.name.utf8.count <= Limits.clientNameBytesMax)
        // WELCOME holds both and has to fit into what is reserved for it.
        precondition(configuration.version.utf8.count <= Limits.clientNameBytesMax)
        self.configuration = configuration
        messageBytesMax = configuration.messageBytesMax
        access = RightsTable(policy: configuration.policy)
        startedNanoseconds = nowNanoseconds
        let hash = KeyedHash(key: configuration.hashSeed)
        trie = SubscriptionTrie(hash: hash)
        routes = RouteCache(hash: hash)
        pool = PacketPool(packetBytesMax: configuration.packetBytesMax)
        quotas = QuotaTable(settings: configuration.quotas)
        latestNanoseconds = nowNanoseconds
        systemTopicsNanoseconds =
            nowNanoseconds + UInt64(Limits.systemTopicsIntervalSeconds) * 1_000_000_000
    }

    /// Lets deadlines pass and publishes `$SYS/broker/…` when it is time.
    ///
    /// - Parameter wallNanoseconds: nanoseconds since 1970, to stamp the broker's own messages.
    package mutating func timePassed(
        nowNanoseconds: UInt64, wallNanoseconds: UInt64, into effects: inout Effects
    ) {
        latestNanoseconds = nowNanoseconds
        admitHeldConnections(nowNanoseconds: nowNanoseconds, into: &effects)
        while let id = greetingDeadlines.popExpired(nowNanoseconds: nowNanoseconds) {
            guard let slot = slot(of: id), sessions[slot].state == .greeting else { continue }
            statistics.handshakesTimedOut += 1
            doom(
                slot, .handshakeTimeout, "no HELLO within \(Limits.handshakeSecondsMax) seconds")
        }
        while let hold = holdDeadlines.popExpired(nowNanoseconds: nowNanoseconds) {
            let index = Int(hold.subscription)
            guard subscriptions[index].generation == hold.generation,
                subscriptions[index].holdsPublishers
            else { continue }
            if subscriptions[index].link >= 0 {
                stopHolding(link: Int(subscriptions[index].link), into: &effects)
            } else {
                doomSlowSubscriber(index)
            }
        }
        endDoomed(nowNanoseconds: nowNanoseconds, into: &effects)
        linkTimePassed(nowNanoseconds: nowNanoseconds, into: &effects)
        while let id = drainDeadlines.popExpired(nowNanoseconds: nowNanoseconds) {
            guard let slot = slot(of: id), case .draining = sessions[slot].state else { continue }
            close(slot, into: &effects)
        }
        if nowNanoseconds >= systemTopicsNanoseconds {
            systemTopicsNanoseconds =
                nowNanoseconds + UInt64(Limits.systemTopicsIntervalSeconds) * 1_000_000_000
            publishSystemTopics(
                nowNanoseconds: nowNanoseconds, wallNanoseconds: wallNanoseconds, into: &effects)
            effects.bytesFreed += routes.trim() + pool.trim()
        }
    }

    /// When `timePassed` has something to do at the latest.
    package var nextDeadlineNanoseconds: UInt64 {
        var next = systemTopicsNanoseconds
        next = min(next, greetingDeadlines.nextNanoseconds ?? next)
        next = min(next, drainDeadlines.nextNanoseconds ?? next)
        next = min(next, holdDeadlines.nextNanoseconds ?? next)
        next = min(next, nextLinkDeadlineNanoseconds)
        return min(next, nextAdmissionNanoseconds ?? next)
    }

    /// Stops: sessions get what is queued for them and a farewell, for a bounded time.
    package mutating func shutDown(nowNanoseconds: UInt64, into effects: inout Effects) {
        isShuttingDown = true
        shutDownLinks(into: &effects)
        for slot in sessions.indices where sessions[slot].link < 0 {
            switch sessions[slot].state {
            case .vacant, .closing, .draining: continue
            case .greeting, .active: break
            }
            let farewell = Session.Farewell(
                reason: .serverShuttingDown, explanation: "the broker is stopping")
            drain(slot, farewell, nowNanoseconds: nowNanoseconds, into: &effects)
        }
    }

    /// Connected clients; links are not among them.
    package var sessionCount: Int {
        sessions.count - freeSessions.count - linkTable.slots.count
    }
    package var subscriptionCount: Int {
        subscriptions.count - freeSubscriptions.count - linkTable.slots.count
    }
    /// Outbound packets that wait to be sent, of all sessions.
    package var packetsQueued: Int { pool.inUse }

    /// The slot of a live session, or nil if it has ended meanwhile.
    func slot(of id: SessionID) -> Int? {
        let slot = Int(id.slot)
        guard slot >= 0, slot < sessions.count, sessions[slot].id == id,
            sessions[slot].state != .vacant
        else { return nil }
        return slot
    }
}
