/// Reads TOML 1.0 whole or not at all, with the line of every key.
///
/// Own code, and not TOMLKit, for what a broker must be able to rely on while it runs: a file that
/// is broken in any way gives an error (toml++ within TOMLKit aborts the process on `[.]`), memory
/// is given back (TOMLKit frees nothing it has parsed or copied), and the lines of keys are known.
/// It is held against Python's `tomllib` in tests.
struct TOMLReader {
    /// Of lists and tables within each other, and of the parts of a key.
    private static let depthMax = 64

    private let bytes: [UInt8]
    private var offset = 0
    private var line = 1
    private var depth = 0

    private init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// - Parameter text: valid UTF-8.
    /// - Throws: the line of the first error.
    static func read(_ text: [UInt8]) throws(ConfigurationProblem) -> TOMLSection {
        var reader = TOMLReader(text)
        return try reader.readDocument()
    }

    private mutating func readDocument() throws(ConfigurationProblem) -> TOMLSection {
        let root = TOMLSection(.header, line: 0)
        var section = root
        while true {
            try skipFill()
            guard let byte = peek else { return root }
            if byte == UInt8(ascii: "[") {
                section = try readHeader(below: root)
            } else {
                try readPair(into: section)
                section.lastLine = line
            }
            try endLine()
        }
    }

    private func problem(_ text: String, line: Int? = nil) -> ConfigurationProblem {
        ConfigurationProblem(line: line ?? self.line, "not TOML: \(text)")
    }

    // MARK: Bytes

    private var peek: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard offset < bytes.count, bytes[offset] == byte else { return false }
        offset += 1
        return true
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }

    private mutating func skipBlanks() {
        while offset < bytes.count, Self.isBlank(bytes[offset]) { offset += 1 }
    }

    /// The end of a line, of either kind.
    @discardableResult
    private mutating func takeLineEnd() -> Bool {
        let end = peek == UInt8(ascii: "\r") ? offset + 1 : offset
        guard end < bytes.count, bytes[end] == UInt8(ascii: "\n") else { return false }
        offset = end + 1
        line += 1
        return true
    }

    /// Blanks, ends of lines and comments.
    private mutating func skipFill() throws(ConfigurationProblem) {
        repeat {
            skipBlanks()
            try skipComment()
        } while takeLineEnd()
    }

    private mutating func skipComment() throws(ConfigurationProblem) {
        guard peek == UInt8(ascii: "#") else { return }
        while offset < bytes.count, bytes[offset] != UInt8(ascii: "\n") {
            if bytes[offset] == UInt8(ascii: "\r"), isLineEndAhead { return }
            try checkCharacter("a comment")
            offset += 1
        }
    }

    private var isLineEndAhead: Bool {
        offset + 1 < bytes.count && bytes[offset + 1] == UInt8(ascii: "\n")
    }

    /// Control characters stand nowhere but for the tab.
    private func checkCharacter(_ place: String) throws(ConfigurationProblem) {
        let byte = bytes[offset]
        guard byte < 0x20 || byte == 0x7F else { return }
        if byte == UInt8(ascii: "\t") { return }
        throw problem("a control character within \(place)")
    }

    /// Nothing more may stand on the line.
    private mutating func endLine() throws(ConfigurationProblem) {
        skipBlanks()
        try skipComment()
        guard takeLineEnd() || peek == nil else {
            throw problem("something stands behind the value or header on its line")
        }
    }

    private func text(_ range: Range<Int>) -> String {
        String(decoding: bytes[range], as: UTF8.self)
    }

    // MARK: Keys

    private mutating func readHeader(
        below root: TOMLSection
    ) throws(ConfigurationProblem) -> TOMLSection {
        offset += 1
        let isElement = take(UInt8(ascii: "["))
        let path = try readPath()
        guard take(UInt8(ascii: "]")), !isElement || take(UInt8(ascii: "]")) else {
            throw problem("the header is not closed")
        }
        guard let section = root.open(path, isElement: isElement, line: line) else {
            throw problem("the header '\(path.joined(separator: "."))' names what is there already")
        }
        return section
    }

    private mutating func readPair(into section: TOMLSection) throws(ConfigurationProblem) {
        let start = line
        let path = try readPath()
        guard take(UInt8(ascii: "=")) else { throw problem("a key without '='") }
        skipBlanks()
        let value = try readValue()
        guard section.insert(value, at: path, line: start) else {
            throw problem(
                "the key '\(path.joined(separator: "."))' is there already", line: start)
        }
    }

    /// The parts of a dotted key; most have one.
    private mutating func readPath() throws(ConfigurationProblem) -> [String] {
        var path: [String] = []
        repeat {
            skipBlanks()
            path.append(try readKey())
            skipBlanks()
            guard path.count <= Self.depthMax else { throw problem("too many dots in a key") }
        } while take(UInt8(ascii: "."))
        return path
    }

    private mutating func readKey() throws(ConfigurationProblem) -> String {
        if peek == UInt8(ascii: "\"") || peek == UInt8(ascii: "'") {
            guard !hasThreeQuotes(bytes[offset]) else { throw problem("a key of many lines") }
            return try readString()
        }
        let start = offset
        while offset < bytes.count, Self.isBare(bytes[offset]) { offset += 1 }
        guard offset > start else { throw problem("a key is missing, or needs quotes") }
        return text(start..<offset)
    }

    private static func isBare(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    // MARK: Values

    private mutating func readValue() throws(ConfigurationProblem) -> TOMLTree {
        switch peek {
        case UInt8(ascii: "\""), UInt8(ascii: "'"): .string(try readString())
        case UInt8(ascii: "["): .array(try readArray())
        case UInt8(ascii: "{"): .table(try readInlineTable())
        default: try readScalar()
        }
    }

    private mutating func descend() throws(ConfigurationProblem) {
        depth += 1
        guard depth <= Self.depthMax else {
            throw problem("more than \(Self.depthMax) lists and tables within each other")
        }
    }

    private mutating func readArray() throws(ConfigurationProblem) -> [TOMLTree] {
        let start = line
        try descend()
        offset += 1
        var elements: [TOMLTree] = []
        try skipFill()
        while !take(UInt8(ascii: "]")) {
            guard peek != nil else { throw problem("the list is not closed", line: start) }
            elements.append(try readValue())
            try skipFill()
            guard take(UInt8(ascii: ",")) || peek == UInt8(ascii: "]") else {
                throw problem("the list is not closed, or a comma is missing", line: start)
            }
            try skipFill()
        }
        depth -= 1
        return elements
    }

    private mutating func readInlineTable() throws(ConfigurationProblem) -> TOMLSection {
        try descend()
        offset += 1
        let section = TOMLSection(.braces, line: line)
        skipBlanks()
        guard !take(UInt8(ascii: "}")) else {
            depth -= 1
            return section
        }
        repeat {
            try readPair(into: section)
            skipBlanks()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "}")) else { throw problem("the table in braces is not closed") }
        depth -= 1
        return section
    }

    /// A number, a date, true or false. A date may hold a blank.
    private mutating func readScalar() throws(ConfigurationProblem) -> TOMLTree {
        let start = offset
        while offset < bytes.count, !Self.endsScalar(bytes[offset]) { offset += 1 }
        var end = offset
        while end > start, Self.isBlank(bytes[end - 1]) { end -= 1 }
        guard let value = TOMLScalar.value(of: text(start..<end)) else {
            guard end > start else { throw problem("a value is missing") }
            let isNumber = Self.isDigit(bytes[start]) || "+-".utf8.contains(bytes[start])
            throw problem(
                "'\(text(start..<end))' is no "
                    + (isNumber
                        ? "number: it is too large, begins with 0, or holds something else"
                        : "value: text stands in quotes"))
        }
        return value
    }

    private static func endsScalar(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: ","), UInt8(ascii: "]"), UInt8(ascii: "}"), UInt8(ascii: "#"),
            UInt8(ascii: "\r"), UInt8(ascii: "\n"):
            true
        default: false
        }
    }

    // MARK: Strings

    /// A string of any of the four kinds, from its first quote on.
    private mutating func readString() throws(ConfigurationProblem) -> String {
        let quote = bytes[offset]
        if hasThreeQuotes(quote) { return try readLongString(quote) }
        offset += 1
        let start = offset
        while offset < bytes.count, bytes[offset] != quote {
            if bytes[offset] == UInt8(ascii: "\\") && quote == UInt8(ascii: "\"") {
                return try readEscaped(from: start)
            }
            try checkCharacter("a string, or its last quote is missing")
            offset += 1
        }
        guard take(quote) else { throw problem("a string has no last quote") }
        return text(start..<(offset - 1))
    }

    private func hasThreeQuotes(_ quote: UInt8) -> Bool {
        offset + 2 < bytes.count && bytes[offset] == quote && bytes[offset + 1] == quote
            && bytes[offset + 2] == quote
    }

    /// A string on one line in which something is written with `\`, from there on.
    private mutating func readEscaped(from start: Int) throws(ConfigurationProblem) -> String {
        var content = Array(bytes[start..<offset])
        while offset < bytes.count, bytes[offset] != UInt8(ascii: "\"") {
            if take(UInt8(ascii: "\\")) {
                content += try readEscape()
            } else {
                try checkCharacter("a string, or its last quote is missing")
                content.append(bytes[offset])
                offset += 1
            }
        }
        guard take(UInt8(ascii: "\"")) else { throw problem("a string has no last quote") }
        return String(decoding: content, as: UTF8.self)
    }

    private mutating func readLongString(_ quote: UInt8) throws(ConfigurationProblem) -> String {
        let start = line
        offset += 3
        takeLineEnd()
        var content: [UInt8] = []
        while offset < bytes.count {
            if hasThreeQuotes(quote) {
                offset += 3
                // It may end with one or two quotes of its own.
                for _ in 0..<2 where take(quote) { content.append(quote) }
                return String(decoding: content, as: UTF8.self)
            }
            if quote == UInt8(ascii: "\""), take(UInt8(ascii: "\\")) {
                if !skipJoinedLines() { content += try readEscape() }
            } else if takeLineEnd() {
                content.append(UInt8(ascii: "\n"))
            } else {
                try checkCharacter("a string")
                content.append(bytes[offset])
                offset += 1
            }
        }
        throw problem("a string of many lines has no last quotes", line: start)
    }

    /// Behind a `\` at the end of a line, everything up to the next character that is seen.
    private mutating func skipJoinedLines() -> Bool {
        let start = offset
        skipBlanks()
        guard takeLineEnd() else {
            offset = start
            return false
        }
        repeat { skipBlanks() } while takeLineEnd()
        return true
    }

    /// What stands behind a `\`.
    private mutating func readEscape() throws(ConfigurationProblem) -> [UInt8] {
        let byte = peek
        offset += 1
        switch byte {
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "\""): return [0x22]
        case UInt8(ascii: "\\"): return [0x5C]
        case UInt8(ascii: "u"): return try readCharacter(digits: 4)
        case UInt8(ascii: "U"): return try readCharacter(digits: 8)
        default: throw problem("a string with a '\\' that means nothing: write '\\\\'")
        }
    }

    private mutating func readCharacter(digits: Int) throws(ConfigurationProblem) -> [UInt8] {
        let end = min(offset + digits, bytes.count)
        let isHexadecimal = bytes[min(offset, end)..<end].allSatisfy { byte in
            Self.isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20)
        }
        guard isHexadecimal, end - offset == digits,
            let value = UInt32(text(offset..<end), radix: 16),
            let scalar = Unicode.Scalar(value)
        else { throw problem("a string with a '\\u' that is no character") }
        if value == 0 {
            throw ConfigurationProblem(line: line, "a NUL character within a string")
        }
        offset = end
        return Array(String(Character(scalar)).utf8)
    }
}
