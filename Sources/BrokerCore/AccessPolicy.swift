package import BrokerWire

/// What somebody wants to do.
package enum Action: Hashable, Sendable {
    case publish
    case subscribe
    /// See status.
    case inspect
    /// Hold publishers back with a full queue.
    case block
}

/// Everything about a sender that a decision may depend on. Two packets with equal subjects get
/// equal decisions, which is what makes decisions cacheable.
package struct Subject: Hashable, Sendable {
    package let uid: UInt32
    package let gid: UInt32
    package let openerUID: UInt32
    package let isDelegated: Bool
    package let level: SenderRecord.Level
    package let domain: SenderRecord.Domain

    package init(_ record: SenderRecord) {
        uid = record.uid
        gid = record.gid
        openerUID = record.opener.uid
        isDelegated = record.isDelegated
        level = record.level
        domain = record.domain
    }
}

/// Whether an action is allowed and, if not, who lacks the right.
package enum Decision: Equatable, Sendable {
    case allowed
    case denied(uid: UInt32, as: Role)

    /// Which of the two identities of a message was judged.
    package enum Role: Equatable, Sendable {
        case sender
        case opener
    }

    package var isAllowed: Bool { self == .allowed }
}

/// The access rules. `decide` is the one function that every path asks: publishing, subscribing,
/// status and whatever comes later.
package enum AccessPolicy: Equatable, Sendable {
    /// No rules are configured: root and the broker's own uid may do everything, others nothing.
    case ownerOnly(brokerUID: UInt32)
    /// Everybody may do everything (`--no-acl`).
    case open(brokerUID: UInt32)

    /// The attested uid decides. If the message is delegated and the opener has another uid, the
    /// opener must be allowed too, unless it is root or the broker: neither a stolen connection
    /// nor a confused deputy gains anything.
    package func decide(_ action: Action, _ subject: Subject) -> Decision {
        guard allows(action, uid: subject.uid) else {
            return .denied(uid: subject.uid, as: .sender)
        }
        guard subject.isDelegated, subject.openerUID != subject.uid,
            !isOwner(subject.openerUID)
        else { return .allowed }
        guard allows(action, uid: subject.openerUID) else {
            return .denied(uid: subject.openerUID, as: .opener)
        }
        return .allowed
    }

    private func allows(_ action: Action, uid: UInt32) -> Bool {
        switch self {
        case .ownerOnly: isOwner(uid)
        case .open: true
        }
    }

    private func isOwner(_ uid: UInt32) -> Bool {
        switch self {
        case .ownerOnly(let brokerUID), .open(let brokerUID): uid == 0 || uid == brokerUID
        }
    }
}
