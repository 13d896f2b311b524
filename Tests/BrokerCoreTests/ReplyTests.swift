import BrokerWire
import Testing

@testable import BrokerCore

@Suite("Replies: merging, order, limits, status")
struct ReplyTests {
    private let topic = Array("a".utf8)

    private func publish(
        _ packet: inout PacketBuffer, token: UInt32, acknowledge: Bool = true,
        topic: String = "a"
    ) {
        let name = Array(topic.utf8)
        packet.appendPublish(
            token: token, wantsAcknowledgement: acknowledge, topic: name.span, payload: Span())
    }

    @Test("Consecutive tokens with the same answer share one REPLY, across the end of the numbers")
    func merging() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.send(client) { packet in
            for offset in UInt32(0)..<5 { publish(&packet, token: 4_294_967_294 &+ offset) }
        }
        let replies = harness.take(client).compactMap(\.reply)
        #expect(replies.count == 1)
        #expect(replies.first?.token == 4_294_967_294)
        #expect(replies.first?.count == 5)
        #expect(replies.first?.sequence == 1)
        harness.expectNothingLeft()
    }

    @Test("A gap in tokens or sequences, or another reason, begins a new REPLY")
    func gaps() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.send(client) { packet in
            publish(&packet, token: 1)
            publish(&packet, token: 2, acknowledge: false)
            publish(&packet, token: 3)
            publish(&packet, token: 5)
            publish(&packet, token: 6, topic: "$x")
            publish(&packet, token: 7, acknowledge: false, topic: "$y")
            publish(&packet, token: 8)
            publish(&packet, token: 8)
        }
        let replies = harness.take(client).compactMap(\.reply)
        #expect(replies.map(\.token) == [1, 3, 5, 6, 8, 8])
        #expect(replies.map(\.count) == [1, 1, 1, 2, 1, 1])
        #expect(replies.map(\.sequence) == [1, 3, 4, 0, 5, 6])
        harness.expectNothingLeft()
    }

    @Test("The answer to an unacknowledged publish is not merged over one in between")
    func sequenceGap() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.send(client) { packet in
            publish(&packet, token: 1)
            publish(&packet, token: 9, acknowledge: false)
            publish(&packet, token: 2)
        }
        let replies = harness.take(client).compactMap(\.reply)
        #expect(replies.map(\.count) == [1, 1])
        #expect(replies.map(\.sequence) == [1, 3])
        harness.expectNothingLeft()
    }

    @Test("Replies and PONG come in the order of the requests")
    func order() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.send(client) { packet in
            publish(&packet, token: 1)
            packet.appendPing(nonce: 1)
            publish(&packet, token: 2)
            packet.appendUnsubscribe(token: 3, subscription: 9)
            packet.appendPing(nonce: 2)
        }
        let received = harness.take(client)
        #expect(received.map { $0.reply?.token } == [1, nil, 2, 3, nil])
        #expect(received[3].reply?.reason == .subscriptionUnknown)
        #expect(received.last == .pong(nonce: 2))
        harness.expectNothingLeft()
    }

    @Test("Unread replies end the session at their limit, and not far beyond")
    func repliesUnread() throws {
        var configuration = Sample.configuration()
        configuration.replyBytesPerSessionMax = 16_384
        let harness = CoreHarness(configuration)
        let client = try harness.join(uid: 1000)
        harness.block(client)
        harness.send(client) { packet in
            for token in UInt32(0)..<2_000 { publish(&packet, token: token * 2, topic: "$xxxx") }
        }
        #expect(harness.broker.packetsQueued <= 6)
        harness.unblock(client)
        let received = harness.take(client)
        #expect(received.last?.disconnectReason == .repliesUnread)
        #expect(received.compactMap(\.reply).count < 300)
        harness.expectNothingLeft()
    }

    @Test("A publisher that is ended by its own message gets no further one accepted")
    func doomedPublisher() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.subscribe(client, 1, "a", queueBytesMax: 4_096)
        harness.block(client)
        harness.send(client) { packet in
            for token in UInt32(0)..<1_000 { publish(&packet, token: token) }
        }
        #expect(harness.broker.statistics.messagesAccepted < 200)
        harness.unblock(client)
        let received = harness.take(client)
        #expect(received.last?.disconnectReason == .slowSubscriber)
        let answered = received.compactMap(\.reply).reduce(0) { $0 + $1.count }
        #expect(UInt64(answered) == harness.broker.statistics.messagesAccepted)
        harness.expectNothingLeft()
    }

    @Test("DISCONNECT from the client closes at once and ends its subscriptions")
    func disconnect() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.subscribe(client, 1, "#")
        harness.send(client) { packet in
            packet.appendDisconnect(reason: .success, explanation: "bye")
            publish(&packet, token: 1)
        }
        #expect(harness.clients[client].isClosed)
        #expect(harness.broker.statistics.messagesAccepted == 0)
        harness.expectNothingLeft()
    }

    @Test("Status is refused to others and sent in fragments to whoever may inspect")
    func status() throws {
        let harness = CoreHarness(
            Sample.configuration(policy: .ownerOnly(brokerUID: Sample.brokerUID)))
        harness.statusDocument = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 / 256) }
        let stranger = try harness.join(uid: 1000)
        harness.send(stranger) { $0.appendStatusRequest(token: 4) }
        #expect(harness.take(stranger).compactMap(\.reply).map(\.reason) == [.notPermitted])
        let owner = try harness.join(uid: Sample.brokerUID)
        harness.send(owner) { $0.appendStatusRequest(token: 5) }
        var document: [UInt8] = []
        var hasMore: [Bool] = []
        for case .status(let token, let more, let fragment) in harness.take(owner) {
            #expect(token == 5)
            document += fragment
            hasMore.append(more)
        }
        #expect(document == harness.statusDocument)
        #expect(hasMore == [true, true, true, false])
        harness.expectNothingLeft()
    }

    @Test("A document larger than the limit of replies is sent whole, one behind it is not")
    func largeStatus() throws {
        var configuration = Sample.configuration()
        configuration.replyBytesPerSessionMax = 131_072
        let harness = CoreHarness(configuration)
        harness.statusDocument = [UInt8](repeating: 0x20, count: 400_000)
        let client = try harness.join(uid: 0)
        harness.send(client) { $0.appendStatusRequest(token: 1) }
        #expect(harness.take(client).count == 7)
        harness.block(client)
        harness.send(client) { $0.appendStatusRequest(token: 2) }
        harness.send(client) { $0.appendStatusRequest(token: 3) }
        harness.unblock(client)
        let received = harness.take(client)
        #expect(received.count == 8)
        #expect(received.last?.disconnectReason == .repliesUnread)
        harness.expectNothingLeft()
    }

    @Test("Nothing is answered behind the farewell")
    func statusAfterFarewell() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 0)
        harness.send(client) { packet in
            packet.appendStatusRequest(token: 1)
            packet.appendHello(versionMin: 1, versionMax: 1, name: "")
        }
        #expect(harness.take(client).last?.disconnectReason == .protocolError)
        harness.expectNothingLeft()
    }

    @Test("A flood of refusals fills a bounded number of notices")
    func notices() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.send(client) { packet in
            for token in UInt32(0)..<500 { publish(&packet, token: token * 2, topic: "$x") }
        }
        #expect(harness.notices.filter { $0.kind == .publishRefused }.count == 64)
        #expect(harness.noticesDropped == 500 - 64)
        harness.expectNothingLeft()
    }
}
