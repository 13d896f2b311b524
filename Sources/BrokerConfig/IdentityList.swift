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

    /// What each of the ranges is written as.
    private var texts: [String] = []

    init(_ tree: TOMLTree, _ kind: IdentityKind, _ names: inout NameLookup) {
        let values = tree.elements
        if values.isEmpty {
            problems.append("an empty list matches nobody: leave the key out, or name somebody")
        }
        for value in values { add(value, kind, &names) }
        warnOfOverlaps(kind)
        if isAny && !ranges.isEmpty { warnings.append("\"any\" makes the other values idle") }
    }

    private mutating func add(_ value: TOMLTree, _ kind: IdentityKind, _ names: inout NameLookup) {
        do throws(ConfigurationProblem) {
            switch value {
            case .integer(let number):
                let id = try kind.id(number)
                add(IDRange(first: id, last: id), "\(number)")
            case .string("any"), .string("*"):
                isAny = true
            case .string(let text):
                add(try kind.range(text) { names.id(of: $0, kind) }, text)
            case .table, .array, .boolean, .other:
                problems.append("a \(kind.word) is a number, a name or a range, not \(value.kind)")
            }
        } catch {
            problems.append(error.text)
        }
    }

    private mutating func add(_ range: IDRange, _ text: String) {
        ranges.append(range)
        texts.append(text)
    }

    /// Each range is held against the one that reaches furthest of those that begin before it:
    /// lists may be as long as the file allows. Of two, the one behind in the list is named.
    private mutating func warnOfOverlaps(_ kind: IdentityKind) {
        let order = ranges.indices.sorted { (ranges[$0].first, $0) < (ranges[$1].first, $1) }
        guard var furthest = order.first else { return }
        var overlaps: [(later: Int, earlier: Int)] = []
        for index in order.dropFirst() {
            if ranges[index].first <= ranges[furthest].last {
                overlaps.append((max(index, furthest), min(index, furthest)))
            }
            if ranges[index].last > ranges[furthest].last { furthest = index }
        }
        overlaps.sort { $0 < $1 }
        for (later, earlier) in overlaps {
            let other = ranges[earlier]
            let what = other.first == other.last ? "\(other.first)" : "\(other.first)-\(other.last)"
            warnings.append("\(kind.word) \(texts[later]) overlaps \(what) in the same list")
        }
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
