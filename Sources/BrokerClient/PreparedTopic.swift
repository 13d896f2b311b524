internal import BrokerWire

/// A topic name that has been checked and is kept as bytes: publishing to it again and again
/// checks and converts nothing.
public struct PreparedTopic: Sendable, Hashable {
    let bytes: [UInt8]

    /// - Throws: `.invalidTopic` if the name does not follow Protocol/README.md, section 4.
    public init(_ name: String) throws(BrokerClientError) {
        bytes = Array(name.utf8)
        try Self.validate(bytes.span, name)
    }

    public var name: String { String(decoding: bytes, as: UTF8.self) }

    static func validate(_ bytes: Span<UInt8>, _ name: String) throws(BrokerClientError) {
        do {
            try Topic.validateName(bytes)
        } catch {
            throw BrokerClientError(.invalidTopic, "the topic '\(name)' cannot be used: \(error)")
        }
    }
}
