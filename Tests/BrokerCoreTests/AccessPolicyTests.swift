import BrokerWire
import Testing

@testable import BrokerCore

@Suite("Access rules: who may, by which rule, and what a change takes away")
struct AccessPolicyTests {
    private func rule(
        _ name: String, uid: UInt32? = nil, allow: [Action] = [], deny: [Action] = [],
        _ topics: String..., change: (inout AccessRule) -> Void = { _ in }
    ) throws -> AccessRule {
        var rule = AccessRule(name: name, line: 7)
        rule.uids = uid.map { [IDRange(first: $0, last: $0)] } ?? []
        rule.allows = ActionSet(allow)
        rule.denies = ActionSet(deny)
        rule.topics = try topics.map { try TopicPattern($0) }
        change(&rule)
        return rule
    }

    private func policy(_ rules: AccessRule...) -> AccessPolicy {
        .rules(rules, brokerUID: Sample.brokerUID)
    }

    private func decide(
        _ policy: AccessPolicy, _ action: Action, _ topic: String, _ subject: Subject
    ) -> Decision {
        policy.decide(action, topic: Array(topic.utf8), subject)
    }

    private func subject(_ uid: UInt32, opener: UInt32? = nil, sameProcess: Bool = false) -> Subject
    {
        Subject(
            uid: uid, gid: uid, openerUID: opener ?? uid, openerGID: opener ?? uid,
            openerGroups: [], isDelegated: opener != nil,
            isOpenersProcess: opener == nil || sameProcess, level: .kernel, domain: .own,
            origin: [])
    }

    @Test("Denied unless allowed, and a denial beats every other rule, wherever it stands")
    func defaultsAndPrecedence() throws {
        let policy = policy(
            try rule("deny", uid: 1, deny: [.publish], "a/secret"),
            try rule("allow", uid: 1, allow: [.publish], "a/#"),
            try rule("later", deny: [.publish], "a/late"))
        #expect(decide(policy, .publish, "a/b", subject(1)) == .allowed(rule: 1))
        #expect(
            decide(policy, .publish, "a/secret", subject(1))
                == .denied(uid: 1, as: .sender, rule: 0))
        #expect(
            decide(policy, .publish, "a/late", subject(1))
                == .denied(uid: 1, as: .sender, rule: 2))
        #expect(
            decide(policy, .publish, "b", subject(1)) == .denied(uid: 1, as: .sender, rule: nil))
        #expect(
            decide(policy, .subscribe, "a/b", subject(1))
                == .denied(uid: 1, as: .sender, rule: nil))
        #expect(policy.rules[0].name == "deny" && policy.rules[0].line == 7)
    }

    @Test("The weaker identity counts: stolen connections and confused deputies gain nothing")
    func delegation() throws {
        let strict = policy(try rule("root", uid: 0, allow: [.publish], "admin"))
        #expect(
            decide(strict, .publish, "admin", subject(0, opener: 1001))
                == .denied(uid: 1001, as: .opener, rule: nil))
        #expect(
            decide(strict, .publish, "admin", subject(1000, opener: 0))
                == .denied(uid: 1000, as: .sender, rule: nil))
        let lifted = policy(
            try rule("root", uid: 0, allow: [.publish], "admin") { $0.isDelegated = true })
        #expect(decide(lifted, .publish, "admin", subject(0, opener: 1001)).isAllowed)
        #expect(!decide(lifted, .publish, "admin", subject(1000, opener: 0)).isAllowed)
        let denied = policy(
            try rule("root", uid: 0, allow: [.publish], "admin") { $0.isDelegated = true },
            try rule("not mallory", uid: 1001, deny: [.publish], "#"))
        #expect(
            decide(denied, .publish, "admin", subject(0, opener: 1001))
                == .denied(uid: 1001, as: .opener, rule: 1))
    }

    @Test("Placeholders stand for the identity that is judged, each for its own")
    func placeholders() throws {
        let policy = policy(try rule("own", allow: [.publish], "users/%u/#"))
        #expect(decide(policy, .publish, "users/5/x", subject(5)).isAllowed)
        #expect(!decide(policy, .publish, "users/6/x", subject(5)).isAllowed)
        #expect(!decide(policy, .publish, "users/5/x", subject(5, opener: 6)).isAllowed)
        let largest = subject(4_294_967_294)
        #expect(decide(policy, .publish, "users/4294967294/x", largest).isAllowed)
    }

    @Test("Groups and namespace of the opener give no right to another sender")
    func openerTraits() throws {
        let policy = policy(
            try rule("wheel", allow: [.publish], "w") {
                $0.openerGroups = [IDRange(first: 10, last: 10)]
            },
            try rule("box", allow: [.publish], "b") {
                $0.trustDomains = [IDRange(first: 5, last: 5)]
            })
        var member = subject(1)
        member.openerGroups = [3, 10]
        member.domain = .other(ownerUID: 5)
        #expect(decide(policy, .publish, "w", member).isAllowed)
        #expect(decide(policy, .publish, "b", member).isAllowed)
        var stranger = member
        stranger.uid = 2
        stranger.isDelegated = true
        stranger.isOpenersProcess = false
        #expect(!decide(policy, .publish, "w", stranger).isAllowed)
        #expect(!decide(policy, .publish, "b", stranger).isAllowed)
        // The same process with another uid of its namespace is the same owner's word.
        stranger.isOpenersProcess = true
        #expect(decide(policy, .publish, "b", stranger).isAllowed)
        member.domain = .other(ownerUID: nil)
        #expect(!decide(policy, .publish, "b", member).isAllowed)
        member.domain = .unknown
        #expect(!decide(policy, .publish, "b", member).isAllowed)
    }

    @Test("A level can be demanded, and rules of one origin do not speak of another")
    func levelAndOrigin() throws {
        let policy = policy(
            try rule("sure", uid: 1, allow: [.publish], "s") { $0.levels = [.kernel] },
            try rule("edge", uid: 1, allow: [.publish], "e/%o") {
                $0.origins = [Array("edge-*".utf8)]
            })
        var who = subject(1)
        #expect(decide(policy, .publish, "s", who).isAllowed)
        who.level = .claimable
        #expect(!decide(policy, .publish, "s", who).isAllowed)
        who.level = .remote
        #expect(!decide(policy, .publish, "e/edge-1", who).isAllowed)
        who.origin = Array("edge-1".utf8)
        #expect(decide(policy, .publish, "e/edge-1", who).isAllowed)
        #expect(!decide(policy, .publish, "s", who).isAllowed)
        who.origin = Array("hub".utf8)
        #expect(!decide(policy, .publish, "e/hub", who).isAllowed)
        who.origin = Array("edge-#".utf8)
        #expect(!decide(policy, .publish, "e/x", who).isAllowed)
    }

    @Test("What is known of local openers only says nothing about senders on other brokers")
    func remoteSenders() throws {
        var remote = subject(Sample.brokerUID, opener: 5)
        remote.level = .remote
        remote.origin = Array("edge".utf8)
        remote.openerGroups = [10]
        remote.domain = .other(ownerUID: 5)
        let origins = [Array("edge".utf8)]
        let policy = policy(
            try rule("local", allow: [.publish], "l"),
            try rule("origin", allow: [.publish], "o") { $0.origins = origins },
            try rule("group", allow: [.publish], "g") {
                $0.origins = origins
                $0.openerGroups = [IDRange(first: 10, last: 10)]
            },
            try rule("box", allow: [.publish], "b") {
                $0.origins = origins
                $0.trustDomains = [IDRange(first: 5, last: 5)]
            })
        #expect(decide(policy, .publish, "o", remote) == .allowed(rule: 1))
        for topic in ["l", "g", "b"] {
            #expect(!decide(policy, .publish, topic, remote).isAllowed)
        }
        #expect(!decide(policy, .administer, "", remote).isAllowed)
        let ownerOnly = AccessPolicy.ownerOnly(brokerUID: Sample.brokerUID)
        let open = AccessPolicy.open(brokerUID: Sample.brokerUID)
        for uid in [0, Sample.brokerUID] {
            remote.uid = uid
            #expect(!decide(ownerOnly, .publish, "o", remote).isAllowed)
            #expect(decide(open, .publish, "o", remote).isAllowed)
            #expect(!decide(open, .administer, "", remote).isAllowed)
        }
        remote.origin = []
        #expect(!decide(ownerOnly, .publish, "o", remote).isAllowed)
        // The broker's own uid is another user there.
        remote.uid = 7
        remote.openerUID = Sample.brokerUID
        #expect(policy.judgesOpener(of: remote))
    }

    @Test("A wildcard at the beginning does not reach the broker's own topics")
    func systemTopics() throws {
        let policy = policy(try rule("all", allow: [.subscribe], "#", "+/broker/version"))
        #expect(!decide(policy, .subscribe, "$SYS/broker/version", subject(1)).isAllowed)
        let rights = SubjectRights(of: subject(1), under: policy)
        #expect(!rights.decideSubscription(to: Array("$SYS/#".utf8)).isAllowed)
        #expect(rights.decideSubscription(to: Array("#".utf8)).isAllowed)
    }

    @Test("Holding publishers back needs a right to the whole filter")
    func blocking() throws {
        let policy = policy(
            try rule("some", allow: [.subscribe, .block], "a/#"),
            try rule("not these", deny: [.block], "a/b/c"))
        let rights = SubjectRights(of: subject(1), under: policy)
        #expect(rights.decideBlocking(on: Array("a/x/#".utf8)).isAllowed)
        #expect(!rights.decideBlocking(on: Array("a/+/c".utf8)).isAllowed)
        #expect(!rights.decideBlocking(on: Array("+/x".utf8)).isAllowed)
    }

    @Test("A change ends what lost every right, withdraws from queues, and says so")
    func change() throws {
        let before = policy(
            try rule("all", allow: [.publish, .subscribe], "#"))
        let harness = CoreHarness(Sample.configuration(policy: before))
        let publisher = try harness.join(uid: 1)
        let losing = try harness.join(uid: 2)
        let narrowed = try harness.join(uid: 3)
        harness.subscribe(losing, 1, "a/#")
        harness.subscribe(narrowed, 1, "a/#")
        harness.block(losing)
        harness.block(narrowed)
        harness.publish(publisher, "a/x", [1], count: 3)
        harness.publish(publisher, "a/y", [2], count: 2)
        // A blocked socket has one prepared packet in its queue, and it is judged as well.
        let after = policy(
            try rule("publish", uid: 1, allow: [.publish], "#"),
            try rule("narrow", uid: 3, allow: [.subscribe], "a/y"))
        let change = harness.changePolicy(after)
        #expect(change == Broker.PolicyChange(subscriptionsEnded: 1, deliveriesWithdrawn: 8))
        harness.unblock(losing)
        harness.unblock(narrowed)
        let lost = harness.take(losing)
        #expect(lost.compactMap(\.delivery).isEmpty)
        #expect(lost.compactMap(\.ended).map(\.reason) == [.notPermitted])
        #expect(
            lost.compactMap(\.ended).first?.explanation.contains("uid 2 may not subscribe") == true)
        #expect(harness.takeDeliveries(narrowed).map(\.topic) == ["a/y", "a/y"])
        harness.publish(publisher, "a/x", [3])
        harness.publish(publisher, "a/y", [4])
        #expect(harness.takeDeliveries(narrowed).map(\.payload) == [[4]])
        #expect(harness.broker.statistics.subscriptionsEnded == 1)
        #expect(harness.broker.statistics.deliveriesWithdrawn == 8)
        // The session goes on, and may subscribe again when the rules allow it.
        harness.changePolicy(before)
        #expect(harness.subscribe(losing, 1, "a/#")?.reason == .success)
        harness.expectNothingLeft()
    }

    @Test("A refusal names who lacks the right and the rule that denies")
    func explanations() throws {
        let policy = policy(
            try rule("no secrets", deny: [.publish], "secret/#"),
            try rule("all", allow: [.publish], "#"))
        let harness = CoreHarness(Sample.configuration(policy: policy))
        let client = try harness.join(uid: 4_294_967_294)
        harness.publish(client, "secret/a", acknowledge: true)
        let reply = try #require(harness.take(client).compactMap(\.reply).first)
        #expect(
            reply.explanation
                == "uid 4294967294 may not publish to \"secret/a\": "
                + "rule \"no secrets\" (line 7) denies it")
        let notice = try #require(harness.notices.last)
        #expect(notice.denial?.uid == 4_294_967_294)
        #expect(notice.denial?.rule?.line == 7)
        #expect(harness.broker.decisions.deniedByUID[4_294_967_294] == 1)
        harness.expectNothingLeft()
    }

    @Test("Administration is the owner's, by a rule that is built in, and nobody else's")
    func administration() throws {
        let empty = policy()
        for (uid, may) in [(UInt32(0), true), (Sample.brokerUID, true), (1, false)] {
            #expect(decide(empty, .administer, "", subject(uid)).isAllowed == may)
            #expect(decide(empty, .inspect, "", subject(uid)).isAllowed == may)
            #expect(!decide(empty, .publish, "t", subject(uid)).isAllowed)
        }
        #expect(!decide(empty, .administer, "", subject(0, opener: 1)).isAllowed)
        #expect(
            !decide(.open(brokerUID: Sample.brokerUID), .administer, "", subject(1)).isAllowed)
    }

    @Test("Rates are of the opener's uid, fill up with time, and survive reconnecting")
    func rates() throws {
        var configuration = Sample.configuration()
        configuration.quotas.defaults.messagesPerSecond = 10
        configuration.quotas.defaults.messageBurst = 4
        let harness = CoreHarness(configuration)
        let client = try harness.join(uid: 1)
        harness.publish(client, "t", count: 6, acknowledge: true)
        let replies = harness.take(client).compactMap(\.reply)
        #expect(replies.map(\.count) == [4, 2])
        #expect(replies.last?.reason == .quotaExceeded)
        #expect(
            replies.last?.explanation == "uid 1 is at its limit of 10 published messages a second")
        let other = try harness.join(uid: 2)
        harness.publish(other, "t", acknowledge: true)
        #expect(harness.take(other).compactMap(\.reply).first?.reason.isSuccess == true)
        harness.close(client)
        let again = try harness.join(uid: 1)
        harness.publish(again, "t", acknowledge: true)
        #expect(harness.take(again).compactMap(\.reply).first?.reason == .quotaExceeded)
        harness.now += Sample.second / 10
        harness.publish(again, "t", count: 2, acknowledge: true)
        #expect(harness.take(again).compactMap(\.reply).map(\.reason).last == .quotaExceeded)
        harness.expectNothingLeft()
    }
}
