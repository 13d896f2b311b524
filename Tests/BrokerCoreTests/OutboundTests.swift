import BrokerWire
import Testing

@testable import BrokerCore

@Suite("Sending, subscribing, the broker's own topics and stopping")
struct OutboundTests {
    @Test("What is queued while the socket is full is sent when it is writable")
    func writeBlocked() throws {
        let harness = CoreHarness()
        let publisher = try harness.join(uid: 1000)
        let slow = try harness.join(uid: 1001)
        harness.subscribe(slow, 1, "#")
        harness.block(slow)
        for _ in 0..<50 { harness.publish(publisher, "a") }
        harness.send(slow) { $0.appendPing(nonce: 3) }
        #expect(harness.take(slow).isEmpty)
        harness.unblock(slow, packets: 1)
        #expect(harness.take(slow) == [.pong(nonce: 3)])
        harness.unblock(slow)
        #expect(harness.takeDeliveries(slow).count == 50)
        harness.publish(publisher, "a")
        #expect(harness.takeDeliveries(slow).count == 1)
        harness.expectNothingLeft()
    }

    @Test("Subscriptions with full queues take turns, packet by packet")
    func turns() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        for number in UInt32(0)..<7 { harness.subscribe(client, number, "\(number)/#") }
        harness.block(client)
        for number in 0..<7 {
            for _ in 0..<30 {
                harness.publish(client, "\(number)/x", [UInt8](repeating: 0, count: 9_000))
            }
        }
        harness.unblock(client, packets: 14)
        let early = harness.takeDeliveries(client).map(\.subscription)
        for number in UInt32(0)..<7 {
            #expect(early.contains(number), "subscription \(number) waits for the others")
        }
        harness.unsubscribe(client, 3)
        harness.unsubscribe(client, 6)
        harness.unblock(client)
        let rest = harness.takeDeliveries(client).map(\.subscription)
        #expect(!rest.contains(3) && !rest.contains(6))
        for number in [UInt32(0), 1, 2, 4, 5] {
            #expect((early + rest).count { $0 == number } == 30)
        }
        harness.expectNothingLeft()
    }

    @Test("Wrong options are answered and change nothing")
    func wrongOptions() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        let tooMany: UInt32 = 16 * 1_048_576 + 1
        #expect(harness.subscribe(client, 1, "a", queueBytesMax: tooMany)?.reason == .optionInvalid)
        #expect(harness.subscribe(client, 1, "a/#/b")?.reason == .topicFilterInvalid)
        #expect(harness.subscribe(client, 1, "$share/a/b")?.reason == .topicFilterInvalid)
        #expect(harness.subscribe(client, 1, "a")?.reason == .success)
        #expect(harness.subscribe(client, 1, "b")?.reason == .subscriptionInUse)
        #expect(harness.unsubscribe(client, 2)?.reason == .subscriptionUnknown)
        #expect(harness.unsubscribe(client, 1)?.reason == .success)
        #expect(harness.unsubscribe(client, 1)?.reason == .subscriptionUnknown)
        harness.expectNothingLeft()
    }

    @Test("The limit of a user's subscriptions holds over all of its sessions")
    func subscriptionQuota() throws {
        var configuration = Sample.configuration()
        configuration.quotaLimits.subscriptions = 3
        let harness = CoreHarness(configuration)
        let first = try harness.join(uid: 1000)
        let second = try harness.join(uid: 1000)
        for number in UInt32(0)..<2 { harness.subscribe(first, number, "#") }
        #expect(harness.subscribe(second, 0, "#")?.reason == .success)
        #expect(harness.subscribe(second, 1, "#")?.reason == .quotaExceeded)
        harness.close(first)
        #expect(harness.subscribe(second, 1, "#")?.reason == .success)
        harness.expectNothingLeft()
    }

    @Test("The broker's topics come at once to who asks, every ten seconds, and not to '#'")
    func systemTopics() throws {
        let harness = CoreHarness()
        let asking = try harness.join(uid: 1000)
        let other = try harness.join(uid: 1000)
        harness.subscribe(other, 1, "#", "+/broker/version")
        harness.subscribe(asking, 1, "$SYS/broker/version")
        let first = harness.takeDeliveries(asking)
        #expect(first.map(\.topic) == ["$SYS/broker/version"])
        #expect(first.first?.sender.uid == Sample.brokerUID)
        #expect(first.first?.sender.isDelegated == false)
        harness.pass(seconds: 10)
        #expect(harness.takeDeliveries(asking).count == 1)
        #expect(harness.takeDeliveries(other).isEmpty)
        harness.expectNothingLeft()
    }

    @Test("Stopping delivers what is queued, says farewell and takes nothing new")
    func shutDown() throws {
        let harness = CoreHarness()
        let publisher = try harness.join(uid: 1000)
        let slow = try harness.join(uid: 1001)
        let greeting = try harness.connect(Sample.peer(uid: 1002))
        harness.subscribe(slow, 1, "#")
        harness.subscribe(slow, 2, "$SYS/#")
        _ = harness.take(slow)
        harness.block(slow)
        for _ in 0..<20 { harness.publish(publisher, "a") }
        harness.shutDown()
        #expect(harness.take(publisher).map(\.disconnectReason) == [.serverShuttingDown])
        #expect(harness.take(greeting).map(\.disconnectReason) == [.serverShuttingDown])
        #expect(throws: CoreHarness.Refused.self) { try harness.join(uid: 1000) }
        harness.unblock(slow)
        let received = harness.take(slow)
        #expect(received.compactMap(\.delivery).count == 20)
        #expect(received.last?.disconnectReason == .serverShuttingDown)
        #expect(harness.clients[slow].isClosed)
        harness.shutDown()
        harness.expectNothingLeft()
    }

    @Test("Who does not read is closed two seconds after the farewell")
    func drainDeadline() throws {
        let harness = CoreHarness()
        let slow = try harness.join(uid: 1001)
        harness.subscribe(slow, 1, "#")
        harness.subscribe(slow, 2, "$SYS/#", overflow: .dropOldest)
        harness.block(slow)
        harness.publish(slow, "a")
        harness.pass(seconds: 9)
        harness.shutDown()
        harness.pass(seconds: 1.9)
        #expect(!harness.clients[slow].isClosed)
        harness.pass(seconds: 0.1)
        #expect(harness.clients[slow].isClosed)
        #expect(harness.broker.sessionCount == 0)
        harness.expectNothingLeft()
    }

    /// A subscriber that has stopped to read, and has been sent `messages`, a byte each.
    private func filled(_ harness: CoreHarness, messages: Int) throws -> Int {
        let publisher = try harness.join(uid: 1000)
        let slow = try harness.join(uid: 1001)
        harness.subscribe(slow, 1, "fill", "$SYS/broker/uptime", queueBytesMax: 1)
        harness.block(slow)
        harness.publish(publisher, "fill", [0], count: messages)
        return slow
    }

    @Test("Who is closed while the broker stops is not ended again by the broker's own topics")
    func closedWhileStopping() throws {
        // As many messages as just do not end it: there is no room for anything else.
        var fitting = 0
        while true {
            let harness = CoreHarness()
            _ = try filled(harness, messages: fitting + 1)
            if harness.broker.statistics.subscribersTooSlow > 0 { break }
            fitting += 1
        }
        let harness = CoreHarness()
        let slow = try filled(harness, messages: fitting)
        harness.pass(seconds: 7)
        harness.shutDown()
        // The two seconds of the farewell and the ten of the topics are over at once.
        harness.pass(seconds: 4)
        #expect(harness.clients[slow].isClosed)
        harness.expectNothingLeft()
    }

    @Test("The snapshot shows sessions, subscriptions and what users hold")
    func snapshot() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.subscribe(client, 4, "a/+", overflow: .dropOldest, queueBytesMax: 10_000)
        harness.block(client)
        harness.publish(client, "a/b")
        let snapshot = harness.broker.snapshot(nowNanoseconds: harness.now)
        #expect(snapshot.sessions.count == 1)
        let subscription = snapshot.sessions.first?.subscriptions.first
        #expect(subscription?.number == 4)
        #expect(subscription?.queuedBytes == 4_096)
        #expect(subscription?.queueBytesMax == 10_000)
        #expect(snapshot.users.map(\.queuedBytes) == [4_096])
        #expect(snapshot.sessions.first?.messagesPublished == 1)
        harness.expectNothingLeft()
    }
}
