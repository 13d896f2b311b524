import BrokerCore
import BrokerWire

/// The values of `uid`, `gid`, `opener_groups` and `trust_domain`: numbers, names and ranges.
struct IdentityList {
    /// What the kernel shows for ids that are not mapped into the broker's user namespace.
    static let unmappedID: UInt32 = 65_534

    var ranges: [IDRange] = []
    /// `any`: everybody, the unmapped included.
    var isAny = false
    var problems: [String] = []
    var warnings: [String] = []

    init(_ tree: TOMLTree, _ kind: IdentityKind, _ names: inout NameLookup) {
        let values = tree.elements
        if values.isEmpty {
            problems.append("an empty list matches nobody: leave the key out, or name somebody")
        }
        for value in values { add(value, kind, &names) }
        if isAny && !ranges.isEmpty { warnings.append("\"any\" makes the other values idle") }
    }

    private mutating func add(_ value: TOMLTree, _ kind: IdentityKind, _ names: inout NameLookup) {
        do throws(ConfigurationProblem) {
            switch value {
            case .integer(let number):
                let id = try kind.id(number)
                add(IDRange(first: id, last: id), "\(number)", kind)
            case .string("any"), .string("*"):
                isAny = true
            case .string(let text):
                add(try kind.range(text) { names.id(of: $0, kind) }, text, kind)
            case .table, .array, .boolean, .other:
                problems.append("a \(kind.word) is a number, a name or a range, not \(value.kind)")
            }
        } catch {
            problems.append(error.text)
        }
    }

    private mutating func add(_ range: IDRange, _ text: String, _ kind: IdentityKind) {
        let other = ranges.first { $0.first <= range.last && range.first <= $0.last }
        if let other {
            let what = other.first == other.last ? "\(other.first)" : "\(other.first)-\(other.last)"
            warnings.append("\(kind.word) \(text) overlaps \(what) in the same list")
        }
        ranges.append(range)
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
