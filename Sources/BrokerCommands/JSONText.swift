/// JSON, written by hand where there is one object per message.
extension [UInt8] {
    /// A JSON string of well-formed UTF-8: quoted, and escaped as RFC 8259, section 7, demands;
    /// also what a terminal would act on.
    mutating func append(jsonString text: Span<UInt8>) {
        append(UInt8(ascii: "\""))
        append(text) { $0 < 0x20 || $0 == 0x22 || $0 == 0x5C }
        append(UInt8(ascii: "\""))
    }

    /// A JSON document, with what a terminal would act on escaped: all of that is in its strings.
    mutating func append(jsonDocument text: Span<UInt8>) {
        append(text) { _ in false }
    }

    /// - Parameter mustEscape: of a byte of ASCII.
    @inline(__always)
    private mutating func append(_ text: Span<UInt8>, escaping mustEscape: (UInt8) -> Bool) {
        var start = 0
        var offset = 0
        while offset < text.count {
            let byte = text[offset]
            if !mustEscape(byte), !mayBeginHarm(byte) {
                offset &+= 1
                continue
            }
            guard let scalar = Printable.scalar(of: text, at: offset) else {
                offset &+= 1
                continue
            }
            if scalar.bytes == 1 || Printable.isHarmful(scalar.value) {
                append(text.extracting(start..<offset))
                append(jsonEscape: scalar.value)
                start = offset + scalar.bytes
            }
            offset += scalar.bytes
        }
        append(text.extracting(start..<offset))
    }

    mutating func append(jsonString text: String) {
        let bytes = Array(text.utf8)
        append(jsonString: bytes.span)
    }

    mutating func append(jsonStringOrNull text: String?) {
        if let text { append(jsonString: text) } else { append("null") }
    }

    /// The first bytes of what `Printable.isHarmful` names beyond U+001F, and of much that is not.
    @inline(__always)
    private func mayBeginHarm(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x7F, 0xC2, 0xD8, 0xE2, 0xEF: true
        default: false
        }
    }

    /// Of U+0000 to U+FFFF.
    private mutating func append(jsonEscape scalar: UInt32) {
        append(0x5C)
        switch scalar {
        case 0x22, 0x5C: append(UInt8(scalar))
        case 0x08: append(UInt8(ascii: "b"))
        case 0x09: append(UInt8(ascii: "t"))
        case 0x0A: append(UInt8(ascii: "n"))
        case 0x0C: append(UInt8(ascii: "f"))
        case 0x0D: append(UInt8(ascii: "r"))
        default:
            append(UInt8(ascii: "u"))
            appendHex(UInt8(truncatingIfNeeded: scalar >> 8))
            appendHex(UInt8(truncatingIfNeeded: scalar))
        }
    }
}
