import BrokerWire
import Testing

@testable import BrokerCore

@Suite("Slow subscribers: disconnect and drop-oldest")
struct OverflowTests {
    /// Delivered payload sizes do not matter here: the first byte numbers the message.
    private func publish(
        _ harness: CoreHarness, _ client: Int, _ numbers: Range<Int>, bytes: Int = 100
    ) {
        for number in numbers {
            var payload = [UInt8](repeating: 0, count: bytes)
            payload[0] = UInt8(truncatingIfNeeded: number)
            payload[1] = UInt8(truncatingIfNeeded: number >> 8)
            harness.publish(client, "t", payload)
        }
    }

    /// The numbers a subscription saw, delivered or covered by LOST, from `first` on.
    private func numbers(_ received: [Received], from first: Int = 0) -> (seen: [Int], next: Int) {
        var seen: [Int] = []
        var next = first
        for item in received {
            switch item {
            case .deliver(let delivery):
                let number = Int(delivery.payload[0]) | Int(delivery.payload[1]) << 8
                #expect(number == next, "LOST does not cover what is missing")
                seen.append(number)
                next = number + 1
            case .lost(_, let count):
                #expect(count > 0)
                next += Int(count)
            case .welcome, .reply, .pong, .disconnect, .status, .ended, .adminReply: break
            }
        }
        return (seen, next)
    }

    @Test("A subscription with policy disconnect ends its session when its queue is full")
    func disconnects() throws {
        let harness = CoreHarness()
        let publisher = try harness.join(uid: 1000)
        let slow = try harness.join(uid: 1001)
        let other = try harness.join(uid: 1001)
        harness.subscribe(slow, 1, "#", queueBytesMax: 16_384)
        harness.subscribe(other, 1, "#", queueBytesMax: 16_384)
        harness.block(slow)
        publish(harness, publisher, 0..<400)
        harness.unblock(slow)
        #expect(harness.take(slow).map(\.disconnectReason) == [.slowSubscriber])
        #expect(numbers(harness.take(other)).seen == Array(0..<400))
        #expect(harness.take(publisher).isEmpty)
        #expect(harness.broker.statistics.subscribersTooSlow == 1)
        harness.expectNothingLeft()
    }

    @Test("What waited for a subscriber that is ended is counted as lost")
    func discardedIsLost() throws {
        let harness = CoreHarness()
        let (publisher, slow) = try harness.joinPair("#", queueBytesMax: 16_384)
        harness.subscribe(slow, 2, "t", queueBytesMax: 65_536)
        var published: UInt64 = 0
        while harness.broker.statistics.subscribersTooSlow == 0 && published < 1_000 {
            publish(harness, publisher, 0..<1)
            published += 1
        }
        #expect(published > 10)
        let lost = harness.broker.statistics.messagesLost
        #expect(lost == 2 * published)
        #expect(harness.broker.statistics.messagesDelivered == 0)
        harness.expectNothingLeft()
    }

    @Test(
        "A queue never holds more than its limit, but always one message",
        arguments: [
            1, 4_096, 8_192, 20_000, 65_536, 100_000, 1_000_000,
        ])
    func queueLimit(limit: Int) throws {
        for overflow in [OverflowPolicy.disconnect, .dropOldest] {
            for bytes in [10, 3_000, 5_000, 70_000] {
                let harness = CoreHarness()
                let (publisher, slow) = try harness.joinPair(
                    "#", overflow: overflow, queueBytesMax: UInt32(limit))
                for number in 0..<60 {
                    publish(harness, publisher, number..<(number + 1), bytes: bytes)
                    let queued = harness.broker.quotas.active.first { $0.uid == 1001 }
                    let one = max(4_096, bytes + 512) + 4_096
                    #expect((queued?.queuedBytes ?? 0) <= max(limit, one))
                }
                harness.unblock(slow)
                let received = harness.take(slow)
                if overflow == .dropOldest {
                    let (seen, next) = numbers(received)
                    #expect(next == 60)
                    #expect(seen.last == 59, "the newest message is kept")
                }
                harness.expectNothingLeft()
            }
        }
    }

    @Test("Drop-oldest tells at the place of the loss how many are missing")
    func dropOldest() throws {
        let harness = CoreHarness()
        let (publisher, slow) = try harness.joinPair(
            "#", overflow: .dropOldest, queueBytesMax: 16_384, blockedAfter: 3)
        publish(harness, publisher, 0..<300)
        var next = 0
        for step in 0..<20 {
            harness.unblock(slow, packets: 1 + step % 3)
            next = numbers(harness.take(slow), from: next).next
            let first = 300 + step * 50
            publish(harness, publisher, first..<(first + 50))
        }
        harness.unblock(slow)
        next = numbers(harness.take(slow), from: next).next
        #expect(next == 300 + 20 * 50)
        let lost = harness.broker.statistics.messagesLost
        let delivered = harness.broker.statistics.messagesDelivered
        #expect(lost + delivered == UInt64(next))
        harness.expectNothingLeft()
    }

    @Test("Large messages push out what is older, exactly")
    func dropOldestLarge() throws {
        let harness = CoreHarness()
        let (publisher, slow) = try harness.joinPair(
            "#", overflow: .dropOldest, queueBytesMax: 300_000)
        let largest = harness.broker.configuration.messageBytesMax
        var number = 0
        for bytes in [10, 100_000, 10, largest - 1, 10, 70_000, 70_000, 70_000, 70_000, 2_000] {
            publish(harness, publisher, number..<(number + 1), bytes: bytes)
            number += 1
        }
        harness.unblock(slow)
        #expect(numbers(harness.take(slow)).next == 10)
        harness.expectNothingLeft()
    }

    @Test("A loss that a dropped packet had reported is reported by the notice in its place")
    func droppedReport() throws {
        var configuration = Sample.configuration()
        configuration.quotaLimits.queuedBytes = 100_000
        let harness = CoreHarness(configuration)
        let publisher = try harness.join(uid: 1000)
        let slow = try harness.join(uid: 1001)
        let hog = try harness.join(uid: 1001)
        harness.subscribe(hog, 1, "hog", overflow: .dropOldest)
        harness.subscribe(slow, 1, "t", overflow: .dropOldest, queueBytesMax: 8_192)
        harness.block(slow)
        harness.block(hog)
        harness.publish(publisher, "hog", [UInt8](repeating: 0, count: 97_000))
        publish(harness, publisher, 0..<5)
        #expect(harness.broker.statistics.messagesLost == 5)
        harness.unsubscribe(hog, 1)
        publish(harness, publisher, 5..<200)
        harness.unblock(slow)
        #expect(numbers(harness.take(slow)).next == 200)
        harness.expectNothingLeft()
    }

    @Test("The quota of a user bounds all of its queues, and touches nobody else's")
    func userQuota() throws {
        var configuration = Sample.configuration()
        configuration.quotaLimits.queuedBytes = 200_000
        let harness = CoreHarness(configuration)
        let publisher = try harness.join(uid: 1000)
        let greedy = try harness.join(uid: 1001)
        let modest = try harness.join(uid: 1002)
        for number in UInt32(0)..<100 {
            harness.subscribe(greedy, number, "#", overflow: .dropOldest)
        }
        harness.subscribe(modest, 1, "#", overflow: .dropOldest)
        harness.block(greedy)
        harness.block(modest)
        publish(harness, publisher, 0..<200)
        for account in harness.broker.quotas.active where account.uid == 1001 {
            #expect(account.queuedBytes <= 200_000 + 100 * 4_096)
        }
        harness.unblock(modest)
        #expect(numbers(harness.take(modest)).seen == Array(0..<200))
        harness.unblock(greedy)
        let items = harness.take(greedy)
        for number in UInt32(0)..<100 {
            let stream = items.filter { item in
                switch item {
                case .deliver(let delivery): delivery.subscription == number
                case .lost(let subscription, _): subscription == number
                case .welcome, .reply, .pong, .disconnect, .status, .ended, .adminReply:
                    false
                }
            }
            _ = numbers(stream)
        }
        harness.expectNothingLeft()
    }

    @Test("Receivers that end while a message is routed do not disturb the others")
    func doomedWhileRouting() throws {
        let harness = CoreHarness()
        let publisher = try harness.join(uid: 1000)
        var clients: [Int] = []
        for index in 0..<9 {
            let client = try harness.join(uid: 1001)
            clients.append(client)
            for number in UInt32(0)..<3 {
                harness.subscribe(client, number, "#", queueBytesMax: 4_096)
            }
            if index % 3 == 1 { harness.block(client) }
        }
        publish(harness, publisher, 0..<300)
        for (index, client) in clients.enumerated() {
            harness.unblock(client)
            let received = harness.take(client)
            if index % 3 == 1 {
                #expect(received.map(\.disconnectReason) == [.slowSubscriber])
            } else {
                #expect(received.count == 900)
            }
        }
        harness.expectNothingLeft()
    }

    @Test("A slot of a subscription that is used again starts empty")
    func subscriptionSlotReuse() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.subscribe(client, 1, "t", overflow: .dropOldest, queueBytesMax: 4_096)
        harness.block(client)
        publish(harness, client, 0..<100)
        harness.unsubscribe(client, 1)
        harness.subscribe(client, 2, "t")
        publish(harness, client, 0..<1)
        harness.unblock(client)
        let received = harness.take(client)
        #expect(received.compactMap(\.delivery).map(\.subscription) == [2])
        #expect(!received.contains { if case .lost = $0 { true } else { false } })
        harness.expectNothingLeft()
    }
}
