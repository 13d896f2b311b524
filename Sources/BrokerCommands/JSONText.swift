/// JSON, written by hand where there is one object per message.
extension [UInt8] {
    /// A JSON string of well-formed UTF-8: quoted, and escaped as RFC 8259, section 7, demands.
    /// U+2028 and U+2029 too, which some readers take for ends of lines, and U+007F.
    mutating func append(jsonString text: Span<UInt8>) {
        append(UInt8(ascii: "\""))
        var start = 0
        var offset = 0
        while offset < text.count {
            let byte = text[offset]
            if isPlainInJSON(byte) {
                offset &+= 1
                continue
            }
            let length = byte == 0xE2 ? separatorLength(text, at: offset) : 1
            if length == 0 {
                offset &+= 1
                continue
            }
            append(text.extracting(start..<offset))
            if length == 1 {
                append(jsonEscape: byte)
            } else {
                append(text[offset &+ 2] == 0xA8 ? "\\u2028" : "\\u2029")
            }
            offset &+= length
            start = offset
        }
        append(text.extracting(start..<offset))
        append(UInt8(ascii: "\""))
    }

    mutating func append(jsonString text: String) {
        let bytes = Array(text.utf8)
        append(jsonString: bytes.span)
    }

    mutating func append(jsonStringOrNull text: String?) {
        if let text { append(jsonString: text) } else { append("null") }
    }

    @inline(__always)
    private func isPlainInJSON(_ byte: UInt8) -> Bool {
        byte >= 0x20 && byte != 0x22 && byte != 0x5C && byte != 0x7F && byte != 0xE2
    }

    /// 3 if U+2028 or U+2029 begins here, otherwise 0.
    private func separatorLength(_ text: Span<UInt8>, at offset: Int) -> Int {
        guard offset + 2 < text.count, text[offset + 1] == 0x80 else { return 0 }
        return text[offset + 2] == 0xA8 || text[offset + 2] == 0xA9 ? 3 : 0
    }

    private mutating func append(jsonEscape byte: UInt8) {
        append(0x5C)
        switch byte {
        case 0x22, 0x5C: append(byte)
        case 0x08: append(UInt8(ascii: "b"))
        case 0x09: append(UInt8(ascii: "t"))
        case 0x0A: append(UInt8(ascii: "n"))
        case 0x0C: append(UInt8(ascii: "f"))
        case 0x0D: append(UInt8(ascii: "r"))
        default:
            append("u00")
            appendHex(byte)
        }
    }
}
