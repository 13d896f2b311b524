import BrokerWire

/// What one of the two identities of a subject may do: the rules that speak of it, with their
/// placeholders filled in. A decision costs a walk down the topic's levels, whatever the number
/// of rules.
struct IdentityRights {
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
    private var terms: [Term] = []
    private var patterns = SubscriptionTrie()
    private var allowsPlain: [(rule: Int32, allows: ActionSet, isDelegated: Bool)] = []
    private var deniesPlain: [(rule: Int32, denies: ActionSet)] = []
    /// Rules for all topics there are.
    private var allowsAll: [(rule: Int32, allows: ActionSet)] = []

    init(of subject: Subject, as role: Role, under policy: AccessPolicy) {
        let (uid, gid) =
            switch role {
            case .sender: (subject.uid, subject.gid)
            case .opener: (subject.openerUID, subject.openerGID)
            }
        let mapped = policy.map.entry(for: subject, as: role)?.name
        user = mapped.map { Array($0.utf8) } ?? []
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
    }

    /// Rough size, for whoever keeps many.
    var termCount: Int { terms.count + allowsPlain.count + deniesPlain.count }

    func judge(_ action: Action, topic: Span<UInt8>) -> Verdict {
        guard action.needsTopic else { return judgePlain(action) }
        precondition(!topic.isEmpty, "a topic has at least one byte")
        var matches: [UInt32] = []
        patterns.collect(topic, into: &matches)
        var allowed: Int32?
        var denied: Int32?
        var isDelegated = false
        for match in matches {
            let term = terms[Int(match)]
            if term.denies.contains(action) { denied = min(denied ?? .max, term.rule) }
            if term.allows.contains(action) {
                allowed = min(allowed ?? .max, term.rule)
                isDelegated = isDelegated || term.isDelegated
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
        terms.first {
            $0.denies.contains(action) && Topic.covers(pattern: $0.filter, filter: filter)
        }.map { Int($0.rule) }
    }
}

/// What a subject may do under a policy: the one place where decisions are made, for publishing,
/// subscribing, delivering, status and administration alike.
package struct SubjectRights {
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
    /// Where a subject's rights stand; found again by itself when it is out of date.
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
    private var entries: [Entry] = []
    private var places: [Subject: Int32] = [:]
    private var termCount = 0
    private var epoch: UInt32 = 1

    init(policy: AccessPolicy) {
        self.policy = policy
    }

    mutating func replace(_ policy: AccessPolicy) {
        self.policy = policy
        clear()
    }

    /// The rights of a subject.
    mutating func rights(of subject: Subject) -> SubjectRights {
        entries[index(of: subject)].rights
    }

    /// Whether a subscriber may be given messages of a topic. Asked once per route and subject.
    mutating func mayReceive(
        _ topic: Span<UInt8>, subject: Subject, place: inout Place, stamp: UInt64
    ) -> Bool {
        if place.epoch != epoch {
            place.index = Int32(index(of: subject))
            place.epoch = epoch
        }
        let index = Int(place.index)
        precondition(stamp != 0, "a fresh entry has stamp 0")
        if entries[index].stamp != stamp {
            entries[index].isAllowed =
                entries[index].rights.decide(.subscribe, topic: topic).isAllowed
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
