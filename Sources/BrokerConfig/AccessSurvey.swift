package import BrokerCore
package import BrokerWire

/// Who may do something: which uids the rules speak of, and which rules decide for them.
package struct AccessSurvey {
    package struct Entry: Equatable, Sendable {
        package let range: IDRange
        /// Everybody whom no other entry names.
        package let isRest: Bool
        package let decision: Decision
    }

    /// Senders of whom a rule asks more than their uid.
    package struct Condition: Hashable, Sendable {
        /// Nil: any uid.
        package var uids: IDRange?
        package var gids: IDRange?
        package var openerGroups: IDRange?
        package var trustDomains: IDRange?
        /// Brokers, `*` standing for any text.
        package var origin: String?
        /// The name that the identity map gives them.
        package var mapped: String?
    }

    package typealias Finding = (who: Condition, decision: Decision)

    let action: Action
    let topic: [UInt8]
    let isFilter: Bool
    let policy: AccessPolicy

    /// - Parameter isFilter: whoever may for a part of the topics is one who may.
    package init(
        _ action: Action, _ topic: [UInt8], isFilter: Bool, under policy: AccessPolicy
    ) {
        self.action = action
        self.topic = topic
        self.isFilter = isFilter
        self.policy = policy
    }

    func decide(_ subject: Subject) -> Decision {
        policy.decide(action, topic, isFilter: isFilter, subject)
    }

    // MARK: By uid

    /// The uids from 0 to 4294967294 in pieces within which all rules treat all alike, as far as
    /// uids alone decide: local senders on connections of their own.
    package var entries: [Entry] {
        let starts = self.starts.sorted()
        var entries: [Entry] = []
        for (index, first) in starts.enumerated() {
            let last = index + 1 < starts.count ? starts[index + 1] - 1 : UInt32.max - 1
            let decision = decide(.local(uid: first, gid: first))
            let isRest = isRest(first)
            if let previous = entries.last, previous.decision.rule == decision.rule,
                previous.decision.isAllowed == decision.isAllowed, previous.isRest == isRest
            {
                entries[entries.count - 1] = Entry(
                    range: IDRange(first: previous.range.first, last: last), isRest: isRest,
                    decision: previous.decision)
            } else {
                entries.append(
                    Entry(
                        range: IDRange(first: first, last: last), isRest: isRest,
                        decision: decision))
            }
        }
        return entries
    }

    /// Whether no rule names the uid.
    private func isRest(_ uid: UInt32) -> Bool {
        !policy.rules(for: uid).contains { entry in
            entry.rule.uids.contains { $0.contains(uid) }
        }
    }

    /// First uids of the pieces.
    private var starts: Set<UInt32> {
        var starts = Self.starts(of: \.uids, in: policy.rules).union([0, 1])
        // Rules with %u and %n treat each user differently; those with a name are looked at.
        guard policy.rules.contains(where: { $0.topics.contains { $0.hasPlaceholders } }) else {
            return starts
        }
        starts.formUnion(startsInTopic)
        for uid in policy.userNames.keys where uid < UInt32.max - 1 {
            starts.formUnion([uid, uid + 1])
        }
        return starts
    }

    /// Where pieces begin if the ids that the topic may speak of are told from others.
    var startsInTopic: Set<UInt32> {
        var starts: Set<UInt32> = []
        for level in topic.split(separator: Topic.separator) {
            let text = String(decoding: level, as: UTF8.self)
            let digits = String(text.reversed().prefix { $0.isNumber }.reversed())
            guard let id = UInt32(digits), id < UInt32.max else { continue }
            starts.formUnion(Self.ends(of: IDRange(first: id, last: id)))
        }
        return starts
    }

    /// Where pieces begin that some rule treats differently.
    static func starts(
        of ids: KeyPath<AccessRule, [IDRange]>, in rules: [AccessRule]
    ) -> Set<UInt32> {
        var starts: Set<UInt32> = []
        for rule in rules {
            for range in rule[keyPath: ids] { starts.formUnion(ends(of: range)) }
        }
        return starts
    }

    static func ends(of range: IDRange) -> [UInt32] {
        range.last < UInt32.max - 1 ? [range.first, range.last + 1] : [range.first]
    }

    // MARK: By more than the uid

    /// Conditions that one rule is looked at with.
    static let conditionsMax = 256

    /// The senders that rules let in by their group, their opener's groups, their user namespace
    /// or their broker, and that may not by their uid alone. Those by a name of the identity map:
    /// `mapped`.
    package var conditions: [Finding] {
        let unnamed = starts.sorted().first(where: isRest) ?? UInt32.max - 1
        let gidStarts = Self.starts(of: \.gids, in: policy.rules).sorted()
        var seen: Set<Condition> = []
        var found: [Finding] = []
        for rule in policy.rules where rule.allows.contains(action) && rule.users.isEmpty {
            for condition in Self.conditions(of: rule, gidStarts) {
                guard seen.insert(condition).inserted else { continue }
                let decision = decide(condition.subject(unnamed: unnamed))
                let uid = condition.uids?.first ?? unnamed
                let mayAnyway =
                    condition.origin == nil && decide(.local(uid: uid, gid: uid)).isAllowed
                if decision.isAllowed && !mayAnyway { found.append((condition, decision)) }
            }
        }
        return found
    }

    /// One for each way to meet what the rule asks for.
    private static func conditions(of rule: AccessRule, _ gidStarts: [UInt32]) -> [Condition] {
        guard
            !(rule.gids.isEmpty && rule.openerGroups.isEmpty && rule.trustDomains.isEmpty
                && rule.origins.isEmpty)
        else { return [] }
        var conditions = [Condition()]
        func multiply<Value>(_ place: WritableKeyPath<Condition, Value?>, _ values: [Value]) {
            guard !values.isEmpty else { return }
            conditions = conditions.flatMap { condition in
                values.map { value in
                    var condition = condition
                    condition[keyPath: place] = value
                    return condition
                }
            }
            conditions = Array(conditions.prefix(conditionsMax))
        }
        multiply(\.origin, rule.origins.map { String(decoding: $0, as: UTF8.self) })
        multiply(\.trustDomains, rule.trustDomains)
        multiply(\.openerGroups, rule.openerGroups)
        multiply(\.gids, rule.gids.flatMap { pieces(of: $0, at: gidStarts) })
        multiply(\.uids, rule.uids)
        return conditions
    }

    static func pieces(of range: IDRange, at starts: [UInt32]) -> [IDRange] {
        let inner = starts.filter { $0 > range.first && $0 <= range.last }
        let firsts = [range.first] + inner
        return zip(firsts, inner.map { $0 - 1 } + [range.last]).map(IDRange.init(first:last:))
    }
}

extension AccessSurvey.Condition {
    /// A sender that meets it.
    func subject(unnamed: UInt32) -> Subject {
        let uid = uids?.first ?? unnamed
        var subject = Subject.local(
            uid: uid, gid: gids?.first ?? unnamed,
            openerGroups: openerGroups.map { [$0.first] } ?? [])
        if let owner = trustDomains?.first {
            subject.domain = .other(ownerUID: owner)
            subject.level = .claimable
        }
        if let origin {
            subject.origin = Array(origin.replacing("*", with: "x").utf8)
            subject.level = .remote
        }
        return subject
    }
}
