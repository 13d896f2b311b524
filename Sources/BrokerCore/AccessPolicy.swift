import BrokerWire

/// Whether an action is allowed, by which rule, and if not, who lacks the right.
package enum Decision: Equatable, Sendable {
    /// By the rule of that index.
    case allowed(rule: Int)
    /// `rule` denies it; nil: no rule allows it.
    case denied(uid: UInt32, as: Role, rule: Int?)

    package var isAllowed: Bool {
        switch self {
        case .allowed: true
        case .denied: false
        }
    }

    /// Index of the rule that decided.
    package var rule: Int? {
        switch self {
        case .allowed(let rule): rule
        case .denied(_, _, let rule): rule
        }
    }
}

/// A whole set of access rules, compiled: default deny, deny beats allow, and the weaker identity
/// of a delegated message counts. Immutable; a change of rules is another policy.
package struct AccessPolicy: Equatable, Sendable {
    package enum Source: Equatable, Sendable {
        /// No rules are configured.
        case ownerOnly
        /// `--no-acl`
        case open
        case rules
    }

    package let source: Source
    /// In the order of the file, the built-in ones last.
    package let rules: [AccessRule]
    package let brokerUID: UInt32
    /// For `%n`; those who are not in it have no name.
    package let userNames: [UInt32: String]
    private let index: RuleIndex
    /// Names for senders of other brokers.
    package let map: IdentityMap

    /// No rules are configured: root and the broker's own uid may do everything, others nothing,
    /// and root of another host is not root here.
    package static func ownerOnly(brokerUID: UInt32) -> AccessPolicy {
        var rule = AccessRule(name: "no rules configured: owner only", line: 0)
        rule.uids = owners(brokerUID)
        rule.allows = ActionSet(Action.allCases)
        rule.isForAllTopics = true
        return AccessPolicy(source: .ownerOnly, rules: [rule], brokerUID: brokerUID)
    }

    /// Everybody may publish and subscribe to everything (`--no-acl`), on other brokers as well.
    package static func open(brokerUID: UInt32) -> AccessPolicy {
        var rule = AccessRule(name: "--no-acl: everybody", line: 0)
        rule.allows = ActionSet([.publish, .subscribe, .inspect, .block])
        rule.isForAllTopics = true
        rule.isForAllOrigins = true
        return AccessPolicy(
            source: .open, rules: [rule, ownerRule(brokerUID)], brokerUID: brokerUID)
    }

    /// - Parameter userNames: for `%n`.
    package static func rules(
        _ rules: [AccessRule], brokerUID: UInt32, userNames: [UInt32: String] = [:],
        map: IdentityMap = IdentityMap()
    ) -> AccessPolicy {
        AccessPolicy(
            source: .rules, rules: rules + [ownerRule(brokerUID)], brokerUID: brokerUID,
            userNames: userNames, map: map)
    }

    private init(
        source: Source, rules: [AccessRule], brokerUID: UInt32,
        userNames: [UInt32: String] = [:], map: IdentityMap = IdentityMap()
    ) {
        precondition(brokerUID != UInt32.max, "4294967295 is nobody's")
        self.source = source
        self.rules = rules
        self.brokerUID = brokerUID
        self.userNames = userNames
        self.map = map
        index = RuleIndex(rules)
    }

    /// The rules that may speak of a uid, and their indices in `rules`, in the order of the file.
    package func rules(for uid: UInt32) -> some Sequence<(index: Int, rule: AccessRule)> {
        index.candidates(for: uid).lazy.map { (Int($0), rules[Int($0)]) }
    }

    /// An empty file must not lock out whoever is to repair it.
    private static func ownerRule(_ brokerUID: UInt32) -> AccessRule {
        var rule = AccessRule(name: "built in: owner", line: 0)
        rule.uids = owners(brokerUID)
        rule.allows = ActionSet([.inspect, .administer])
        return rule
    }

    private static func owners(_ brokerUID: UInt32) -> [IDRange] {
        [IDRange(first: 0, last: 0), IDRange(first: brokerUID, last: brokerUID)]
    }

    /// The decision on one topic, for callers that ask once. Those that ask often keep
    /// `SubjectRights`, which this is made of.
    ///
    /// - Parameter topic: a valid topic name; empty for actions that need none.
    package func decide(_ action: Action, topic: [UInt8], _ subject: Subject) -> Decision {
        SubjectRights(of: subject, under: self).decide(action, topic: topic.span)
    }

    /// The same for a topic or, where somebody wants to subscribe, for a filter.
    package func decide(
        _ action: Action, _ topic: [UInt8], isFilter: Bool, _ subject: Subject
    ) -> Decision {
        let rights = SubjectRights(of: subject, under: self)
        guard isFilter else { return rights.decide(action, topic: topic.span) }
        return action == .block
            ? rights.decideBlocking(on: topic) : rights.decidePart(of: topic, action)
    }

    /// Whether the opener is judged next to the sender: it has another uid, and is none whose
    /// word counts for everybody here anyway. What root of another broker is, is said there.
    package func judgesOpener(of subject: Subject) -> Bool {
        guard subject.isDelegated, subject.openerUID != subject.uid, subject.openerUID != 0 else {
            return false
        }
        return subject.isRemote || subject.openerUID != brokerUID
    }
}
