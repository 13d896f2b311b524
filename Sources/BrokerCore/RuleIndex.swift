import BrokerWire

/// Which rules can speak of a uid at all, so that nobody is judged by walking over all of them:
/// most rules name single users.
struct RuleIndex: Equatable, Sendable {
    /// Rules whose uids are all single ones.
    private var byUID: [UInt32: [Int32]] = [:]
    /// Rules for ranges, and for whoever it is.
    private var others: [Int32] = []

    init(_ rules: [AccessRule]) {
        byUID.reserveCapacity(rules.count)
        for (index, rule) in rules.enumerated() {
            let isNamed = !rule.uids.isEmpty && rule.uids.allSatisfy { $0.first == $0.last }
            guard isNamed else {
                others.append(Int32(index))
                continue
            }
            for uid in Set(rule.uids.lazy.map(\.first)) {
                byUID[uid, default: []].append(Int32(index))
            }
        }
    }

    /// Every rule that may concern the uid, and some that do not, in their order.
    func candidates(for uid: UInt32) -> [Int32] {
        guard let named = byUID[uid] else { return others }
        var candidates: [Int32] = []
        candidates.reserveCapacity(named.count + others.count)
        var rest = named[...]
        for other in others {
            while let next = rest.first, next < other { candidates.append(rest.removeFirst()) }
            candidates.append(other)
        }
        precondition(rest.count <= named.count)
        return candidates + rest
    }
}
