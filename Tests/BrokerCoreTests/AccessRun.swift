import BrokerWire
import TestSupport
import Testing

@testable import BrokerCore

/// One broker with random rules, clients and messages, held against the judge on every path:
/// live, queued while the rules change, after the change, the broker's own topics, and shared
/// descriptors.
final class AccessRun {
    private struct Live {
        let client: Int
        let number: UInt32
        let filter: String
        let subject: Subject
        var expected: [String] = []
    }

    private let harness: CoreHarness
    private var random: SeededRandom
    private var judge: AccessJudge
    private var live: [Live] = []
    /// Pairs of a message and a subscription that were judged.
    private(set) var judgements = 0
    private(set) var delivered = 0
    private(set) var failures: [String] = []
    private var nextSubscription: UInt32 = 1
    private var nextPayload = 0

    init(_ random: SeededRandom) {
        self.random = random
        let rules = RandomAccess.rules(&self.random)
        judge = AccessJudge(rules: rules, userNames: RandomAccess.userNames)
        harness = CoreHarness(Sample.configuration(policy: Self.policy(rules)))
    }

    private static func policy(_ rules: [AccessRule]) -> AccessPolicy {
        .rules(rules, brokerUID: Sample.brokerUID, userNames: RandomAccess.userNames)
    }

    func run() throws {
        let clients = try (0..<3).map { _ in try harness.join(RandomAccess.peer(&random)) }
        for _ in 0..<8 { subscribe(random.pick(clients)) }
        for _ in 0..<10 { publish(random.pick(clients)) }
        compare("live", clients)
        passTime()
        compare("$SYS", clients)
        for client in clients { harness.block(client) }
        for _ in 0..<10 { publish(random.pick(clients)) }
        passTime()
        changeRules(clients)
        for client in clients { harness.unblock(client) }
        compare("queued", clients)
        for _ in 0..<10 { publish(random.pick(clients)) }
        passTime()
        compare("reloaded", clients)
        harness.expectNothingLeft()
    }

    // MARK: Steps

    private func subject(_ client: Int, _ sender: Attestation) -> Subject {
        let opener = harness.clients[client].opener
        return Subject(
            SenderRecord(attestation: sender, opener: opener), openerGroups: opener.groups)
    }

    private func subscribe(_ client: Int) {
        let sender = RandomAccess.sender(harness.clients[client].opener, &random)
        let filter = random.oneIn(5) ? "$SYS/#" : RandomTopic.filter(&random)
        let number = nextSubscription
        nextSubscription += 1
        let frame = SubscribeFrame(
            token: number, subscription: number, queueBytesMax: 0, overflow: .disconnect,
            filters: [Array(filter.utf8)], uidRanges: [], gidRanges: [])
        let topics = systemTopics()
        harness.send(client, from: .attested(sender)) { $0.appendSubscribe(frame) }
        let received = harness.take(client)
        let reply = received.compactMap(\.reply).first
        var new = Live(
            client: client, number: number, filter: filter, subject: subject(client, sender))
        guard reply?.reason == .success else {
            expectNothingAllowed(new, "refused")
            return
        }
        // A new subscription is told the broker's own topics at once.
        new.expected = filter.hasPrefix("$SYS") ? topics.filter { isExpected($0, new) } : []
        judgements += filter.hasPrefix("$SYS") ? topics.count : 0
        let got = received.compactMap(\.delivery).filter { $0.subscription == number }
        check(new, got.map(\.topic), "$SYS at subscribing")
        new.expected = []
        live.append(new)
    }

    private func publish(_ client: Int) {
        let topic = RandomAccess.topic(&random)
        let sender = RandomAccess.sender(harness.clients[client].opener, &random)
        let payload = Array("\(nextPayload)".utf8)
        nextPayload += 1
        harness.publish(client, topic, payload, from: .attested(sender))
        let mayPublish =
            !topic.hasPrefix("$") && judge.allows(.publish, topic, subject(client, sender))
        for index in live.indices {
            judgements += 1
            guard mayPublish, isExpected(topic, live[index]) else { continue }
            live[index].expected.append(topic)
        }
    }

    private func passTime() {
        harness.pass(seconds: Double(Limits.systemTopicsIntervalSeconds))
        for index in live.indices {
            for topic in systemTopics() {
                judgements += 1
                if isExpected(topic, live[index]) { live[index].expected.append(topic) }
            }
        }
    }

    private func changeRules(_ clients: [Int]) {
        let rules = RandomAccess.rules(&random)
        judge = AccessJudge(rules: rules, userNames: RandomAccess.userNames)
        let change = harness.changePolicy(Self.policy(rules))
        var ended: Set<UInt32> = []
        for client in clients {
            harness.unblock(client, packets: 1)
            harness.block(client)
        }
        // What had been queued is judged again.
        var withdrawn = 0
        for index in live.indices {
            let kept = live[index].expected.filter { isExpected($0, live[index]) }
            withdrawn += live[index].expected.count - kept.count
            judgements += live[index].expected.count
            live[index].expected = kept
        }
        for subscription in live {
            let slot = harness.broker.slot(of: harness.clients[subscription.client].id)
            let isLive = slot.map {
                harness.broker.sessions[$0].subscriptions[subscription.number] != nil
            }
            guard isLive != true else { continue }
            ended.insert(subscription.number)
            expectNothingAllowed(subscription, "ended")
            if !subscription.expected.isEmpty { fail("ended, but may receive", subscription) }
        }
        if change.subscriptionsEnded != ended.count { failures.append("ended: \(change)") }
        if change.deliveriesWithdrawn != withdrawn {
            failures.append("withdrawn: \(change), expected \(withdrawn)")
        }
        live.removeAll { ended.contains($0.number) }
    }

    // MARK: Comparing

    private func isExpected(_ topic: String, _ subscription: Live) -> Bool {
        let matches = TopicReference.matches(
            filter: Array(subscription.filter.utf8), name: Array(topic.utf8))
        return matches && judge.allows(.subscribe, topic, subscription.subject)
    }

    private func systemTopics() -> [String] {
        harness.broker.systemTopics(nowNanoseconds: harness.now).map { "$SYS/broker/\($0.name)" }
    }

    private func compare(_ path: String, _ clients: [Int]) {
        for client in clients {
            let deliveries = harness.takeDeliveries(client)
            for index in live.indices where live[index].client == client {
                let got = deliveries.filter { $0.subscription == live[index].number }
                check(live[index], got.map(\.topic), path)
                live[index].expected = []
            }
            let known = Set(live.map(\.number))
            for stray in deliveries where !known.contains(stray.subscription) {
                failures.append("\(path): \(stray.topic) to an ended subscription; \(random)")
            }
        }
    }

    private func check(_ subscription: Live, _ got: [String], _ path: String) {
        delivered += got.count
        guard got != subscription.expected else { return }
        fail("\(path): got \(got), expected \(subscription.expected)", subscription)
    }

    /// No topic that the filter matches may be allowed: none of many is.
    private func expectNothingAllowed(_ subscription: Live, _ what: String) {
        for _ in 0..<20 {
            judgements += 1
            let topic = RandomAccess.topic(&random)
            if isExpected(topic, subscription) { fail("\(what), but \(topic)", subscription) }
        }
        for topic in systemTopics() where isExpected(topic, subscription) {
            fail("\(what), but \(topic)", subscription)
        }
    }

    private func fail(_ what: String, _ subscription: Live) {
        failures.append("\(what) with \(subscription.filter), \(subscription.subject); \(random)")
    }
}
