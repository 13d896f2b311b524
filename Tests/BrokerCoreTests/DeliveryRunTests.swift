import BrokerWire
import TestSupport
import Testing

@testable import BrokerCore

@Suite("Runs of messages to many receivers")
struct DeliveryRunTests {
    private func append(
        _ topic: String, number: UInt32, payloadBytes: Int = 4, acknowledge: Bool = false,
        to packet: inout PacketBuffer
    ) {
        let name = Array(topic.utf8)
        let payload = (0..<payloadBytes).map {
            UInt8(truncatingIfNeeded: number >> (8 * UInt32($0)))
        }
        packet.appendPublish(
            token: number, wantsAcknowledgement: acknowledge, topic: name.span,
            payload: payload.span)
    }

    private func numbers(_ deliveries: [Received.Delivery]) -> [UInt32] {
        deliveries.map { delivery in
            delivery.payload.reversed().reduce(0) { $0 << 8 | UInt32($1) }
        }
    }

    @Test("Each of forty receivers gets what it subscribed to, in order, whatever is mixed")
    func mixed() throws {
        var random = SeededRandom()
        let harness = CoreHarness()
        let publisher = try harness.join(uid: 1000)
        let filters = ["#", "many/+", "many/1"]
        var wanted: [[UInt8]] = []
        let clients = try (0..<40).map { _ in try harness.join(uid: 1001) }
        for client in clients {
            let filter = filters[random.int(in: 0...2)]
            wanted.append(Array(filter.utf8))
            harness.subscribe(client, 1, filter)
        }
        for client in clients.prefix(3) { harness.subscribe(client, 2, "few/x") }
        let topics = ["many/1", "many/2", "few/x", "many/1/deep"]
        var published: [(topic: String, number: UInt32)] = []
        for _ in 0..<20 {
            harness.send(publisher) { packet in
                for _ in 0..<random.int(in: 1...200) {
                    let topic = topics[random.int(in: 0...3)]
                    let number = UInt32(published.count)
                    append(
                        topic, number: number, acknowledge: random.int(in: 0...9) == 0,
                        to: &packet)
                    published.append((topic, number))
                }
            }
        }
        for (index, client) in clients.enumerated() {
            let deliveries = harness.takeDeliveries(client).filter { $0.subscription == 1 }
            let expected = published.filter {
                TopicReference.matches(filter: wanted[index], name: Array($0.topic.utf8))
            }
            #expect(numbers(deliveries) == expected.map(\.number), "\(random)")
            #expect(deliveries.map(\.topic) == expected.map(\.topic), "\(random)")
            #expect(deliveries.map(\.sequence) == deliveries.map(\.sequence).sorted())
        }
        harness.expectNothingLeft()
    }

    @Test("A subscription in the middle of a packet begins and ends there")
    func subscriptionInBetween() throws {
        let harness = CoreHarness()
        let publisher = try harness.join(uid: 1000)
        let others = try (0..<20).map { _ in try harness.join(uid: 1001) }
        for client in others { harness.subscribe(client, 1, "a") }
        let subscribe = SubscribeFrame(
            token: 900, subscription: 1, queueBytesMax: 0, overflow: .disconnect,
            filters: [Array("a".utf8)], uidRanges: [], gidRanges: [])
        harness.send(publisher) { packet in
            append("a", number: 1, to: &packet)
            append("a", number: 2, to: &packet)
            packet.appendSubscribe(subscribe)
            append("a", number: 3, to: &packet)
            append("a", number: 4, to: &packet)
            packet.appendUnsubscribe(token: 901, subscription: 1)
            append("a", number: 5, to: &packet)
        }
        // What ends with the subscription is not delivered any more.
        #expect(numbers(harness.takeDeliveries(publisher)).allSatisfy { $0 == 3 || $0 == 4 })
        for client in others {
            #expect(numbers(harness.takeDeliveries(client)) == [1, 2, 3, 4, 5])
        }
        harness.expectNothingLeft()
    }

    @Test("What is accepted before a malformed frame is delivered")
    func malformedFrame() throws {
        let harness = CoreHarness()
        let publisher = try harness.join(uid: 1000)
        let others = try (0..<20).map { _ in try harness.join(uid: 1001) }
        for client in others { harness.subscribe(client, 1, "a") }
        var packet = PacketBuffer(capacityBytes: 4_096)
        append("a", number: 1, to: &packet)
        append("a", number: 2, to: &packet)
        append("a", number: 3, to: &packet)
        packet.seal()
        var bytes = packet.span.copied()
        // The length of the last frame: 8 bytes header, 4 token, topic and payload.
        bytes[bytes.count - 17] = 0xFF
        harness.send(publisher, bytes: bytes)
        for client in others {
            #expect(numbers(harness.takeDeliveries(client)) == [1, 2])
        }
        #expect(harness.clients[publisher].hasEnded)
        harness.expectNothingLeft()
    }

    @Test("Whoever is ended by its own messages has nothing behind them carried out")
    func endedByItsOwn() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        let other = try harness.join(uid: 1001)
        harness.subscribe(other, 1, "b")
        for number in UInt32(1)...20 { harness.subscribe(client, number, "a", queueBytesMax: 1) }
        harness.send(client) { packet in
            for number in UInt32(1)...2 {
                append("a", number: number, payloadBytes: 20_000, to: &packet)
            }
            packet.appendDisconnect(reason: .success, explanation: "")
            append("b", number: 4, to: &packet)
        }
        #expect(harness.take(client).last?.disconnectReason == .slowSubscriber)
        #expect(harness.takeDeliveries(other).isEmpty)
        harness.expectNothingLeft()
    }

    @Test("Receivers that do not read lose, are told how many, and delay nobody else")
    func overflow() throws {
        let harness = CoreHarness()
        let publisher = try harness.join(uid: 1000)
        let clients = try (0..<30).map { _ in try harness.join(uid: 1001) }
        for (index, client) in clients.enumerated() {
            harness.subscribe(
                client, 1, "a", overflow: .dropOldest, queueBytesMax: index < 10 ? 8_192 : 0)
            if index < 10 { harness.block(client) }
        }
        let total = 2_000
        for first in stride(from: 0, to: total, by: 100) {
            harness.send(publisher) { packet in
                for offset in 0..<100 { append("a", number: UInt32(first + offset), to: &packet) }
            }
        }
        for (index, client) in clients.enumerated() {
            if index < 10 { harness.unblock(client) }
            let received = harness.take(client)
            let delivered = numbers(received.compactMap(\.delivery))
            let lost = received.reduce(0) { sum, frame in
                if case .lost(_, let count) = frame { sum + Int(count) } else { sum }
            }
            #expect(delivered.count + lost == total)
            #expect(index >= 10 || lost > 0)
            #expect(delivered == Array((total - delivered.count)..<total).map { UInt32($0) })
        }
        harness.expectNothingLeft()
    }
}
