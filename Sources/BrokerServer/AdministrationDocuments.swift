package import BrokerCore
import BrokerWire

/// The JSON documents of administration. Protocol/README.md, section 10.

package struct SubjectDocument: Codable, Equatable, Sendable {
    package var uid: UInt32
    package var gid: UInt32
    package var openerUID: UInt32
    package var openerGID: UInt32
    package var openerGroups: [UInt32]
    package var delegated: Bool
    package var sameProcess: Bool
    /// Of the sender record.
    package var level: UInt8
    /// `own`, `other` or `unknown`.
    package var domain: String
    package var domainOwner: UInt32?
    package var origin: String

    package init(_ subject: Subject) {
        uid = subject.uid
        gid = subject.gid
        openerUID = subject.openerUID
        openerGID = subject.openerGID
        openerGroups = subject.openerGroups
        delegated = subject.isDelegated
        sameProcess = subject.isOpenersProcess
        level = subject.level.rawValue
        origin = String(decoding: subject.origin, as: UTF8.self)
        switch subject.domain {
        case .own: domain = "own"
        case .unknown: domain = "unknown"
        case .other(let owner):
            domain = "other"
            domainOwner = owner
        }
    }

    package var subject: Subject {
        let kind: SenderRecord.Domain =
            switch domain {
            case "own": .own
            case "other": .other(ownerUID: domainOwner)
            default: .unknown  // not an enum: what a later broker adds is unknown
            }
        return Subject(
            uid: uid, gid: gid, openerUID: openerUID, openerGID: openerGID,
            openerGroups: openerGroups, isDelegated: delegated, isOpenersProcess: sameProcess,
            level: SenderRecord.Level(rawValue: level) ?? .unknown, domain: kind,
            origin: Array(origin.utf8))
    }
}

package struct DecisionDocument: Codable, Equatable, Sendable {
    package var allowed: Bool
    package var rule: String?
    package var line: Int?
    /// Who lacks the right.
    package var uid: UInt32?
    /// `sender` or `opener`.
    package var role: String?
    /// The name that the identity map gives a sender of another broker, and where.
    package var mapped: String?
    package var mapLine: Int?

    package mutating func note(_ entry: IdentityMap.Entry?) {
        mapped = entry?.name
        mapLine = entry?.line
    }

    package init(_ decision: Decision, _ rule: RuleReference?) {
        allowed = decision.isAllowed
        self.rule = rule?.name
        line = rule?.line
        switch decision {
        case .allowed: break
        case .denied(let uid, let role, _):
            self.uid = uid
            self.role = role == .sender ? "sender" : "opener"
        }
    }
}

/// Arguments of `acl.check`.
package struct CheckRequest: Codable, Sendable {
    package var action: String
    package var topic: String
    /// The topic is a filter that somebody wants to subscribe to.
    package var isFilter: Bool
    package var subject: SubjectDocument

    package init(action: String, topic: String, isFilter: Bool, subject: SubjectDocument) {
        self.action = action
        self.topic = topic
        self.isFilter = isFilter
        self.subject = subject
    }
}

/// Arguments of `acl.recent`.
package struct RecentRequest: Codable, Sendable {
    package var since: UInt64

    package init(since: UInt64) {
        self.since = since
    }
}

/// Answer to `acl.recent`.
package struct RecentDocument: Codable, Sendable {
    package struct Record: Codable, Sendable {
        package var number: UInt64
        package var action: String
        package var topic: String
        package var subject: SubjectDocument
        package var decision: DecisionDocument
    }

    package struct Subscription: Codable, Sendable {
        package var session: UInt64
        package var subscription: UInt32
        package var filters: [String]
        package var blocks: Bool
        package var subject: SubjectDocument
    }

    /// Number of the next record.
    package var next: UInt64
    package var decisions: [Record]
    package var subscriptions: [Subscription]
}

/// Answer to `acl.reload`.
package struct ReloadDocument: Codable, Sendable {
    package var applied: Bool
    /// False: the rules are as before. Absent: a broker that does not say.
    package var changed: Bool?
    package var path: String?
    package var rules: Int
    package var warnings: [String]
    package var error: String?
    package var subscriptionsEnded: Int
    package var deliveriesWithdrawn: Int
    /// Absent: the broker was started without a file of links.
    package var links: LinkReloadDocument?
}

/// What `acl.reload` did to the links.
package struct LinkReloadDocument: Codable, Sendable {
    package var applied: Bool
    package var path: String
    package var error: String?
    package var added: [String] = []
    package var removed: [String] = []
    /// Changed, and connected anew for it.
    package var restarted: [String] = []
    /// Changed without that.
    package var adapted: [String] = []
    /// Messages that waited for peers and are not exported any more; nil: none were looked at.
    package var deliveriesWithdrawn: Int?

    init(_ changes: LinkChanges, path: String) {
        applied = true
        self.path = path
        added = changes.added
        removed = changes.removed
        restarted = changes.restarted
        adapted = changes.adapted
        deliveriesWithdrawn = changes.deliveriesWithdrawn
    }

    init(error: String, path: String) {
        applied = false
        self.path = path
        self.error = error
    }
}

/// Where the links in force come from, for status.
struct LinkFileStatus: Encodable {
    let path: String
    /// How often links were changed since the start.
    var changes = 0
    /// Why the file as it is now is not in force.
    var error: String?
    /// Until it is tried again; absent if it is in force, or wrong as it stands.
    var nextAttemptMilliseconds: UInt64?

    init(path: String) {
        self.path = path
    }
}

/// Where the rules in force come from, for status.
struct RulesStatus: Encodable {
    /// `file`, `owner only` or `no-acl`.
    var source: String
    var path: String?
    var rules: Int
    /// How often rules were put into force since the start.
    var changes = 0
    var warnings: [String] = []
    /// Why the file as it is now is not in force.
    var error: String?

    init(_ policy: AccessPolicy, path: String?, warnings: [String]) {
        source =
            switch policy.source {
            case .ownerOnly: "owner only"
            case .open: "no-acl"
            case .rules: "file"
            }
        self.path = path
        rules = policy.rules.count { $0.line > 0 }
        self.warnings = warnings
    }
}
