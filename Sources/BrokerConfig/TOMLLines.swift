/// Where things stand in a TOML text: the lines of its headers and keys, which the parser does
/// not tell. Looks at lines as the grammar does, so that a header within a string is none. Made
/// for texts that have been parsed without error.
struct TOMLLines {
    struct Section: Equatable {
        /// `rule` of `[[rule]]`; empty before the first header.
        var name: String
        var isArrayElement: Bool
        /// Line of the header, from 1; the first section has 0.
        var line: Int
        /// Last line that belongs to it: of its last key, not of comments behind that.
        var lastLine: Int
        var keys: [String: Int] = [:]
    }

    private(set) var sections = [Section(name: "", isArrayElement: false, line: 0, lastLine: 0)]
    private var bytes: ArraySlice<UInt8>
    private var line = 1

    init(_ text: [UInt8]) {
        bytes = text[...]
        while !bytes.isEmpty { readLogicalLine() }
    }

    func elements(of name: String) -> [Section] {
        sections.filter { $0.name == name && $0.isArrayElement }
    }

    func first(_ name: String) -> Section? { sections.first { $0.name == name } }

    /// A header, a key with its value however many lines it takes, a comment or nothing.
    private mutating func readLogicalLine() {
        skipBlanks()
        switch bytes.first {
        case UInt8(ascii: "["): readHeader()
        case UInt8(ascii: "#"), UInt8(ascii: "\n"), UInt8(ascii: "\r"), nil: break
        default: readKey()
        }
        skipToNextLine()
    }

    private mutating func readHeader() {
        let start = line
        bytes = bytes.dropFirst()
        let isArrayElement = bytes.first == UInt8(ascii: "[")
        if isArrayElement { bytes = bytes.dropFirst() }
        let name = readName(until: UInt8(ascii: "]"))
        if isArrayElement { bytes = bytes.dropFirst() }
        sections.append(
            Section(name: name, isArrayElement: isArrayElement, line: start, lastLine: start))
    }

    private mutating func readKey() {
        let start = line
        let name = readName(until: UInt8(ascii: "="))
        skipValue()
        let last = sections.count - 1
        // The first part of a dotted key is the key here.
        let key = String(name.split(separator: ".").first ?? "")
        if sections[last].keys[key] == nil { sections[last].keys[key] = start }
        sections[last].lastLine = line
    }

    /// A name without quotes and blanks.
    private mutating func readName(until end: UInt8) -> String {
        var name: [UInt8] = []
        while let byte = bytes.first, byte != end, byte != UInt8(ascii: "\n") {
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
                name += readString(byte)
            } else {
                if byte != UInt8(ascii: " ") && byte != UInt8(ascii: "\t") { name.append(byte) }
                bytes = bytes.dropFirst()
            }
        }
        if bytes.first == end { bytes = bytes.dropFirst() }
        return String(decoding: name, as: UTF8.self)
    }

    /// To the end of the value: of the line, or of the line that closes the last bracket.
    private mutating func skipValue() {
        var depth = 0
        while let byte = bytes.first {
            switch byte {
            case UInt8(ascii: "\n"):
                if depth == 0 { return }
                line += 1
                bytes = bytes.dropFirst()
            case UInt8(ascii: "\""), UInt8(ascii: "'"):
                _ = readString(byte)
            case UInt8(ascii: "#"):
                while let next = bytes.first, next != UInt8(ascii: "\n") {
                    _ = next
                    bytes = bytes.dropFirst()
                }
            case UInt8(ascii: "["), UInt8(ascii: "{"):
                depth += 1
                bytes = bytes.dropFirst()
            case UInt8(ascii: "]"), UInt8(ascii: "}"):
                depth -= 1
                bytes = bytes.dropFirst()
            default:
                bytes = bytes.dropFirst()
            }
        }
    }

    /// A string of any of the four kinds, from its first quote on.
    private mutating func readString(_ quote: UInt8) -> [UInt8] {
        let triple = [quote, quote, quote]
        let isLong = bytes.starts(with: triple)
        bytes = bytes.dropFirst(isLong ? 3 : 1)
        var content: [UInt8] = []
        while let byte = bytes.first {
            if byte == quote && (!isLong || bytes.starts(with: triple)) {
                bytes = bytes.dropFirst(isLong ? 3 : 1)
                // A long string may end with one or two quotes of its own.
                while isLong, bytes.first == quote { bytes = bytes.dropFirst() }
                return content
            }
            if byte == UInt8(ascii: "\\") && quote == UInt8(ascii: "\"") {
                content.append(byte)
                bytes = bytes.dropFirst()
            }
            guard let byte = bytes.popFirst() else { break }
            if byte == UInt8(ascii: "\n") { line += 1 }
            content.append(byte)
        }
        return content
    }

    private mutating func skipBlanks() {
        while let byte = bytes.first, byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") {
            bytes = bytes.dropFirst()
        }
    }

    private mutating func skipToNextLine() {
        while let byte = bytes.popFirst() {
            if byte == UInt8(ascii: "\n") {
                line += 1
                return
            }
        }
    }
}
