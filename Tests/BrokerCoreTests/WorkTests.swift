import BrokerWire
import TestSupport
import Testing

@testable import BrokerCore

@Suite("Work: a packet with much in it is done in pieces")
struct WorkTests {
    /// A packet with publishes, subscriptions and pings in random order.
    private func packet(_ random: inout SeededRandom) -> [UInt8] {
        var packet = PacketBuffer(capacityBytes: 65_536)
        var subscription: UInt32 = 100
        for token in UInt32(0)..<200 {
            switch random.int(in: 0...9) {
            case 0:
                subscription += 1
                packet.appendSubscribe(
                    SubscribeFrame(
                        token: token, subscription: subscription, queueBytesMax: 0,
                        overflow: .disconnect, filters: [Array("t/#".utf8)], uidRanges: [],
                        gidRanges: []))
            case 1:
                packet.appendPing(nonce: UInt64(token))
            default:
                let topic = Array("t/\(random.int(in: 0...3))".utf8)
                packet.appendPublish(
                    token: token, wantsAcknowledgement: random.bool(), topic: topic.span,
                    payload: topic.span)
            }
        }
        packet.seal()
        return packet.span.copied()
    }

    @Test("In pieces or as a whole, everybody receives the same", arguments: 0..<20)
    func pieces(round: Int) throws {
        var random = SeededRandom()
        let bytes = packet(&random)
        var received: [[Streams]] = []
        for workPerTurn in [Int.max, 1, random.int(in: 2...5_000)] {
            let harness = CoreHarness()
            let client = try harness.join(uid: 1000)
            let other = try harness.join(uid: 1001)
            harness.subscribe(other, 1, "#")
            var rest: Int? = 0
            var turns = 0
            while let offset = rest {
                harness.broker.workLeft = workPerTurn
                rest = harness.receive(client, bytes, at: offset)
                turns += 1
            }
            #expect(workPerTurn != 1 || turns == 200, "\(random)")
            #expect(workPerTurn != Int.max || turns == 1, "\(random)")
            #expect(harness.broker.statistics.packetsReceived == 2 + 1 + 1)
            received.append([harness.take(client), harness.take(other)].map(Streams.init))
            harness.broker.workLeft = .max
            harness.expectNothingLeft()
        }
        #expect(received[0] == received[1], "\(random)")
        #expect(received[0] == received[2], "\(random)")
    }

    /// What a client receives in a defined order. Answers to publishes may be merged or not.
    private struct Streams: Equatable {
        let replies: [Received]
        let deliveries: [UInt32: [Received.Delivery]]

        init(_ received: [Received]) {
            replies = received.filter {
                $0.delivery == nil && $0.reply?.request != FrameType.publish.rawValue
            }
            deliveries = Dictionary(
                grouping: received.compactMap(\.delivery), by: \.subscription)
        }
    }

    @Test("A message to many counts as many, and the turn ends after it")
    func fanOut() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        for number in UInt32(0)..<500 { harness.subscribe(client, number, "t") }
        var packet = PacketBuffer(capacityBytes: 65_536)
        let topic = Array("t".utf8)
        for token in UInt32(0)..<100 {
            packet.appendPublish(
                token: token, wantsAcknowledgement: false, topic: topic.span, payload: Span())
        }
        packet.seal()
        let bytes = packet.span.copied()
        var rest: Int? = 0
        var most: UInt64 = 0
        while let offset = rest {
            let before = harness.broker.statistics.messagesAccepted
            harness.broker.workLeft = 2_048
            rest = harness.receive(client, bytes, at: offset)
            most = max(most, harness.broker.statistics.messagesAccepted - before)
        }
        #expect(most <= 5)
        #expect(harness.takeDeliveries(client).count == 100 * 500)
        harness.expectNothingLeft()
    }

    @Test("The rest of a packet is not looked at when the session has ended")
    func ended() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        var random = SeededRandom()
        let bytes = packet(&random)
        harness.broker.workLeft = 1
        let rest = try #require(harness.receive(client, bytes, at: 0))
        harness.shutDown()
        #expect(harness.receive(client, bytes, at: rest) == nil)
        #expect(harness.take(client).last?.disconnectReason == .serverShuttingDown)
        harness.expectNothingLeft()
    }

    @Test("A frame that is malformed is found in whatever piece it is")
    func malformed() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        var packet = PacketBuffer(capacityBytes: 1_000)
        packet.appendPing(nonce: 1)
        packet.appendPing(nonce: 2)
        packet.seal()
        var bytes = packet.span.copied()
        bytes[8 + 16 + 5] = 0x01
        harness.broker.workLeft = 1
        let rest = try #require(harness.receive(client, bytes, at: 0))
        harness.broker.workLeft = 1
        #expect(harness.receive(client, bytes, at: rest) == nil)
        #expect(harness.take(client).last?.disconnectReason == .malformedPacket)
        #expect(harness.broker.statistics.packetsMalformed == 1)
        harness.expectNothingLeft()
    }
}

extension CoreHarness {
    /// Hands a packet, or the rest of it, to the core as the opener's.
    fileprivate func receive(_ client: Int, _ bytes: [UInt8], at offset: Int) -> Int? {
        var made = Effects()
        let opener = clients[client].opener.record
        let rest = broker.packetReceived(
            clients[client].id, bytes.span,
            from: .attested(Sample.attestation(uid: opener.uid, pid: opener.pid)), at: offset,
            nowNanoseconds: now, into: &made)
        run(made)
        return rest
    }
}
