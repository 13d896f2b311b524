/// The keys of one link: a text file that only its owner may read.
///
/// ```
/// broker-link-key 1
/// key id=9f3c6a51e07d2b84 state=current created=2026-11-23T06:00:00Z secret=<64 digits>
/// ```
///
/// One line per key, at most one in each state. Lines that begin with `#` are comments.
public struct LinkKeyFile: ~Copyable {
    /// What a key is used for.
    public enum State: String, Sendable, CaseIterable {
        /// Accepted from the peer; becomes current at the next rotation.
        case next
        /// Used to connect, and accepted.
        case current
        /// Accepted until the next rotation.
        case previous
    }

    /// One key, without its secret.
    public struct Entry: Equatable, Sendable {
        public let id: UInt64
        public var state: State
        /// ISO 8601, as it stands in the file.
        public let created: String

        public var idText: String { LinkKeyFile.hexadecimal(id) }
    }

    public static let firstLine = "broker-link-key 1"
    /// Largest file that is looked at.
    static let fileBytesMax = 4_096

    public private(set) var entries: [Entry] = []
    private var next: SecretBytes?
    private var current: SecretBytes?
    private var previous: SecretBytes?

    private init() {}

    /// A file with one fresh current key.
    ///
    /// - Parameter created: the time to write down.
    public static func generate(created: String) throws(SigningError) -> LinkKeyFile {
        var file = LinkKeyFile()
        file.insert(
            Entry(id: RandomBytes.makeNumber(), state: .current, created: created),
            try SecretBytes.random())
        return file
    }

    /// Reads the text of a key file.
    public init(parsing text: Span<UInt8>) throws(LinkKeyFileError) {
        guard text.count <= Self.fileBytesMax else { throw .malformed(line: 0, "it is too large") }
        var offset = 0
        var number = 0
        while offset < text.count {
            var end = offset
            while end < text.count && text[end] != UInt8(ascii: "\n") { end += 1 }
            number += 1
            try parse(line: text.extracting(offset..<end), number: number)
            offset = end + 1
        }
        guard number > 0 else { throw .malformed(line: 1, "it is empty") }
        guard entry(in: .current) != nil else { throw .noCurrentKey }
    }

    public func entry(in state: State) -> Entry? { entries.first { $0.state == state } }

    /// The state of the key with this id, if the file has it.
    public func state(of id: UInt64) -> State? { entries.first { $0.id == id }?.state }

    /// Derives from the secret of a key.
    ///
    /// - Returns: nil if there is no key with this id.
    public func derive(
        from id: UInt64, salt: Span<UInt8>, info: Span<UInt8>
    ) throws(SigningError) -> SecretBytes? {
        switch state(of: id) {
        case .next: try next?.derive(salt: salt, info: info)
        case .current: try current?.derive(salt: salt, info: info)
        case .previous: try previous?.derive(salt: salt, info: info)
        case nil: nil
        }
    }

    // MARK: Rotation

    /// Adds a fresh key that is accepted but not used yet.
    ///
    /// - Precondition: there is no next key.
    public mutating func addNext(created: String) throws(SigningError) {
        precondition(entry(in: .next) == nil)
        insert(
            Entry(id: RandomBytes.makeNumber(), state: .next, created: created),
            try SecretBytes.random())
    }

    /// Makes the next key current and the current one previous; the previous one is forgotten.
    ///
    /// - Precondition: there is a next key.
    public mutating func promote() {
        precondition(entry(in: .next) != nil)
        entries.removeAll { $0.state == .previous }
        for index in entries.indices {
            entries[index].state = entries[index].state == .next ? .current : .previous
        }
        previous = current.take()
        current = next.take()
    }

    // MARK: Text

    /// The whole file, secrets included; to be overwritten when it has been used.
    func text() throws(SigningError) -> [UInt8] {
        // Made large enough at once: growing would leave copies of the secrets behind.
        var text: [UInt8] = []
        text.reserveCapacity(Self.fileBytesMax)
        text.append(contentsOf: (Self.firstLine + "\n").utf8)
        for entry in entries {
            let line =
                "key id=\(entry.idText) state=\(entry.state.rawValue) created=\(entry.created)"
            text.append(contentsOf: (line + " secret=").utf8)
            switch entry.state {
            case .next: try Self.append(next, to: &text)
            case .current: try Self.append(current, to: &text)
            case .previous: try Self.append(previous, to: &text)
            }
            text.append(UInt8(ascii: "\n"))
        }
        return text
    }

    private static func append(
        _ secret: borrowing SecretBytes?, to text: inout [UInt8]
    ) throws(SigningError) {
        switch secret {
        case .some(let secret):
            let digits = Array("0123456789abcdef".utf8)
            unsafe try secret.withBytes { bytes throws(SigningError) in
                for index in 0..<bytes.count {
                    let byte = unsafe bytes[index]
                    text.append(digits[Int(byte >> 4)])
                    text.append(digits[Int(byte & 15)])
                }
            }
        case .none:
            preconditionFailure("an entry without its secret")
        }
    }

    private mutating func insert(_ entry: Entry, _ secret: consuming SecretBytes) {
        entries.append(entry)
        switch entry.state {
        case .next: next = consume secret
        case .current: current = consume secret
        case .previous: previous = consume secret
        }
    }

    private mutating func parse(line: Span<UInt8>, number: Int) throws(LinkKeyFileError) {
        if number == 1 {
            guard Self.text(line) == Self.firstLine else { throw .unknownVersion }
            return
        }
        if line.isEmpty || line[0] == UInt8(ascii: "#") { return }
        // The secret is the last field and is never made into a string.
        let marker = Array(" secret=".utf8)
        let secretDigits = 2 * SecretBytes.byteCount
        let head = line.count - secretDigits - marker.count
        guard head > 0, Self.text(line.extracting(head..<(head + marker.count))) == " secret="
        else {
            throw .malformed(
                line: number, "it does not end with secret= and \(secretDigits) digits")
        }
        let entry = try Self.parse(head: Self.text(line.extracting(0..<head)), number: number)
        if entries.contains(where: { $0.id == entry.id }) {
            throw .malformed(line: number, "key id \(entry.idText) is there twice")
        }
        if entries.contains(where: { $0.state == entry.state }) {
            throw .malformed(
                line: number, "there is more than one key in state \(entry.state.rawValue)")
        }
        let digits = line.extracting((line.count - secretDigits)...)
        insert(entry, try Self.parse(secret: digits, number))
    }

    private static func parse(head: String, number: Int) throws(LinkKeyFileError) -> Entry {
        let fields = head.split(separator: " ", omittingEmptySubsequences: false)
        guard fields.count == 4, fields[0] == "key", fields[1].hasPrefix("id="),
            fields[2].hasPrefix("state="), fields[3].hasPrefix("created=")
        else { throw .malformed(line: number, "it is not: key id= state= created= secret=") }
        // There is one way to write it: no sign, no capital letters.
        let idText = fields[1].dropFirst(3)
        guard let id = UInt64(idText, radix: 16), id != 0, hexadecimal(id) == idText else {
            throw .malformed(line: number, "the id is not 16 digits 0 to 9 and a to f, or is 0")
        }
        guard let state = State(rawValue: String(fields[2].dropFirst(6))) else {
            throw .malformed(line: number, "the state is not next, current or previous")
        }
        return Entry(id: id, state: state, created: String(fields[3].dropFirst(8)))
    }

    private static func parse(
        secret digits: Span<UInt8>, _ number: Int
    ) throws(LinkKeyFileError) -> SecretBytes {
        var bytes = [UInt8](repeating: 0, count: SecretBytes.byteCount)
        defer { SecretText.overwrite(&bytes) }
        for index in 0..<bytes.count {
            guard let high = value(digits[2 * index]), let low = value(digits[2 * index + 1])
            else { throw .malformed(line: number, "the secret is not hexadecimal") }
            bytes[index] = high << 4 | low
        }
        guard bytes.contains(where: { $0 != 0 }) else {
            throw .malformed(line: number, "the secret is all zeros")
        }
        do {
            return try SecretBytes(copying: bytes.span)
        } catch {
            throw .malformed(line: number, error.description)
        }
    }

    private static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }

    private static func text(_ bytes: Span<UInt8>) -> String {
        String(decoding: (0..<bytes.count).map { bytes[$0] }, as: UTF8.self)
    }

    /// A key id as key files and logs have it: 16 digits.
    public static func hexadecimal(_ id: UInt64) -> String {
        let digits = String(id, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// Why a key file is refused. The reason never holds a secret.
public enum LinkKeyFileError: Error, Equatable {
    /// The first line is not that of a version this program knows.
    case unknownVersion
    case noCurrentKey
    case malformed(line: Int, String)

    public var explanation: String {
        switch self {
        case .unknownVersion:
            "its first line is not '\(LinkKeyFile.firstLine)' and a line feed: it is another file, "
                + "or was changed on the way; carry it over as it is"
        case .noCurrentKey: "it has no key in state current"
        case .malformed(0, let reason): reason
        case .malformed(let line, let reason): "line \(line): \(reason)"
        }
    }
}
