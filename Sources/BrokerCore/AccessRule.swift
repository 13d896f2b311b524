package import BrokerWire

/// What somebody wants to do.
package enum Action: UInt8, Hashable, Sendable, CaseIterable {
    case publish = 0
    case subscribe = 1
    /// See status.
    case inspect = 2
    /// Hold publishers back with a full queue.
    case block = 3
    /// Reload rules, ask for decisions.
    case administer = 4

    package var name: String {
        switch self {
        case .publish: "publish"
        case .subscribe: "subscribe"
        case .inspect: "inspect"
        case .block: "block"
        case .administer: "administer"
        }
    }

    package init?(name: String) {
        guard let action = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = action
    }

    /// Whether a rule about it has to say for which topics.
    package var needsTopic: Bool {
        switch self {
        case .publish, .subscribe, .block: true
        case .inspect, .administer: false
        }
    }
}

package struct ActionSet: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package init(_ actions: some Sequence<Action>) {
        self.init(rawValue: actions.reduce(0) { $0 | 1 << $1.rawValue })
    }

    package func contains(_ action: Action) -> Bool { rawValue & 1 << action.rawValue != 0 }

    package var actions: [Action] { Action.allCases.filter { contains($0) } }

    private static let onTopics = ActionSet(Action.allCases.filter(\.needsTopic))

    /// Whether a rule about one of them has to say for which topics.
    package var needsTopic: Bool { !isDisjoint(with: Self.onTopics) }
}

/// Everything about a sender that a decision may depend on. Two packets with equal subjects get
/// equal decisions, which is what makes decisions cacheable.
package struct Subject: Hashable, Sendable {
    package var uid: UInt32
    package var gid: UInt32
    package var openerUID: UInt32
    package var openerGID: UInt32
    /// Supplementary groups of the opener, sorted.
    package var openerGroups: [UInt32]
    package var isDelegated: Bool
    /// The sending process is the one that opened the connection.
    package var isOpenersProcess: Bool
    package var level: SenderRecord.Level
    package var domain: SenderRecord.Domain
    /// Name of the broker that attested the message; empty: this one.
    package var origin: [UInt8]
    /// The link that it came over, whose filters count too; -1: none.
    package var link: Int

    package init(
        _ record: SenderRecord, openerGroups: [UInt32] = [], origin: [UInt8] = [], link: Int = -1
    ) {
        precondition(origin.isEmpty || record.level == .remote)
        uid = record.uid
        gid = record.gid
        openerUID = record.opener.uid
        openerGID = record.opener.gid
        self.openerGroups = openerGroups
        isDelegated = record.isDelegated
        isOpenersProcess = record.isOpenersProcess
        level = record.level
        domain = record.domain
        self.origin = origin
        self.link = link
    }

    package init(
        uid: UInt32, gid: UInt32, openerUID: UInt32, openerGID: UInt32, openerGroups: [UInt32],
        isDelegated: Bool, isOpenersProcess: Bool, level: SenderRecord.Level,
        domain: SenderRecord.Domain, origin: [UInt8], link: Int = -1
    ) {
        self.uid = uid
        self.gid = gid
        self.openerUID = openerUID
        self.openerGID = openerGID
        self.openerGroups = openerGroups
        self.isDelegated = isDelegated
        self.isOpenersProcess = isOpenersProcess
        self.level = level
        self.domain = domain
        self.origin = origin
        self.link = link
    }

    /// Another broker vouches for it: its ids mean something there.
    package var isRemote: Bool { level == .remote || !origin.isEmpty }

    /// Whether what is known of the opener alone (its groups, its namespace) holds for the sender.
    package var senderIsOpener: Bool { isOpenersProcess || uid == openerUID }
}

extension SenderRecord {
    package var isOpenersProcess: Bool {
        pid == opener.pid && (process == 0 || opener.process == 0 || process == opener.process)
    }
}

/// Which of the two identities of a message is judged.
package enum Role: Hashable, Sendable {
    case sender
    case opener
}

/// One rule: whom it concerns, what it allows and denies, for which topics. All conditions that
/// are given must hold; within one, any of its values suffices.
package struct AccessRule: Equatable, Sendable {
    package var name: String
    /// Line of the rule in its file; 0: built in.
    package var line: Int
    /// Attested uids; empty: any.
    package var uids: [IDRange] = []
    /// Attested gids; empty: any.
    package var gids: [IDRange] = []
    /// Supplementary groups that the opener must have one of; empty: any.
    package var openerGroups: [IDRange] = []
    /// Uids that own the opener's user namespace; empty: any namespace.
    package var trustDomains: [IDRange] = []
    /// How far the identity must be believed; empty: any level.
    package var levels: [SenderRecord.Level] = []
    /// Brokers the message may come from, `*` standing for any text; empty: local senders only.
    package var origins: [[UInt8]] = []
    /// Names that the identity map gives senders of other brokers; empty: any, or none.
    package var users: [String] = []
    /// The opener need not be allowed too.
    package var isDelegated = false
    package var allows: ActionSet = []
    package var denies: ActionSet = []
    package var topics: [TopicPattern] = []
    /// What it allows it allows for all topics there are, the broker's own included, which no
    /// single filter says.
    var isForAllTopics = false
    /// It concerns local and remote senders alike.
    var isForAllOrigins = false

    package init(name: String, line: Int) {
        self.name = name
        self.line = line
    }

    /// Whether the rule speaks of this identity of the subject.
    ///
    /// - Parameter user: the name that the identity map gives it.
    package func concerns(_ subject: Subject, as role: Role, user: String? = nil) -> Bool {
        let (uid, gid) =
            switch role {
            case .sender: (subject.uid, subject.gid)
            case .opener: (subject.openerUID, subject.openerGID)
            }
        return (uids.isEmpty || uids.contains { $0.contains(uid) })
            && (gids.isEmpty || gids.contains { $0.contains(gid) })
            && (levels.isEmpty || levels.contains(subject.level))
            && concernsOrigin(of: subject, user) && concernsOpener(of: subject)
    }

    /// Whether the rule may give this identity a right. What is known of the opener alone gives
    /// no right to another sender, or a connection that is handed on would hand its rights on.
    package func mayAllow(_ subject: Subject, as role: Role, user: String? = nil) -> Bool {
        guard concerns(subject, as: role, user: user) else { return false }
        let restsOnOpener = !openerGroups.isEmpty || !trustDomains.isEmpty
        switch role {
        case .sender: return !restsOnOpener || subject.senderIsOpener || isDelegated
        case .opener: return true
        }
    }

    /// A rule with a name of the map, or with origins, speaks of senders of other brokers only;
    /// one with neither never does.
    private func concernsOrigin(of subject: Subject, _ user: String?) -> Bool {
        if isForAllOrigins { return true }
        guard subject.isRemote else { return origins.isEmpty && users.isEmpty }
        if users.isEmpty { return OriginPattern.anyOf(origins, matches: subject.origin) }
        guard let user, users.contains(user) else { return false }
        return origins.isEmpty || OriginPattern.anyOf(origins, matches: subject.origin)
    }

    /// Groups and user namespaces of another host are not ours: who asks for them asks for a
    /// local sender.
    private func concernsOpener(of subject: Subject) -> Bool {
        if subject.isRemote { return openerGroups.isEmpty && trustDomains.isEmpty }
        if !openerGroups.isEmpty {
            let isMember = subject.openerGroups.contains { group in
                openerGroups.contains { $0.contains(group) }
            }
            guard isMember else { return false }
        }
        if trustDomains.isEmpty { return true }
        switch subject.domain {
        case .other(let owner):
            return owner.map { owner in trustDomains.contains { $0.contains(owner) } } ?? false
        case .own, .unknown:
            return false
        }
    }
}
