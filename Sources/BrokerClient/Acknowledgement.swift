public import BrokerWire

/// The broker has accepted a message. Protocol/README.md, section 5.4.
public struct Acknowledgement: Sendable, Equatable {
    /// The number the broker gave the message.
    public let sequence: UInt64
    /// Whether anybody was subscribed to its topic.
    public let hadSubscribers: Bool

    public init(sequence: UInt64, hadSubscribers: Bool) {
        self.sequence = sequence
        self.hadSubscribers = hadSubscribers
    }
}

/// The broker has refused messages whose acknowledgement nobody awaits.
public struct Refusal: Sendable, Equatable {
    public let reason: ReasonCode
    /// The broker's explanation, for people.
    public let explanation: String
    /// How many messages, one after the other, were refused for this reason.
    public let count: Int
    /// Refused messages that `BrokerClient.refusals` left out directly before this one, because
    /// nobody read it.
    public internal(set) var leftOutBefore: Int

    init(reason: ReasonCode, explanation: String, count: Int, leftOutBefore: Int = 0) {
        self.reason = reason
        self.explanation = explanation
        self.count = count
        self.leftOutBefore = leftOutBefore
    }
}
