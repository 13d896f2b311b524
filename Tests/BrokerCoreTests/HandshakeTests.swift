import BrokerWire
import Testing

@testable import BrokerCore

@Suite("Handshake: the states of a session")
struct HandshakeTests {
    private func hello(_ packet: inout PacketBuffer) {
        packet.appendHello(versionMin: 1, versionMax: 1, name: "client")
    }

    @Test("HELLO is answered with WELCOME that shows the client as the broker sees it")
    func welcome() throws {
        let harness = CoreHarness()
        let client = try harness.connect(Sample.peer(uid: 1000))
        harness.send(client, from: .attested(Sample.attestation(uid: 1001, pid: 7)), hello)
        guard case .welcome(let welcome)? = harness.take(client).first else {
            Issue.record("no WELCOME")
            return
        }
        #expect(welcome.client.uid == 1001)
        #expect(welcome.client.opener.uid == 1000)
        #expect(welcome.client.isDelegated)
        #expect(welcome.packetBytesMax == UInt32(Limits.packetBytesMax))
        harness.expectNothingLeft()
    }

    @Test("Frames behind HELLO in the same packet are carried out")
    func framesBehindHello() throws {
        let harness = CoreHarness()
        let client = try harness.connect(Sample.peer(uid: 1000))
        let topic = Array("a".utf8)
        harness.send(client) { packet in
            hello(&packet)
            packet.appendPing(nonce: 5)
            packet.appendPublish(
                token: 1, wantsAcknowledgement: true, topic: topic.span, payload: Span())
        }
        let received = harness.take(client)
        #expect(received.first?.isWelcome == true)
        #expect(received.contains(.pong(nonce: 5)))
        #expect(received.last?.reply?.reason == .noMatchingSubscribers)
        harness.expectNothingLeft()
    }

    @Test("Frames behind a HELLO that fails are not looked at")
    func framesBehindFailedHello() throws {
        let harness = CoreHarness()
        let client = try harness.connect(Sample.peer(uid: 1000))
        harness.send(client) { packet in
            packet.appendHello(versionMin: 2, versionMax: 3, name: "")
            packet.appendPing(nonce: 5)
        }
        #expect(harness.take(client).map(\.disconnectReason) == [.unsupportedVersion])
        #expect(harness.clients[client].isClosed)
        harness.expectNothingLeft()
    }

    @Test("HELLO that comes twice ends the session, in the same packet and later")
    func helloTwice() throws {
        let harness = CoreHarness()
        let first = try harness.connect(Sample.peer(uid: 1000))
        harness.send(first) { packet in
            hello(&packet)
            hello(&packet)
        }
        #expect(harness.take(first).last?.disconnectReason == .protocolError)
        let second = try harness.join(uid: 1000)
        harness.send(second, hello)
        #expect(harness.take(second).map(\.disconnectReason) == [.protocolError])
        harness.expectNothingLeft()
    }

    @Test("Every other frame before HELLO ends the session", arguments: 0..<7)
    func framesBeforeHello(frame: Int) throws {
        let harness = CoreHarness()
        let client = try harness.connect(Sample.peer(uid: 0))
        let topic = Array("a".utf8)
        let subscribe = SubscribeFrame(
            token: 1, subscription: 1, queueBytesMax: 0, overflow: .disconnect,
            filters: [topic], uidRanges: [], gidRanges: [])
        harness.send(client) { packet in
            switch frame {
            case 0:
                packet.appendPublish(
                    token: 1, wantsAcknowledgement: true, topic: topic.span, payload: Span())
            case 1: packet.appendSubscribe(subscribe)
            case 2: packet.appendUnsubscribe(token: 1, subscription: 1)
            case 3: packet.appendPing(nonce: 1)
            case 4: packet.appendPong(nonce: 1)
            case 5: packet.appendDisconnect(reason: .success, explanation: "")
            default: packet.appendStatusRequest(token: 1)
            }
        }
        #expect(harness.take(client).map(\.disconnectReason) == [.protocolError])
        #expect(harness.broker.statistics.messagesAccepted == 0)
        harness.expectNothingLeft()
    }

    @Test("Frames that only the broker sends end the session", arguments: 0..<6)
    func brokerFrames(frame: Int) throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        let record = SenderRecord(
            attestation: Sample.attestation(uid: 0), opener: Sample.peer(uid: 0))
        let bytes = Array("a".utf8)
        harness.send(client) { packet in
            switch frame {
            case 0: packet.appendSender(record, origin: Span())
            case 1:
                packet.appendDeliver(
                    sequence: 1, subscription: 1, body: bytes.span, topicLength: 1)
            case 2: packet.appendLost(subscription: 1, count: 1)
            case 3:
                packet.appendReply(ReplyFrame(token: 1, reason: .success, request: .publish))
            case 4: packet.appendStatus(token: 1, fragment: bytes.span, hasMore: false)
            default:
                packet.appendWelcome(
                    WelcomeFrame(
                        version: 1, topicBytesMax: 1, packetBytesMax: 1, messageBytesMax: 1,
                        subscriptionsMax: 1, queueBytesMax: 1, session: 1, instance: 1,
                        client: record, brokerName: "", brokerVersion: ""))
            }
        }
        #expect(harness.take(client).map(\.disconnectReason) == [.protocolError])
        harness.expectNothingLeft()
    }

    @Test("A session without HELLO is ended after ten seconds")
    func timeout() throws {
        let harness = CoreHarness()
        let silent = try harness.connect(Sample.peer(uid: 1000))
        let greeted = try harness.join(uid: 1000)
        harness.pass(seconds: 9.9)
        #expect(harness.take(silent).isEmpty)
        harness.pass(seconds: 0.1)
        #expect(harness.take(silent).map(\.disconnectReason) == [.handshakeTimeout])
        #expect(harness.clients[silent].isClosed)
        #expect(harness.take(greeted).isEmpty)
        #expect(harness.broker.statistics.handshakesTimedOut == 1)
        harness.expectNothingLeft()
    }

    @Test("A name with control characters or too many bytes is refused")
    func wrongName() throws {
        let harness = CoreHarness()
        for name in ["a\nb", "a\u{85}", String(repeating: "x", count: 129)] {
            let client = try harness.connect(Sample.peer(uid: 1000))
            harness.send(client) { $0.appendHello(versionMin: 0, versionMax: 9, name: name) }
            #expect(harness.take(client).map(\.disconnectReason) == [.nameInvalid])
        }
        harness.expectNothingLeft()
    }

    @Test(
        "An unknown sender ends the session in every state",
        arguments: [
            PacketIdentity.unknown(.unrecorded), .unknown(.incomplete), .unknown(.truncated),
            .attested(Sample.attestation(uid: 4_294_967_295)),
            .attested(Sample.attestation(uid: 0, gid: 4_294_967_295)),
        ])
    func unknownIdentity(identity: PacketIdentity) throws {
        let harness = CoreHarness()
        let greeting = try harness.connect(Sample.peer(uid: 0))
        harness.send(greeting, from: identity, hello)
        #expect(harness.take(greeting).map(\.disconnectReason) == [.identityUnknown])

        let active = try harness.join(uid: 0)
        harness.subscribe(active, 1, "#")
        harness.publish(active, "a", acknowledge: true, from: identity)
        #expect(harness.take(active).map(\.disconnectReason) == [.identityUnknown])
        #expect(harness.broker.statistics.messagesAccepted == 0)

        let draining = try harness.join(uid: 0)
        harness.block(draining)
        harness.shutDown()
        harness.publish(draining, "a", from: identity)
        harness.unblock(draining)
        #expect(harness.take(draining).map(\.disconnectReason) == [.serverShuttingDown])
        #expect(harness.broker.statistics.packetsUnattested == 2)
        #expect(harness.broker.statistics.packetsIgnored == 1)
        harness.expectNothingLeft()
    }

    @Test("An opener whose uid is nobody's is refused")
    func openerWithoutUID() throws {
        let harness = CoreHarness()
        #expect(throws: CoreHarness.Refused.self) {
            try harness.connect(Sample.peer(uid: 4_294_967_295))
        }
        #expect(harness.broker.statistics.connectionsRefused == 1)
        harness.expectNothingLeft()
    }

    @Test("An empty packet and a packet without frames are different things")
    func emptyPackets() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.emptyPacket(client)
        #expect(harness.broker.statistics.packetsEmpty == 1)
        #expect(harness.take(client).isEmpty)
        harness.send(client, bytes: [0xC5, 0, 0xB7, 0, 8, 0, 0, 0])
        #expect(harness.take(client).map(\.disconnectReason) == [.malformedPacket])
        harness.expectNothingLeft()
    }

    @Test("Frames before a malformed one are carried out and answered, none behind it")
    func malformedFrame() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        var packet = PacketBuffer(capacityBytes: 1_000)
        let topic = Array("a".utf8)
        packet.appendPublish(
            token: 9, wantsAcknowledgement: true, topic: topic.span, payload: Span())
        packet.appendUnsubscribe(token: 10, subscription: 1)
        packet.appendPing(nonce: 1)
        packet.seal()
        var bytes = packet.span.copied()
        bytes[8 + 13 + 5] = 0x01
        harness.send(client, bytes: bytes)
        let received = harness.take(client)
        #expect(received.count == 2)
        #expect(received.first?.reply?.token == 9)
        #expect(received.last?.disconnectReason == .malformedPacket)
        harness.expectNothingLeft()
    }

    @Test("A packet that is too large ends the session once, also while it drains")
    func oversizedPacket() throws {
        let harness = CoreHarness()
        let active = try harness.join(uid: 1000)
        harness.oversizedPacket(active)
        #expect(harness.take(active).map(\.disconnectReason) == [.packetTooLarge])

        let subscriber = try harness.join(uid: 1000)
        let publisher = try harness.join(uid: 1000)
        harness.subscribe(subscriber, 1, "#")
        harness.block(subscriber)
        harness.publish(publisher, "a")
        harness.shutDown()
        harness.oversizedPacket(subscriber)
        harness.unblock(subscriber)
        let received = harness.take(subscriber)
        #expect(received.compactMap(\.delivery).map(\.topic) == ["a"])
        #expect(received.last?.disconnectReason == .serverShuttingDown)
        harness.expectNothingLeft()
    }

    @Test("Beyond the limits of an opener uid connections are refused and others are not")
    func connectionQuota() throws {
        var configuration = Sample.configuration()
        configuration.quotaLimits.connections = 3
        configuration.quotaLimits.greetings = 2
        let harness = CoreHarness(configuration)
        _ = try harness.connect(Sample.peer(uid: 1000))
        let second = try harness.connect(Sample.peer(uid: 1000))
        #expect(throws: CoreHarness.Refused.self) {
            try harness.connect(Sample.peer(uid: 1000))
        }
        harness.send(second, hello)
        let third = try harness.join(uid: 1001)
        _ = try harness.connect(Sample.peer(uid: 1000))
        #expect(throws: CoreHarness.Refused.self) {
            try harness.connect(Sample.peer(uid: 1000))
        }
        harness.close(second)
        _ = try harness.connect(Sample.peer(uid: 1001))
        harness.close(third)
        harness.expectNothingLeft()
    }

    @Test("A slot is reused under a new identity of the session, and old events do not reach it")
    func slotReuse() throws {
        let harness = CoreHarness()
        let old = try harness.join(uid: 1000)
        harness.subscribe(old, 1, "#")
        harness.close(old)
        let new = try harness.join(uid: 1001)
        #expect(harness.clients[old].id.slot == harness.clients[new].id.slot)
        #expect(harness.clients[old].id != harness.clients[new].id)
        harness.publish(old, "a", acknowledge: true)
        harness.pass(seconds: 10)
        #expect(harness.take(new).isEmpty)
        #expect(harness.broker.statistics.messagesAccepted == 0)
        harness.expectNothingLeft()
    }
}
