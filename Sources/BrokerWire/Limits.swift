/// Every limit of the protocol, with its unit in the name and the reason beside it.
/// Protocol/README.md, sections 4, 5 and 9, is the normative table.
public enum Limits {
    /// Largest packet on the wire, in bytes. Debian's default `net.core.wmem_max` (212,992, doubled
    /// by the kernel) still lets the broker send it in one piece.
    public static let packetBytesMax = 262_144
    /// A broker that cannot send at least this much in one packet refuses to start.
    public static let packetBytesMin = 16_384
    /// Batches are closed at this size: larger packets cost high-order kernel allocations and
    /// gain nothing measurable.
    public static let batchBytesTarget = 65_536
    /// Room kept free for headers around a message, so that what a publisher may send is also
    /// deliverable: packet header, sender record, names of origin and sender, deliver header.
    public static let messageHeadroomBytes = 512

    public static let topicBytesMax = 1_024
    public static let topicLevelsMax = 64
    public static let clientNameBytesMax = 128
    /// A name that the identity map gives senders of other brokers.
    public static let mappedNameBytesMax = 64
    /// Longest explanation put into a REPLY or DISCONNECT, in bytes.
    public static let explanationBytesMax = 512

    public static let filtersPerSubscriptionMax = 32
    public static let rangesPerSubscriptionMax = 32

    public static let subscriptionsPerSessionMax = 16_384
    public static let subscriptionsPerUserMax = 65_536
    /// Memory of one user's subscriptions: enough for that many with one common filter each.
    public static let subscriptionBytesPerUserMax = 128 * 1_048_576
    public static let connectionsPerUserMax = 4_096
    /// Connections a second of one opener uid, after as many at once as it may have.
    public static let connectionsPerSecondMax = 200
    /// Connections of one opener uid that have not sent HELLO.
    public static let greetingsPerUserMax = 256

    public static let queueBytesPerSubscriptionMax = 16 * 1_048_576
    public static let queueBytesPerUserMax = 256 * 1_048_576
    public static let replyBytesPerSessionMax = 1_048_576

    public static let handshakeSecondsMax = 10
    public static let drainSecondsMax = 2
    /// How long a full `block` subscription may hold publishers back.
    public static let blockSecondsMax = 5
    public static let systemTopicsIntervalSeconds = 10

    /// What helps whoever has a message that does not fit into packets of `packetBytesMax`.
    package static func advice(packetBytesMax: Int) -> String {
        packetBytesMax < Self.packetBytesMax
            ? "the limit follows from sysctl net.core.wmem_max"
            : "that is the protocol's limit: send it in parts, or the name of a file"
    }

    /// The relations between the limits, asserted once at start by the broker.
    package static func checkRelations() {
        precondition(packetBytesMin <= batchBytesTarget && batchBytesTarget <= packetBytesMax)
        precondition(topicBytesMax + messageHeadroomBytes < packetBytesMin)
        precondition(topicLevelsMax <= topicBytesMax)
        precondition(topicBytesMax <= Int(UInt16.max))
        precondition(
            PacketHeader.byteCount + FrameHeader.byteCount + SenderRecord.byteCount
                + clientNameBytesMax + mappedNameBytesMax + DeliverFrame.overheadBytes
                <= messageHeadroomBytes)
        precondition(
            SubscribeFrame.overheadBytes + filtersPerSubscriptionMax * (topicBytesMax + 2)
                + rangesPerSubscriptionMax * 16 <= packetBytesMax)
        precondition(packetBytesMax <= queueBytesPerSubscriptionMax)
        precondition(queueBytesPerSubscriptionMax <= queueBytesPerUserMax)
        precondition(explanationBytesMax + ReplyFrame.overheadBytes < packetBytesMin)
    }
}
