import BrokerWire

/// What one of the two identities of a subject may do: the rules that speak of it, with their
/// placeholders filled in. A decision costs a walk down the topic's levels, whatever the number
/// of rules.
final class IdentityRights {
    /// One topic pattern of one rule, for this identity.
    private struct Term {
        let rule: Int32
        let filter: [UInt8]
        let allows: ActionSet
        let denies: ActionSet
        let isDelegated: Bool
    }

    enum Verdict: Equatable {
        case allowed(rule: Int, isDelegated: Bool)
        case denied(rule: Int)
        case noRule
    }

    /// The name that the identity map gives it; empty: none.
    let user: [UInt8]
    private let terms: [Term]
    private let patterns: SubscriptionTrie
    private let allowsPlain: [(rule: Int32, allows: ActionSet, isDelegated: Bool)]
    private let deniesPlain: [(rule: Int32, denies: ActionSet)]
    /// Rules for all topics there are.
    private let allowsAll: [(rule: Int32, allows: ActionSet)]

    init(of subject: Subject, as role: Role, under policy: AccessPolicy) {
        let (uid, gid) =
            switch role {
            case .sender: (subject.uid, subject.gid)
            case .opener: (subject.openerUID, subject.openerGID)
            }
        let mapped = policy.map.entry(for: subject, as: role)?.name
        user = mapped.map { Array($0.utf8) } ?? []
        var terms: [Term] = []
        // Patterns are the administrator's choice: nobody can make them meet.
        var patterns = SubscriptionTrie(hash: KeyedHash(key: 0))
        var allowsPlain: [(rule: Int32, allows: ActionSet, isDelegated: Bool)] = []
        var deniesPlain: [(rule: Int32, denies: ActionSet)] = []
        var allowsAll: [(rule: Int32, allows: ActionSet)] = []
        let name = (subject.isRemote ? mapped : policy.userNames[uid]).map { Array($0.utf8) }
        for (index, rule) in policy.rules(for: uid)
        where rule.concerns(subject, as: role, user: mapped) {
            let allows = rule.mayAllow(subject, as: role, user: mapped) ? rule.allows : []
            if !allows.isEmpty { allowsPlain.append((Int32(index), allows, rule.isDelegated)) }
            if rule.isForAllTopics { allowsAll.append((Int32(index), allows)) }
            if !rule.denies.isEmpty { deniesPlain.append((Int32(index), rule.denies)) }
            for topic in rule.topics {
                let filter = topic.filter(
                    uid: uid, gid: gid, userName: name, origin: subject.origin)
                guard let filter else { continue }
                _ = patterns.insert(filter.span, subscription: UInt32(terms.count))
                terms.append(
                    Term(
                        rule: Int32(index), filter: filter, allows: allows, denies: rule.denies,
                        isDelegated: rule.isDelegated))
            }
        }
        self.terms = terms
        self.patterns = patterns
        self.allowsPlain = allowsPlain
        self.deniesPlain = deniesPlain
        self.allowsAll = allowsAll
    }

    /// Rough size, for whoever keeps many.
    var termCount: Int { terms.count + allowsPlain.count + deniesPlain.count }

    func judge(_ action: Action, topic: Span<UInt8>) -> Verdict {
        guard action.needsTopic else { return judgePlain(action) }
        precondition(!topic.isEmpty, "a topic has at least one byte")
        var allowed: Int32?
        var denied: Int32?
        var isDelegated = false
        if !terms.isEmpty {
            patterns.forEach(topic) { match in
                let index = Int(match)
                let rule = terms[index].rule
                if terms[index].denies.contains(action) { denied = min(denied ?? .max, rule) }
                if terms[index].allows.contains(action) {
                    allowed = min(allowed ?? .max, rule)
                    isDelegated = isDelegated || terms[index].isDelegated
                }
            }
        }
        if let denied { return .denied(rule: Int(denied)) }
        for all in allowsAll where all.allows.contains(action) {
            allowed = min(allowed ?? .max, all.rule)
        }
        if let allowed { return .allowed(rule: Int(allowed), isDelegated: isDelegated) }
        return .noRule
    }

    private func judgePlain(_ action: Action) -> Verdict {
        if let rule = deniesPlain.first(where: { $0.denies.contains(action) })?.rule {
            return .denied(rule: Int(rule))
        }
        let allowing = allowsPlain.filter { $0.allows.contains(action) }
        guard let first = allowing.first else { return .noRule }
        return .allowed(
            rule: Int(first.rule), isDelegated: allowing.contains { $0.isDelegated })
    }

    // MARK: Filters

    /// The parts of a filter that rules allow, each with the rule, less those that one pattern
    /// denies as a whole.
    func allowedParts(
        of filter: [UInt8], _ action: Action
    ) -> [(filter: [UInt8], rule: Int, isDelegated: Bool)] {
        precondition(action.needsTopic && !filter.isEmpty)
        let whole: [(filter: [UInt8], rule: Int, isDelegated: Bool)] =
            denies(action, allOf: filter)
            ? []
            : allowsAll.filter { $0.allows.contains(action) }.map {
                (filter, Int($0.rule), false)
            }
        return whole
            + terms.compactMap { term in
                guard term.allows.contains(action),
                    let part = Topic.intersection(filter, term.filter), !denies(action, allOf: part)
                else { return nil }
                return (part, Int(term.rule), term.isDelegated)
            }
    }

    /// The rule of the first of `allowedParts`, without making the others.
    func firstAllowing(_ filter: [UInt8], _ action: Action) -> Int? {
        precondition(action.needsTopic && !filter.isEmpty)
        let isDenied = denies(action, allOf: filter)
        if !isDenied, let all = allowsAll.first(where: { $0.allows.contains(action) }) {
            return Int(all.rule)
        }
        for index in terms.indices where terms[index].allows.contains(action) {
            if Topic.covers(pattern: terms[index].filter, filter: filter) {
                if !isDenied { return Int(terms[index].rule) }
            } else if let part = Topic.intersection(filter, terms[index].filter),
                !denies(action, allOf: part)
            {
                return Int(terms[index].rule)
            }
        }
        return nil
    }

    /// A rule whose one pattern allows every topic of the filter, if nothing of it is denied.
    func wholeFilterVerdict(_ filter: [UInt8], _ action: Action) -> Verdict {
        precondition(action.needsTopic && !filter.isEmpty)
        for term in terms where term.denies.contains(action) {
            guard Topic.intersection(filter, term.filter) == nil else {
                return .denied(rule: Int(term.rule))
            }
        }
        let covering = terms.filter {
            $0.allows.contains(action) && Topic.covers(pattern: $0.filter, filter: filter)
        }
        let all = allowsAll.first { $0.allows.contains(action) }
        guard let rule = covering.first?.rule ?? all?.rule else { return .noRule }
        return .allowed(
            rule: Int(rule), isDelegated: covering.contains { $0.isDelegated })
    }

    func denies(_ action: Action, allOf filter: [UInt8]) -> Bool {
        denial(of: action, allOf: filter) != nil
    }

    func denial(of action: Action, allOf filter: [UInt8]) -> Int? {
        let index = terms.indices.first {
            terms[$0].denies.contains(action)
                && Topic.covers(pattern: terms[$0].filter, filter: filter)
        }
        return index.map { Int(terms[$0].rule) }
    }
}

/// What a subject may do under a policy: the one place where decisions are made, for publishing,
/// subscribing, delivering, status and administration alike. A class, as `IdentityRights`, only
/// because it is large: looked at in a table, a structure would be copied for each decision.
package final class SubjectRights {
    private let subject: Subject
    private let sender: IdentityRights
    /// Nil: the opener is not judged.
    private let opener: IdentityRights?

    package init(of subject: Subject, under policy: AccessPolicy) {
        self.subject = subject
        sender = IdentityRights(of: subject, as: .sender, under: policy)
        opener =
            policy.judgesOpener(of: subject)
            ? IdentityRights(of: subject, as: .opener, under: policy) : nil
    }

    var termCount: Int { sender.termCount + (opener?.termCount ?? 0) }

    /// The name that the identity map gives the sender; empty: none.
    var user: [UInt8] { sender.user }

    /// - Parameter topic: a valid topic name; not looked at for actions that need none.
    package func decide(_ action: Action, topic: Span<UInt8>) -> Decision {
        combine(
            sender.judge(action, topic: topic), opener.map { $0.judge(action, topic: topic) })
    }

    /// The attested uid decides. If the opener is judged, a rule that denies it counts always,
    /// and one that allows it is needed, unless the sender's rule says `delegated`. So neither a
    /// stolen connection nor a confused deputy gains anything.
    private func combine(
        _ sender: IdentityRights.Verdict, _ opener: IdentityRights.Verdict?
    ) -> Decision {
        let (rule, isDelegated): (Int, Bool)
        switch sender {
        case .allowed(let allowing, let lifts): (rule, isDelegated) = (allowing, lifts)
        case .denied(let denying):
            return .denied(uid: subject.uid, as: .sender, rule: denying)
        case .noRule:
            return .denied(uid: subject.uid, as: .sender, rule: nil)
        }
        switch opener {
        case nil, .allowed: return .allowed(rule: rule)
        case .denied(let denying):
            return .denied(uid: subject.openerUID, as: .opener, rule: denying)
        case .noRule where isDelegated:
            return .allowed(rule: rule)
        case .noRule:
            return .denied(uid: subject.openerUID, as: .opener, rule: nil)
        }
    }

    /// Whether a subscription to the filter can bring anything: some topic that it matches may be
    /// allowed. Which ones is decided topic by topic when messages are delivered.
    package func decideSubscription(to filter: [UInt8]) -> Decision {
        decidePart(of: filter, .subscribe)
    }

    /// The same for any action on topics: whether it may be allowed for some of them.
    package func decidePart(of filter: [UInt8], _ action: Action) -> Decision {
        if opener == nil, let rule = sender.firstAllowing(filter, action) {
            return .allowed(rule: rule)
        }
        let parts = sender.allowedParts(of: filter, action)
        guard let first = parts.first else {
            let rule = sender.denial(of: action, allOf: filter)
            return .denied(uid: subject.uid, as: .sender, rule: rule)
        }
        guard let opener else { return .allowed(rule: first.rule) }
        for part in parts {
            if part.isDelegated && !opener.denies(action, allOf: part.filter) {
                return .allowed(rule: part.rule)
            }
            let common = opener.allowedParts(of: part.filter, action)
            let isOpen = common.contains { !sender.denies(action, allOf: $0.filter) }
            if isOpen { return .allowed(rule: part.rule) }
        }
        let rule = opener.denial(of: action, allOf: filter)
        return .denied(uid: subject.openerUID, as: .opener, rule: rule)
    }

    /// Whether publishers to *all* topics of the filter may be held back.
    package func decideBlocking(on filter: [UInt8]) -> Decision {
        combine(
            sender.wholeFilterVerdict(filter, .block),
            opener.map { $0.wholeFilterVerdict(filter, .block) })
    }
}

/// The rights of the subjects seen under the policy in force, compiled when first asked for and
/// kept up to a bound.
struct RightsTable {
    /// Where a subject's rights stand, for who asks often; it goes out of date.
    struct Place {
        fileprivate var index: Int32 = -1
        fileprivate var epoch: UInt32 = 0
    }

    private struct Entry {
        let rights: SubjectRights
        /// The latest topic judged for a route, and how: many subscriptions have one subject.
        var stamp: UInt64 = 0
        var isAllowed = false
    }

    private static let subjectsMax = 4_096
    private static let termsMax = 1 << 20

    private(set) var policy: AccessPolicy
    /// The rules of the policy, by name and place.
    private(set) var references: [RuleReference]
    private var entries: [Entry] = []
    private var places: [Subject: Int32] = [:]
    private var termCount = 0
    private var epoch: UInt32 = 1

    init(policy: AccessPolicy) {
        self.policy = policy
        references = policy.rules.map { RuleReference($0) }
    }

    mutating func replace(_ policy: AccessPolicy) {
        self.policy = policy
        references = policy.rules.map { RuleReference($0) }
        clear()
    }

    /// The rights of a subject.
    mutating func rights(of subject: Subject) -> SubjectRights {
        entries[index(of: subject)].rights
    }

    /// Whether a place still is where the rights of its subject stand.
    func isCurrent(_ place: Place) -> Bool { place.epoch == epoch }

    mutating func place(of subject: Subject) -> Place {
        // First: compiling the rights may put all others out of date.
        let index = Int32(index(of: subject))
        return Place(index: index, epoch: epoch)
    }

    /// - Parameters:
    ///   - topic: a valid topic name.
    ///   - place: a current one.
    func decide(_ action: Action, topic: Span<UInt8>, at place: Place) -> Decision {
        precondition(isCurrent(place), "other rules are in force")
        return entries[Int(place.index)].rights.decide(action, topic: topic)
    }

    /// Whether a subscriber may be given messages of a topic. Decided once per route and subject.
    mutating func mayReceive(_ topic: Span<UInt8>, at place: Place, stamp: UInt64) -> Bool {
        precondition(stamp != 0, "a fresh entry has stamp 0")
        let index = Int(place.index)
        if entries[index].stamp != stamp {
            entries[index].isAllowed = decide(.subscribe, topic: topic, at: place).isAllowed
            entries[index].stamp = stamp
        }
        return entries[index].isAllowed
    }

    private mutating func index(of subject: Subject) -> Int {
        precondition(places.count == entries.count)
        if let index = places[subject] { return Int(index) }
        if entries.count >= Self.subjectsMax || termCount >= Self.termsMax { clear() }
        let rights = SubjectRights(of: subject, under: policy)
        termCount += rights.termCount
        let index = entries.count
        entries.append(Entry(rights: rights))
        places[subject] = Int32(index)
        return index
    }

    private mutating func clear() {
        entries.removeAll(keepingCapacity: true)
        places.removeAll(keepingCapacity: true)
        termCount = 0
        epoch &+= 1
        if epoch == 0 { epoch = 1 }
    }
}
