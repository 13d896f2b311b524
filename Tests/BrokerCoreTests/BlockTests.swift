import BrokerWire
import Testing

@testable import BrokerCore

@Suite("Slow subscribers: block")
struct BlockTests {
    private func fill(_ harness: CoreHarness, _ publisher: Int, _ topic: String = "t") {
        harness.publish(publisher, topic, [UInt8](repeating: 0, count: 9_000))
    }

    @Test("A full queue holds its publishers back until it has room again")
    func holdAndRelease() throws {
        let harness = CoreHarness()
        let (publisher, slow) = try harness.joinPair("t", overflow: .block, queueBytesMax: 40_000)
        let bystander = try harness.join(uid: 1000)
        fill(harness, publisher)
        fill(harness, publisher)
        #expect(harness.clients[publisher].isReading)
        fill(harness, publisher)
        #expect(!harness.clients[publisher].isReading)
        fill(harness, bystander, "other")
        #expect(harness.clients[bystander].isReading)
        harness.unblock(slow, packets: 1)
        #expect(!harness.clients[publisher].isReading)
        harness.unblock(slow)
        #expect(harness.clients[publisher].isReading)
        #expect(harness.takeDeliveries(slow).count == 3)
        harness.pass(seconds: 9)
        #expect(!harness.clients[slow].isClosed)
        harness.expectNothingLeft()
    }

    @Test("What a publisher had sent before it was held back is still delivered")
    func readAhead() throws {
        let harness = CoreHarness()
        let (publisher, slow) = try harness.joinPair("t", overflow: .block, queueBytesMax: 20_000)
        harness.publish(publisher, "t", [UInt8](repeating: 0, count: 100), count: 500)
        for _ in 0..<9 { fill(harness, publisher) }
        #expect(!harness.clients[publisher].isReading)
        harness.unblock(slow)
        #expect(harness.takeDeliveries(slow).count == 509)
        #expect(harness.clients[publisher].isReading)
        harness.expectNothingLeft()
    }

    @Test("After five seconds the subscriber is ended and the publishers go on")
    func deadline() throws {
        let harness = CoreHarness()
        let (publisher, slow) = try harness.joinPair("t", overflow: .block, queueBytesMax: 10_000)
        fill(harness, publisher)
        harness.pass(seconds: 4.9)
        #expect(!harness.clients[publisher].isReading)
        harness.pass(seconds: 0.1)
        #expect(harness.clients[publisher].isReading)
        harness.unblock(slow)
        #expect(harness.take(slow).map(\.disconnectReason) == [.slowSubscriber])
        harness.expectNothingLeft()
    }

    @Test("A new hold has five seconds of its own")
    func secondHold() throws {
        let harness = CoreHarness()
        let (publisher, slow) = try harness.joinPair("t", overflow: .block, queueBytesMax: 10_000)
        fill(harness, publisher)
        harness.pass(seconds: 4)
        harness.unblock(slow)
        harness.block(slow)
        fill(harness, publisher)
        harness.pass(seconds: 4)
        #expect(!harness.clients[slow].isClosed)
        #expect(!harness.clients[publisher].isReading)
        harness.pass(seconds: 1)
        harness.unblock(slow)
        #expect(harness.take(slow).last?.disconnectReason == .slowSubscriber)
        harness.expectNothingLeft()
    }

    @Test("Unsubscribing, leaving and closing let the publishers go on", arguments: 0..<3)
    func subscriberGoes(way: Int) throws {
        let harness = CoreHarness()
        let (publisher, slow) = try harness.joinPair("t", overflow: .block, queueBytesMax: 10_000)
        fill(harness, publisher)
        #expect(!harness.clients[publisher].isReading)
        switch way {
        case 0: harness.unsubscribe(slow, 1)
        case 1: harness.send(slow) { $0.appendDisconnect(reason: .success, explanation: "") }
        default: harness.close(slow)
        }
        #expect(harness.clients[publisher].isReading)
        harness.pass(seconds: 6)
        if way == 0 { #expect(!harness.clients[slow].isClosed) }
        harness.expectNothingLeft()
    }

    @Test("A publisher that leaves while it is held back leaves nothing in the next one's slot")
    func publisherGoes() throws {
        let harness = CoreHarness()
        let (publisher, slow) = try harness.joinPair("t", overflow: .block, queueBytesMax: 10_000)
        fill(harness, publisher)
        harness.close(publisher)
        let next = try harness.join(uid: 1000)
        #expect(harness.clients[next].id.slot == harness.clients[publisher].id.slot)
        harness.publish(next, "other", acknowledge: true)
        #expect(harness.take(next).count == 1)
        harness.unblock(slow)
        #expect(harness.clients[next].isReading)
        #expect(!harness.effects.resuming.contains(harness.clients[publisher].id))
        harness.expectNothingLeft()
    }

    @Test(
        "A publisher held back by two subscriptions is not lost when one lets it go",
        arguments: [false, true])
    func twoHolds(isReversed: Bool) throws {
        let harness = CoreHarness()
        let publisher = try harness.join(uid: 1000)
        let first = try harness.join(uid: 1001)
        let second = try harness.join(uid: 1002)
        for client in [first, second] {
            harness.subscribe(client, 1, "t", overflow: .block, queueBytesMax: 20_000)
            harness.block(client)
        }
        fill(harness, publisher)
        fill(harness, publisher)
        #expect(!harness.clients[publisher].isReading)
        harness.unblock(isReversed ? second : first)
        var sent = 2
        if harness.clients[publisher].isReading {
            fill(harness, publisher)
            sent += 1
        }
        #expect(!harness.clients[publisher].isReading)
        harness.unblock(isReversed ? first : second)
        #expect(harness.clients[publisher].isReading)
        #expect(harness.takeDeliveries(first).count == sent)
        #expect(harness.takeDeliveries(second).count == sent)
        harness.expectNothingLeft()
    }

    @Test("The last word on reading counts when effects of several events are run together")
    func effectsTogether() throws {
        let harness = CoreHarness()
        let publisher = try harness.join(uid: 1000)
        harness.subscribe(publisher, 1, "a", overflow: .block, queueBytesMax: 10_000)
        harness.subscribe(publisher, 2, "b", overflow: .block, queueBytesMax: 10_000)
        harness.block(publisher)
        fill(harness, publisher, "a")
        #expect(!harness.clients[publisher].isReading)
        harness.holdsEffects = true
        harness.unsubscribe(publisher, 1)
        fill(harness, publisher, "b")
        harness.holdsEffects = false
        harness.runEffects()
        #expect(!harness.clients[publisher].isReading)
        harness.unblock(publisher)
        #expect(harness.clients[publisher].isReading)
        harness.expectNothingLeft()
    }

    @Test("Shutting down ends held publishers and full queues alike")
    func shutDown() throws {
        let harness = CoreHarness()
        let (publisher, slow) = try harness.joinPair("t", overflow: .block, queueBytesMax: 10_000)
        fill(harness, publisher)
        harness.shutDown()
        #expect(harness.take(publisher).map(\.disconnectReason) == [.serverShuttingDown])
        #expect(harness.clients[publisher].isClosed)
        harness.pass(seconds: 2)
        #expect(harness.clients[slow].isClosed)
        harness.pass(seconds: 5)
        harness.expectNothingLeft()
    }

    @Test("The right to hold publishers back is a right of its own")
    func permission() throws {
        let harness = CoreHarness(
            Sample.configuration(policy: .ownerOnly(brokerUID: Sample.brokerUID)))
        let stranger = try harness.join(uid: 1000)
        #expect(harness.subscribe(stranger, 1, "t", overflow: .block)?.reason == .notPermitted)
        let owner = try harness.join(uid: Sample.brokerUID)
        #expect(harness.subscribe(owner, 1, "t", overflow: .block)?.reason == .success)
        harness.expectNothingLeft()
    }
}
