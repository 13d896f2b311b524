/// Why the broker answered as it did. Protocol/README.md, section 7.
public struct ReasonCode: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt16

    @inlinable
    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// What the standard library has for every RawRepresentable is generic, and not inlined.
    @inlinable
    public static func == (left: ReasonCode, right: ReasonCode) -> Bool {
        left.rawValue == right.rawValue
    }

    @inlinable
    public static var success: ReasonCode { ReasonCode(rawValue: 0x00) }
    @inlinable
    public static var noMatchingSubscribers: ReasonCode { ReasonCode(rawValue: 0x10) }
    public static let unspecifiedError = ReasonCode(rawValue: 0x80)
    public static let malformedPacket = ReasonCode(rawValue: 0x81)
    public static let protocolError = ReasonCode(rawValue: 0x82)
    public static let unsupportedVersion = ReasonCode(rawValue: 0x84)
    public static let notPermitted = ReasonCode(rawValue: 0x87)
    public static let serverShuttingDown = ReasonCode(rawValue: 0x8B)
    public static let handshakeTimeout = ReasonCode(rawValue: 0x8D)
    public static let topicFilterInvalid = ReasonCode(rawValue: 0x8F)
    public static let topicNameInvalid = ReasonCode(rawValue: 0x90)
    public static let packetTooLarge = ReasonCode(rawValue: 0x95)
    public static let quotaExceeded = ReasonCode(rawValue: 0x97)
    public static let identityUnknown = ReasonCode(rawValue: 0xC0)
    public static let slowSubscriber = ReasonCode(rawValue: 0xC1)
    public static let subscriptionUnknown = ReasonCode(rawValue: 0xC2)
    public static let subscriptionInUse = ReasonCode(rawValue: 0xC3)
    public static let frameUnknown = ReasonCode(rawValue: 0xC4)
    public static let nameInvalid = ReasonCode(rawValue: 0xC5)
    public static let optionInvalid = ReasonCode(rawValue: 0xC6)
    public static let repliesUnread = ReasonCode(rawValue: 0xC7)

    /// Codes below 0x80 mean that what was asked for has been done, unknown ones included.
    public var isSuccess: Bool { rawValue < 0x80 }
}

extension ReasonCode: CustomStringConvertible {
    private static let names: [UInt16: String] = [
        0x00: "success", 0x10: "noMatchingSubscribers", 0x80: "unspecifiedError",
        0x81: "malformedPacket", 0x82: "protocolError", 0x84: "unsupportedVersion",
        0x87: "notPermitted", 0x8B: "serverShuttingDown", 0x8D: "handshakeTimeout",
        0x8F: "topicFilterInvalid", 0x90: "topicNameInvalid", 0x95: "packetTooLarge",
        0x97: "quotaExceeded", 0xC0: "identityUnknown", 0xC1: "slowSubscriber",
        0xC2: "subscriptionUnknown", 0xC3: "subscriptionInUse", 0xC4: "frameUnknown",
        0xC5: "nameInvalid", 0xC6: "optionInvalid", 0xC7: "repliesUnread",
    ]

    /// The name in Protocol/README.md; unknown codes read as section 8 says.
    public var description: String {
        Self.names[rawValue] ?? (isSuccess ? "success" : "unspecifiedError")
    }
}
