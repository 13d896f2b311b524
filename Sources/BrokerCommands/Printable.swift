import BrokerWire

/// Bytes of somebody else's choice, made harmless for a terminal and for a line of text.
enum Printable {
    /// What is shown as it is, and what as an escape, at one place of some bytes.
    enum Piece: Equatable {
        case plain(bytes: Int)
        case escape(bytes: Int)
    }

    /// Appends `text`; control characters, line and paragraph separators, marks that turn the
    /// direction of writing, and bytes that are not UTF-8 become `\n`, `\t`, `\r`, `\\`, `\xNN`.
    static func append(_ text: Span<UInt8>, to buffer: inout [UInt8]) {
        var offset = 0
        while offset < text.count {
            var end = offset
            while end < text.count, isPlainASCII(text[end]) { end &+= 1 }
            if end > offset {
                buffer.append(text.extracting(offset..<end))
                offset = end
                continue
            }
            switch piece(of: text, at: offset) {
            case .plain(let bytes):
                buffer.append(text.extracting(offset..<(offset + bytes)))
                offset += bytes
            case .escape(let bytes):
                for index in offset..<(offset + bytes) { appendEscape(text[index], &buffer) }
                offset += bytes
            }
        }
    }

    static func escaped(_ text: String) -> String {
        let bytes = Array(text.utf8)
        var buffer: [UInt8] = []
        append(bytes.span, to: &buffer)
        return String(decoding: buffer, as: UTF8.self)
    }

    /// Escaped, and in quotes, which its own quotes do not end: for a name within other words.
    static func quoted(_ text: String) -> String {
        "\"" + escaped(text).replacing("\"", with: "\\\"") + "\""
    }

    /// As `escaped`, but for words in which names are quoted and escaped already: backslashes are
    /// those of escapes.
    static func harmless(_ text: String) -> String {
        text.split(separator: "\\", omittingEmptySubsequences: false)
            .map { escaped(String($0)) }.joined(separator: "\\")
    }

    private static let backslash = UInt8(ascii: "\\")

    @inline(__always)
    private static func isPlainASCII(_ byte: UInt8) -> Bool {
        byte >= 0x20 && byte < 0x7F && byte != backslash
    }

    /// At a byte that is not plain ASCII.
    private static func piece(of text: Span<UInt8>, at offset: Int) -> Piece {
        guard let scalar = scalar(of: text, at: offset), scalar.bytes > 1 else {
            return .escape(bytes: 1)
        }
        return isHarmful(scalar.value)
            ? .escape(bytes: scalar.bytes) : .plain(bytes: scalar.bytes)
    }

    /// Control characters, line and paragraph separators, and marks that turn the direction of
    /// writing or cannot be seen: a terminal acts on them, or shows a text that it is not.
    static func isHarmful(_ scalar: UInt32) -> Bool {
        switch scalar {
        case 0x00...0x1F, 0x7F...0x9F, 0x061C, 0x200E...0x200F, 0x2028...0x202E, 0x2066...0x2069,
            0xFEFF:
            true
        default: false
        }
    }

    /// The scalar whose well-formed UTF-8 begins here; nil if there is none.
    static func scalar(of text: Span<UInt8>, at offset: Int) -> (value: UInt32, bytes: Int)? {
        let length = sequenceLength(of: text, at: offset)
        if length < 2 { return length == 0 ? nil : (UInt32(text[offset]), 1) }
        var scalar = UInt32(text[offset]) & (0xFF >> UInt32(length + 1))
        for index in (offset + 1)..<(offset + length) {
            scalar = scalar << 6 | UInt32(text[index] & 0x3F)
        }
        return (scalar, length)
    }

    /// Bytes of the well-formed UTF-8 sequence that begins here; 0 if there is none.
    private static func sequenceLength(of text: Span<UInt8>, at offset: Int) -> Int {
        let length =
            switch text[offset] {
            case 0x00...0x7F: 1
            case 0xC2...0xDF: 2
            case 0xE0...0xEF: 3
            case 0xF0...0xF4: 4
            default: 0
            }
        guard length > 0, offset + length <= text.count else { return 0 }
        let sequence = text.extracting(offset..<(offset + length))
        return (try? UTF8Span(validating: sequence)) == nil ? 0 : length
    }

    private static func appendEscape(_ byte: UInt8, _ buffer: inout [UInt8]) {
        buffer.append(backslash)
        switch byte {
        case backslash: buffer.append(backslash)
        case 0x09: buffer.append(UInt8(ascii: "t"))
        case 0x0A: buffer.append(UInt8(ascii: "n"))
        case 0x0D: buffer.append(UInt8(ascii: "r"))
        default:
            buffer.append(UInt8(ascii: "x"))
            buffer.appendHex(byte)
        }
    }
}
