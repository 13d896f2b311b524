package import BrokerCore
import BrokerWire

/// What to tell somebody who was denied: the rule that came nearest, and the rule to add.
package struct AccessAdvice {
    package let nearest: AccessRule?
    /// What keeps the nearest rule from allowing it.
    package let obstacle: String
    /// A rule that would allow it, as TOML.
    package let draft: RuleDraft

    package init(
        _ action: Action, _ topic: [UInt8], _ subject: Subject, _ decision: Decision,
        under policy: AccessPolicy
    ) {
        let (uid, gid, role): (UInt32, UInt32, Role) =
            switch decision {
            case .denied(_, .opener, _): (subject.openerUID, subject.openerGID, .opener)
            case .denied(_, .sender, _), .allowed: (subject.uid, subject.gid, .sender)
            }
        let mapped = policy.map.entry(for: subject, as: role)?.name
        let userName = subject.isRemote ? mapped : policy.userNames[uid]
        let who = Self.who(uid, subject, mapped)
        var best: (rule: AccessRule, obstacle: String, score: Int)?
        for rule in policy.rules where rule.line > 0 && !rule.allows.isEmpty {
            let concerns = rule.mayAllow(subject, as: role, user: mapped)
            let matches =
                !action.needsTopic
                || rule.topics.contains { pattern in
                    let filter = pattern.filter(
                        uid: uid, gid: gid, userName: userName.map { Array($0.utf8) },
                        origin: subject.origin)
                    return filter.map { Topic.intersection($0, topic) != nil } ?? false
                }
            let allows = rule.allows.contains(action)
            let score = (concerns ? 2 : 0) + (matches ? 2 : 0) + (allows ? 1 : 0)
            guard score >= 2, score > (best?.score ?? 0) else { continue }
            let obstacles = [
                concerns ? nil : "it does not speak of \(who)",
                matches ? nil : "its topics do not match",
                allows ? nil : "it does not allow to \(action.name)",
            ].compactMap { $0 }
            best = (rule, obstacles.joined(separator: ", "), score)
        }
        nearest = best?.rule
        obstacle = best?.obstacle ?? ""
        var draft = RuleDraft(name: Self.name(action, topic, who))
        // A uid without its origin is somebody here.
        if let mapped {
            draft.users = [mapped]
        } else {
            draft.uids = [String(uid)]
            if subject.isRemote {
                draft.origins = [String(decoding: subject.origin, as: UTF8.self)]
            }
        }
        draft.allows = [action]
        if action.needsTopic {
            draft.topics = [
                String(decoding: topic, as: UTF8.self).replacing("%", with: "%%")
            ]
        }
        self.draft = draft
    }

    /// `uid 1000`, `uid 1000 of edge-1`, `alice (uid 1000 of edge-1)`
    private static func who(_ uid: UInt32, _ subject: Subject, _ mapped: String?) -> String {
        guard subject.isRemote else { return "uid \(uid)" }
        let there = "uid \(uid) of \(String(decoding: subject.origin, as: UTF8.self))"
        return mapped.map { "\($0) (\(there))" } ?? there
    }

    private static func name(_ action: Action, _ topic: [UInt8], _ who: String) -> String {
        let what = String(decoding: topic, as: UTF8.self).prefix(60)
        let by = who.hasPrefix("uid ") ? String(who.dropFirst(4)) : who
        return what.isEmpty ? "\(action.name) by \(by)" : "\(action.name) \(what) by \(by)"
    }
}

extension Subject {
    /// A local sender on a connection of its own.
    package static func local(
        uid: UInt32, gid: UInt32, openerGroups: [UInt32] = []
    ) -> Subject {
        Subject(
            uid: uid, gid: gid, openerUID: uid, openerGID: gid, openerGroups: openerGroups,
            isDelegated: false, isOpenersProcess: true, level: uid == 0 ? .claimable : .kernel,
            domain: .own, origin: [])
    }
}
