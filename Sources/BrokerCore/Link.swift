package import BrokerWire

/// What the configuration says of one link.
package struct LinkConfiguration: Equatable, Sendable {
    /// Name of the broker at the other end; also the link's own name.
    package var peer: String
    /// Whether this side connects. Both sides of a link must not.
    package var isConnector: Bool
    /// What may leave this broker, and what may come in.
    package var exports: [[UInt8]]
    package var imports: [[UInt8]]
    /// Patterns of origins that the peer may speak for: a name, or a beginning and `*`.
    package var origins: [String]
    /// Longest path that is accepted.
    package var hopsMax = LinkLimits.pathNamesMax
    package var queueBytesMax = Limits.queueBytesPerSubscriptionMax
    /// Publishers are held back while the peer is there and its queue is full. While it is away,
    /// or after five seconds of that, the oldest messages are dropped.
    package var holdsPublishers = false

    package init(
        peer: String, isConnector: Bool, exports: [[UInt8]] = [Array("#".utf8)],
        imports: [[UInt8]] = [Array("#".utf8)], origins: [String]? = nil
    ) {
        self.peer = peer
        self.isConnector = isConnector
        self.exports = exports
        self.imports = imports
        self.origins = origins ?? [peer]
    }

    func admits(origin: String) -> Bool {
        origins.contains { pattern in
            pattern.hasSuffix("*") ? origin.hasPrefix(pattern.dropLast()) : origin == pattern
        }
    }

    /// Why nothing is taken that came along a path, first its origin; nil: it is.
    func dropReason(path names: [String], ownName: String) -> LinkStatistics.DropReason? {
        precondition(!names.isEmpty, "a path begins with its origin")
        guard names.last == peer, Set(names).count == names.count else { return .pathInvalid }
        if names.contains(ownName) { return .loop }
        if names.count > hopsMax { return .tooManyHops }
        return admits(origin: names[0]) ? nil : .originNotAllowed
    }

    func imports(_ topic: Span<UInt8>) -> Bool { Self.matches(imports, topic) }

    func exports(_ topic: Span<UInt8>) -> Bool { Self.matches(exports, topic) }

    @inline(__always)
    private static func matches(_ filters: [[UInt8]], _ topic: Span<UInt8>) -> Bool {
        for filter in filters where Topic.matches(filter: filter.span, name: topic) {
            return true
        }
        return false
    }

    /// Why this cannot be a link, or nil.
    package func violation(ownName: String) -> String? {
        guard LinkName.isValid(ownName) else {
            return "'\(ownName)' is no name for a linked broker: give it one with --name"
        }
        guard LinkName.isValid(peer) else {
            return "'\(peer)' is no name for a linked broker: letters, digits, '.', '_', '-', "
                + "at most \(LinkLimits.nameBytesMax)"
        }
        guard peer != ownName else { return "a broker has no link to itself" }
        guard (1...LinkLimits.pathNamesMax).contains(hopsMax) else {
            return "max_hops is 1 to \(LinkLimits.pathNamesMax)"
        }
        for filters in [exports, imports] {
            guard filters.count <= LinkLimits.filtersMax else {
                return "a link has at most \(LinkLimits.filtersMax) filters each way"
            }
            for filter in filters {
                let text = String(decoding: filter, as: UTF8.self)
                if filter.first == Topic.dollar { return "'\(text)' is the broker's own" }
                do throws(Topic.Violation) {
                    try Topic.validateFilter(filter.span)
                } catch {
                    return "filter '\(text)' is invalid: \(error)"
                }
            }
        }
        return nil
    }
}

/// Counters of one link, since the broker started.
package struct LinkStatistics: Equatable, Sendable {
    package internal(set) var messagesSent: UInt64 = 0
    package internal(set) var messagesReceived: UInt64 = 0
    package internal(set) var messagesAccepted: UInt64 = 0
    /// What the peer said that it had dropped.
    package internal(set) var messagesLostByPeer: UInt64 = 0
    package internal(set) var batchesSent: UInt64 = 0
    package internal(set) var batchesResent: UInt64 = 0
    package internal(set) var batchesReceived: UInt64 = 0
    package internal(set) var bytesSent: UInt64 = 0
    package internal(set) var bytesReceived: UInt64 = 0
    package internal(set) var connections: UInt64 = 0
    /// From the acceptance of the first message of a batch to its acknowledgement by the peer;
    /// of the batch that was acknowledged last.
    package internal(set) var acknowledgedAfterNanoseconds: UInt64 = 0
    /// By what forwarding.md, section 6, calls it.
    package internal(set) var dropped: [DropReason: UInt64] = [:]
    /// Connections ended, by reason.
    package internal(set) var faults: [LinkFault.Reason: UInt64] = [:]

    package init() {}

    package enum DropReason: String, Sendable, CaseIterable {
        case pathInvalid, loop, tooManyHops, originNotAllowed, identityInvalid, topicInvalid
        case tooLarge, notImported, duplicate, notPermitted
    }
}

/// A handle for one connection of a link, before and after its handshake.
package struct LinkConnectionID: Hashable, Sendable {
    package let slot: Int32
    package let generation: UInt32
}

/// One configured link: it outlives its connections. Owns what waits for the peer, and what is
/// known of the peer's wishes.
struct Link {
    var configuration: LinkConfiguration
    /// The session and the subscription that stand for the peer among receivers.
    let session: Int32
    let subscription: Int32
    /// Names the stream of batches that this broker keeps for the peer.
    let epoch: UInt64
    var statistics = LinkStatistics()
    /// The connection that has passed the handshake.
    var connection: LinkConnectionID?

    /// Sent, or being sent again, and not acknowledged: batches `firstBatch`, `firstBatch + 1` …
    var unacknowledged = PacketQueue()
    var firstBatch: UInt64 = 1
    /// Number of the next new batch.
    var nextBatch: UInt64 = 1
    /// The packet of `unacknowledged` to be sent next, and its number; none: all were sent.
    var resend = PacketPool.none
    var resendBatch: UInt64 = 0

    /// The peer's stream, and its last batch that was accepted.
    var receivedEpoch: UInt64 = 0
    var receivedBatch: UInt64 = 0
    var owesAcknowledgement = false

    /// What the peer wants.
    var heard: [[UInt8]: HeardInterest] = [:]
    var peerImports: [[UInt8]] = []
    var peerHopsMax = LinkLimits.pathNamesMax
    /// What the peer was told on this connection.
    var announced: [[UInt8]: UInt8] = [:]
    var toAnnounce: Set<[UInt8]> = []
    var owesInterestEnd = false

    struct HeardInterest {
        var distance: UInt8
        /// Announced on this connection.
        var isFresh: Bool
        /// Entries in the trie.
        var entries: [Int32]
    }

    /// Batches are numbered without gaps, and what is to be sent again is among those that wait.
    func checkInvariants() {
        precondition(firstBatch >= 1 && firstBatch <= nextBatch)
        precondition(unacknowledged.isEmpty == (firstBatch == nextBatch))
        if resend == PacketPool.none { return }
        precondition(resendBatch >= firstBatch && resendBatch < nextBatch)
    }

    /// How many names a path may have that is sent to this peer.
    var hopsOutMax: Int { min(configuration.hopsMax, peerHopsMax) }
}

/// One connection of a link: who speaks, which keys, which sequence comes next.
struct LinkConnection {
    enum State: Equatable {
        case vacant
        /// A listener waits for the connector's HELLO.
        case awaitingHello
        /// A connector waits for the listener's HELLO.
        case awaitingReply
        /// Keys are derived; the peer has not proved that it has them.
        case awaitingOpen
        case established
        /// Ended; what is left to say is in `pending`.
        case closing
    }

    var id: LinkConnectionID
    var state = State.vacant
    var isConnector = false
    /// Slot of the link; -1 until a listener has read HELLO.
    var link = -1
    /// Whom a listener takes its peer for; nil: for any that a link waits for.
    var candidates: [String]?
    var ownHello: [UInt8] = []
    var peerHello: [UInt8] = []
    var peerEpoch: UInt64 = 0
    var ownNonce: [UInt8] = []
    var signer: (any LinkAuthenticator)?
    var verifier: (any LinkAuthenticator)?
    var sendKey: UInt64 = 0
    var receiveKey: UInt64 = 0
    var sentSequence: UInt64 = 0
    var receivedSequence: UInt64 = 0
    /// Records of the handshake that are ready to be sent.
    var pending: [UInt8] = []
    var isReady = false
    var deadlineNanoseconds: UInt64 = 0
    var lastReceivedNanoseconds: UInt64 = 0
    var nextPingNanoseconds: UInt64 = 0
    /// When the first PING of this connection was sent, and when the latest: each has its time for
    /// its nonce.
    var pingNonces: ClosedRange<UInt64>?
    /// Of the latest PING that was answered; nil: none was.
    var roundTripNanoseconds: UInt64?
    var pongOwed: UInt64?
    var pingOwed = false
    var rotation = Rotation.none

    /// A change of keys on the way. Protocol/forwarding.md, section 8.
    enum Rotation {
        case none
        /// To be asked for.
        case wanted(key: UInt64)
        /// REKEY was sent.
        case asked(key: UInt64, nonce: [UInt8])
        /// REKEYED is to be sent; afterwards this side signs with the new key, and after REKEYEND
        /// it verifies with it.
        case answering(key: UInt64, nonce: [UInt8], keys: LinkSessionKeys)
        case awaitingEnd(key: UInt64, keys: LinkSessionKeys)
        /// REKEYEND is to be sent; afterwards this side signs with the new key.
        case ending(key: UInt64, keys: LinkSessionKeys)
        case refusing(key: UInt64)
    }
}
