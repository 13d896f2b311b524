/// The name a client gives itself in HELLO: for logs and status, never for decisions.
/// Protocol/README.md, section 5.1.
package enum ClientName {
    /// - Returns: the name, or nil if it is too long, not UTF-8 or holds control characters.
    package static func parse(_ bytes: Span<UInt8>) -> String? {
        guard bytes.count <= Limits.clientNameBytesMax else { return nil }
        guard let text = String(validating: bytes.copied(), as: UTF8.self) else { return nil }
        for offset in 0..<bytes.count where Topic.isControl(bytes, at: offset) { return nil }
        return text
    }
}
