import BrokerWire
import TestSupport

@testable import BrokerCore

/// The meaning of rules, written again in the most obvious way: every rule, every pattern, every
/// topic on its own.
struct AccessJudge {
    let rules: [AccessRule]
    let userNames: [UInt32: String]

    func allows(_ action: Action, _ topic: String, _ who: Subject) -> Bool {
        let sender = verdict(action, topic, who, as: .sender)
        guard sender.isAllowed, !sender.isDenied else { return false }
        let isJudged =
            who.isDelegated && who.openerUID != who.uid && who.openerUID != 0
            && who.openerUID != Sample.brokerUID
        guard isJudged else { return true }
        let opener = verdict(action, topic, who, as: .opener)
        return !opener.isDenied && (opener.isAllowed || sender.isDelegated)
    }

    private struct Verdict {
        var isAllowed = false
        var isDenied = false
        var isDelegated = false
    }

    private func verdict(
        _ action: Action, _ topic: String, _ who: Subject, as role: Role
    ) -> Verdict {
        var verdict = Verdict()
        for rule in rules where speaks(rule, of: who, as: role) {
            let name = Array(topic.utf8)
            let isMeant = rule.topics.contains { pattern in
                filter(pattern, who, as: role).map {
                    TopicReference.matches(filter: $0, name: name)
                } ?? false
            }
            guard isMeant else { continue }
            if rule.denies.contains(action) { verdict.isDenied = true }
            if rule.allows.contains(action), mayGive(rule, who, as: role) {
                verdict.isAllowed = true
                verdict.isDelegated = verdict.isDelegated || rule.isDelegated
            }
        }
        return verdict
    }

    private func speaks(_ rule: AccessRule, of who: Subject, as role: Role) -> Bool {
        let uid = role == .sender ? who.uid : who.openerUID
        let gid = role == .sender ? who.gid : who.openerGID
        if !rule.uids.isEmpty, !rule.uids.contains(where: { $0.contains(uid) }) { return false }
        if !rule.gids.isEmpty, !rule.gids.contains(where: { $0.contains(gid) }) { return false }
        if !rule.levels.isEmpty, !rule.levels.contains(who.level) { return false }
        if !rule.origins.isEmpty { return false }
        if !rule.openerGroups.isEmpty {
            let common = who.openerGroups.filter { group in
                rule.openerGroups.contains { $0.contains(group) }
            }
            if common.isEmpty { return false }
        }
        if !rule.trustDomains.isEmpty {
            guard case .other(let owner?) = who.domain,
                rule.trustDomains.contains(where: { $0.contains(owner) })
            else { return false }
        }
        return true
    }

    private func mayGive(_ rule: AccessRule, _ who: Subject, as role: Role) -> Bool {
        if rule.openerGroups.isEmpty && rule.trustDomains.isEmpty { return true }
        let isSame = who.isOpenersProcess || who.uid == who.openerUID
        return role == .opener || rule.isDelegated || isSame
    }

    private func filter(_ pattern: TopicPattern, _ who: Subject, as role: Role) -> [UInt8]? {
        let uid = role == .sender ? who.uid : who.openerUID
        let gid = role == .sender ? who.gid : who.openerGID
        var text = pattern.text.replacing("%u", with: "\(uid)").replacing("%g", with: "\(gid)")
        if text.contains("%n") {
            guard let name = userNames[uid], !name.contains("#"), !name.contains("+"),
                !name.contains("/")
            else { return nil }
            text = text.replacing("%n", with: name)
        }
        return text.contains("%o") ? nil : Array(text.utf8)
    }
}

/// Rules and identities from a small world, so that they often meet.
enum RandomAccess {
    static let uids: [UInt32] = [0, 1, 2, 3, Sample.brokerUID, .max - 1]
    static let userNames: [UInt32: String] = [1: "a", 2: "#", 3: "b/c", .max - 1: "+"]

    static func rules(_ random: inout SeededRandom) -> [AccessRule] {
        (0..<random.int(in: 0...10)).map { index in
            var rule = AccessRule(name: "rule \(index)", line: index + 1)
            if !random.oneIn(3) { rule.uids = ranges(&random) }
            if random.oneIn(5) { rule.gids = ranges(&random) }
            if random.oneIn(6) { rule.openerGroups = [IDRange(first: 50, last: 51)] }
            if random.oneIn(6) { rule.trustDomains = [IDRange(first: 1, last: 2)] }
            if random.oneIn(8) { rule.levels = [random.bool() ? .kernel : .claimable] }
            if random.oneIn(20) { rule.origins = [Array("*".utf8)] }
            rule.isDelegated = random.oneIn(4)
            let actions = ActionSet([.publish, .subscribe].filter { _ in !random.oneIn(4) })
            if random.oneIn(6) { rule.denies = actions } else { rule.allows = actions }
            rule.topics = (0..<random.int(in: 1...4)).map { _ in pattern(&random) }
            return rule
        }
    }

    private static func pattern(_ random: inout SeededRandom) -> TopicPattern {
        let special = [
            "%u/#", "a/%u", "%n", "%n/#", "a/%n/+", "%g/a", "%o/a", "x%u/#", "$SYS/#",
            "$SYS/broker/+", "$SYS/broker/denied/#",
        ]
        let text = random.oneIn(4) ? random.pick(special) : RandomTopic.filter(&random)
        return (try? TopicPattern(text)) ?? TopicPattern(filter: "#")
    }

    private static func ranges(_ random: inout SeededRandom) -> [IDRange] {
        (0..<random.int(in: 1...2)).map { _ in
            let first = random.pick(uids)
            let last = random.pick(uids)
            return IDRange(
                first: min(first, last), last: random.oneIn(2) ? max(first, last) : min(first, last)
            )
        }
    }

    static func peer(_ random: inout SeededRandom) -> Peer {
        let uid = random.pick(uids)
        let owners: [SenderRecord.Domain] = [
            .own, .own, .own, .unknown, .other(ownerUID: 1), .other(ownerUID: 3),
            .other(ownerUID: nil),
        ]
        return Peer(
            record: SenderRecord.Opener(
                pid: Int32(random.int(in: 100...102)), uid: uid, gid: random.pick(uids),
                process: UInt64(random.int(in: 0...2))),
            groups: random.oneIn(3) ? [50] : [], domain: random.pick(owners))
    }

    /// Often the opener itself, often somebody else with the same descriptor.
    static func sender(_ opener: Peer, _ random: inout SeededRandom) -> Attestation {
        if random.oneIn(2) {
            return Attestation(
                pid: opener.record.pid, uid: opener.record.uid, gid: opener.record.gid,
                process: opener.record.process, timeNanoseconds: 1)
        }
        return Attestation(
            pid: Int32(random.int(in: 100...102)), uid: random.pick(uids),
            gid: random.pick(uids), process: UInt64(random.int(in: 0...2)), timeNanoseconds: 1)
    }

    static func topic(_ random: inout SeededRandom) -> String {
        let special = [
            "1/a", "2", "a/1", "a/0", "990/a", "a/a/b", "x1/a", "#".lowercased(), "4294967294",
        ]
        guard random.oneIn(3) else { return RandomTopic.name(&random) }
        let topic = random.pick(special)
        return topic == "#" ? "3/x" : topic
    }
}
