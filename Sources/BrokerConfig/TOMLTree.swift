/// A value of a TOML text.
enum TOMLTree {
    case table(TOMLSection)
    case array([TOMLTree])
    case string(String)
    case integer(Int)
    case boolean(Bool)
    /// Fractions, dates and times, which no key here takes.
    case other(String)

    /// What it is, for messages.
    var kind: String {
        switch self {
        case .table: "a table"
        case .array: "a list"
        case .string: "a string"
        case .integer: "a number"
        case .boolean: "true or false"
        case .other(let kind): kind
        }
    }

    /// The elements of a list; any other value is a list of itself.
    var elements: [TOMLTree] {
        if case .array(let elements) = self { elements } else { [self] }
    }
}

/// A table of a TOML text: its values, and the lines they stand in.
final class TOMLSection {
    struct Entry {
        /// Line of the key, or of the first header.
        let line: Int
        let value: TOMLTree
    }

    /// What made it a table, and so what may still be added to it.
    enum Origin {
        /// A longer header: `a` of `[a.b]`.
        case headerOnTheWay
        case header
        /// A dotted key: `a` of `a.b = 1`.
        case dottedKey
        case braces
    }

    private(set) var origin: Origin
    /// Line of the header, or of the key it is the value of, from 1; the whole text has 0.
    private(set) var line: Int
    /// Last line that belongs to it: of its last key, not of comments behind that.
    var lastLine: Int
    private var entries: [String: Entry]
    /// The tables whose headers stand in two pairs of brackets.
    private var lists: [String: [TOMLSection]] = [:]

    init(_ origin: Origin, line: Int) {
        self.origin = origin
        self.line = line
        lastLine = line
        // A rule has no more keys than that, as a rule.
        entries = Dictionary(minimumCapacity: 6)
    }

    var isEmpty: Bool { entries.isEmpty && lists.isEmpty }

    /// The keys that are not among those known, with their lines.
    func keys(besides known: Set<String>) -> [(key: String, line: Int)] {
        var others: [(key: String, line: Int)] = []
        for (key, entry) in entries where !known.contains(key) { others.append((key, entry.line)) }
        for (key, list) in lists where !known.contains(key) {
            others.append((key, list.first?.line ?? line))
        }
        return others.sorted { $0.key < $1.key }
    }

    subscript(key: String) -> Entry? {
        if let entry = entries[key] { return entry }
        guard let list = lists[key], let first = list.first else { return nil }
        return Entry(line: first.line, value: .array(list.map { .table($0) }))
    }

    /// The tables of headers `[[key]]`.
    func elements(of key: String) -> [TOMLSection] { lists[key] ?? [] }

    // MARK: Building

    /// Sets the value of a key, which may be dotted.
    ///
    /// - Returns: false if the place is taken, or in a table that is complete.
    func insert(_ value: TOMLTree, at path: [String], line: Int) -> Bool {
        var table = self
        for key in path.dropLast() {
            guard let next = table.table(key, .dottedKey, line: line) else { return false }
            // What longer headers only passed through is not complete yet.
            if next.origin == .headerOnTheWay { next.origin = .dottedKey }
            guard next.origin == .dottedKey else { return false }
            table = next
        }
        guard let last = path.last, table.entries[last] == nil, table.lists[last] == nil else {
            return false
        }
        table.entries[last] = Entry(line: line, value: value)
        return true
    }

    /// The table that a header begins; nil if something else has the name.
    func open(_ path: [String], isElement: Bool, line: Int) -> TOMLSection? {
        var parent = self
        for key in path.dropLast() {
            let next = parent.lists[key]?.last ?? parent.table(key, .headerOnTheWay, line: line)
            guard let next, next.origin != .braces else { return nil }
            parent = next
        }
        guard let last = path.last else { return nil }
        if isElement {
            guard parent.entries[last] == nil else { return nil }
            let section = TOMLSection(.header, line: line)
            parent.lists[last, default: []].append(section)
            return section
        }
        guard let section = parent.table(last, .headerOnTheWay, line: line),
            section.origin == .headerOnTheWay
        else { return nil }
        section.origin = .header
        section.line = line
        section.lastLine = line
        return section
    }

    /// The table of that name, made if there is none; nil if the name is taken.
    private func table(_ key: String, _ origin: Origin, line: Int) -> TOMLSection? {
        guard lists[key] == nil else { return nil }
        switch entries[key]?.value {
        case .table(let section):
            return section
        case nil:
            let section = TOMLSection(origin, line: line)
            entries[key] = Entry(line: line, value: .table(section))
            return section
        case .array, .string, .integer, .boolean, .other:
            return nil
        }
    }
}
