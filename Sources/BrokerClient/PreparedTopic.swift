internal import BrokerWire

/// What a message may be published to: a `String`, whose name is checked with each message, or a
/// `PreparedTopic`, which has been.
public protocol TopicName: Sendable {
    /// The name in UTF-8.
    ///
    /// - Throws: `.invalidTopic` if it does not follow Protocol/README.md, section 4.
    @_lifetime(borrow self)
    borrowing func checkedBytes() throws(BrokerClientError) -> Span<UInt8>
}

/// A topic name that has been checked and is kept as bytes: publishing to it again and again
/// checks and converts nothing.
public struct PreparedTopic: TopicName, Hashable {
    private let bytes: [UInt8]

    /// - Throws: `.invalidTopic` if the name does not follow Protocol/README.md, section 4.
    public init(_ name: String) throws(BrokerClientError) {
        bytes = try name.checkedBytes().copied()
    }

    public var name: String { String(decoding: bytes, as: UTF8.self) }

    @_lifetime(borrow self)
    public borrowing func checkedBytes() -> Span<UInt8> { bytes.span }
}

extension String: TopicName {
    @_lifetime(borrow self)
    public borrowing func checkedBytes() throws(BrokerClientError) -> Span<UInt8> {
        let bytes = utf8Span.span
        do {
            try Topic.validateName(bytes)
        } catch {
            throw BrokerClientError(.invalidTopic, "the topic '\(self)' cannot be used: \(error)")
        }
        return bytes
    }
}
