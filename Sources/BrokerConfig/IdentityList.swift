import BrokerCore
import BrokerWire

/// The values of `uid`, `gid`, `opener_groups` and `trust_domain`: numbers, names and ranges.
struct IdentityList {
    enum Kind {
        case user
        case group

        var word: String {
            switch self {
            case .user: "uid"
            case .group: "gid"
            }
        }

        var namedThing: String {
            switch self {
            case .user: "user"
            case .group: "group"
            }
        }
    }

    /// What the kernel shows for ids that are not mapped into the broker's user namespace.
    static let unmappedID: UInt32 = 65_534

    var ranges: [IDRange] = []
    /// `any`: everybody, the unmapped included.
    var isAny = false
    var problems: [String] = []
    var warnings: [String] = []

    init(_ tree: TOMLTree, _ kind: Kind, _ names: inout NameLookup) {
        let values = tree.elements
        if values.isEmpty {
            problems.append("an empty list matches nobody: leave the key out, or name somebody")
        }
        for value in values { add(value, kind, &names) }
        if isAny && !ranges.isEmpty { warnings.append("\"any\" makes the other values idle") }
    }

    private mutating func add(_ value: TOMLTree, _ kind: Kind, _ names: inout NameLookup) {
        switch value {
        case .integer(let number):
            guard let id = Self.check(number: number, kind, &problems) else { return }
            add(IDRange(first: id, last: id), "\(number)", kind)
        case .string(let text):
            add(text, kind, &names)
        case .table, .array, .boolean, .other:
            problems.append("a \(kind.word) is a number, a name or a range, not \(value.kind)")
        }
    }

    private mutating func add(_ text: String, _ kind: Kind, _ names: inout NameLookup) {
        if text == "any" || text == "*" {
            isAny = true
            return
        }
        let isNumeric =
            !text.isEmpty
            && text.utf8.allSatisfy { $0 == UInt8(ascii: "-") || (0x30...0x39).contains($0) }
        if isNumeric {
            let numbers = text.split(separator: "-", omittingEmptySubsequences: false)
                .map { Int($0) }
            guard (1...2).contains(numbers.count), let first = numbers.first ?? nil,
                let last = numbers.last ?? nil
            else {
                problems.append("'\(text)' is not a \(kind.word) or a range FIRST-LAST")
                return
            }
            guard let low = Self.check(number: first, kind, &problems),
                let high = Self.check(number: last, kind, &problems)
            else { return }
            guard low <= high else {
                problems.append("the range \(text) is empty: its first is above its last")
                return
            }
            add(IDRange(first: low, last: high), text, kind)
            return
        }
        guard let id = names.id(of: text, kind) else {
            problems.append("there is no \(kind.namedThing) \(text.debugDescription)")
            return
        }
        guard Self.check(number: Int(id), kind, &problems) != nil else { return }
        add(IDRange(first: id, last: id), text, kind)
    }

    private mutating func add(_ range: IDRange, _ text: String, _ kind: Kind) {
        let other = ranges.first { $0.first <= range.last && range.first <= $0.last }
        if let other {
            let what = other.first == other.last ? "\(other.first)" : "\(other.first)-\(other.last)"
            warnings.append("\(kind.word) \(text) overlaps \(what) in the same list")
        }
        ranges.append(range)
    }

    private static func check(
        number: Int, _ kind: Kind, _ problems: inout [String]
    ) -> UInt32? {
        if number == Int(UInt32.max) {
            problems.append("\(number) is never a \(kind.word): the kernel uses it for \"none\"")
            return nil
        }
        guard let id = UInt32(exactly: number) else {
            problems.append("\(number) is no \(kind.word): they run from 0 to 4294967294")
            return nil
        }
        return id
    }

    /// The ranges for a rule that only allows: the unmapped are nobody, so a range does not take
    /// them along; they have to be named.
    var rangesForAllowing: [IDRange] {
        guard ranges.contains(where: { $0.contains(Self.unmappedID) }) else { return ranges }
        return ranges.flatMap { range -> [IDRange] in
            guard range.contains(Self.unmappedID), range.first < range.last else { return [range] }
            var parts: [IDRange] = []
            if range.first < Self.unmappedID {
                parts.append(IDRange(first: range.first, last: Self.unmappedID - 1))
            }
            if range.last > Self.unmappedID {
                parts.append(IDRange(first: Self.unmappedID + 1, last: range.last))
            }
            return parts
        }
    }
}
