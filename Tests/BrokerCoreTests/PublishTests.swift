import BrokerWire
import Testing

@testable import BrokerCore

@Suite("Publishing: decide, route, deliver")
struct PublishTests {
    @Test("A message reaches each matching subscription once, with both identities")
    func delivery() throws {
        let harness = CoreHarness()
        let publisher = try harness.join(uid: 1000, pid: 50)
        let subscriber = try harness.join(uid: 1001)
        harness.subscribe(subscriber, 1, "a/+", "a/#", "a/b")
        harness.subscribe(subscriber, 2, "a/b")
        harness.subscribe(subscriber, 3, "b")
        let attestation = Sample.attestation(uid: 1002, gid: 5, pid: 51, process: 77)
        harness.publish(publisher, "a/b", [1, 2], from: .attested(attestation))
        let deliveries = harness.takeDeliveries(subscriber)
        #expect(deliveries.map(\.subscription).sorted() == [1, 2])
        for delivery in deliveries {
            #expect(delivery.topic == "a/b")
            #expect(delivery.payload == [1, 2])
            #expect(delivery.sender.uid == 1002)
            #expect(delivery.sender.gid == 5)
            #expect(delivery.sender.pid == 51)
            #expect(delivery.sender.process == 77)
            #expect(delivery.sender.opener.uid == 1000)
            #expect(delivery.sender.isDelegated)
        }
        #expect(Set(deliveries.map(\.sequence)).count == 1)
        harness.expectNothingLeft()
    }

    @Test("Messages of several packets carry the sender of their own packet")
    func sendersPerPacket() throws {
        let harness = CoreHarness()
        let publisher = try harness.join(uid: 1000)
        let subscriber = try harness.join(uid: 1001)
        harness.subscribe(subscriber, 1, "#")
        harness.block(subscriber)
        for uid in [UInt32(1), 2_147_483_648, 4_294_967_294, 65_534, 0] {
            harness.publish(
                publisher, "t", count: 3, from: .attested(Sample.attestation(uid: uid)))
        }
        harness.unblock(subscriber)
        let uids = harness.takeDeliveries(subscriber).map(\.sender.uid)
        #expect(
            uids
                == [UInt32(1), 2_147_483_648, 4_294_967_294, 65_534, 0].flatMap {
                    [$0, $0, $0]
                })
        harness.expectNothingLeft()
    }

    @Test("Topics that begin with $ and ill-formed topics are refused by reason")
    func refusals() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 0)
        let topics = [
            "$SYS/x", "$", "", "a/+", "a#", "a\u{0}", String(repeating: "x", count: 1_025),
        ]
        let reasons: [ReasonCode] = [
            .notPermitted, .notPermitted, .topicNameInvalid, .topicNameInvalid,
            .topicNameInvalid, .topicNameInvalid, .topicNameInvalid,
        ]
        for (topic, reason) in zip(topics, reasons) {
            harness.publish(client, topic)
            let replies = harness.take(client).compactMap(\.reply)
            #expect(replies.map(\.reason) == [reason])
            #expect(replies.first?.explanation.isEmpty == false)
        }
        #expect(harness.broker.statistics.publishesRefused == 7)
        #expect(harness.broker.statistics.messagesAccepted == 0)
        harness.expectNothingLeft()
    }

    @Test("Long topics are delivered, each routed once")
    func longTopics() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.subscribe(client, 1, "#")
        for length in [127, 128, 129, 1_024] {
            let topic = String(repeating: "x", count: length)
            for _ in 0..<3 { harness.publish(client, topic) }
            #expect(harness.takeDeliveries(client).map(\.topic) == [topic, topic, topic])
        }
        #expect(harness.broker.routes.receivers.count == 1, "they have the same receiver")
        harness.expectNothingLeft()
    }

    @Test("Two topics of equal length and different subjects never share a decision")
    func decisionsArePerSubject() throws {
        let harness = CoreHarness(
            Sample.configuration(policy: .ownerOnly(brokerUID: Sample.brokerUID)))
        let client = try harness.join(uid: 0)
        for _ in 0..<3 {
            harness.publish(client, "a", acknowledge: true)
            harness.publish(
                client, "a", acknowledge: true,
                from: .attested(Sample.attestation(uid: 1000)))
        }
        let reasons = harness.take(client).compactMap(\.reply).map(\.reason)
        #expect(
            reasons == [
                .noMatchingSubscribers, .notPermitted, .noMatchingSubscribers, .notPermitted,
                .noMatchingSubscribers, .notPermitted,
            ])
        harness.expectNothingLeft()
    }

    @Test("When the table of subjects is full it starts over and decisions stay right")
    func subjectsOverflow() throws {
        let harness = CoreHarness(
            Sample.configuration(policy: .ownerOnly(brokerUID: Sample.brokerUID)))
        let client = try harness.join(uid: 0)
        harness.publish(client, "a", acknowledge: true)
        for gid in 0..<UInt32(Broker.subjectsMax) {
            let subject = Subject(
                SenderRecord(
                    attestation: Sample.attestation(uid: 1, gid: gid),
                    opener: Sample.peer(uid: 1)))
            _ = harness.subjectNumber(subject)
        }
        #expect(harness.broker.subjects.count <= Broker.subjectsMax)
        harness.publish(
            client, "a", acknowledge: true, from: .attested(Sample.attestation(uid: 1)))
        harness.publish(client, "a", acknowledge: true)
        let reasons = harness.take(client).compactMap(\.reply).map(\.reason)
        #expect(reasons == [.noMatchingSubscribers, .notPermitted, .noMatchingSubscribers])
        harness.expectNothingLeft()
    }

    @Test("Subscribing and unsubscribing takes effect on the next message of the same packet")
    func routesFollowSubscriptions() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        let topic = Array("a".utf8)
        let subscribe = SubscribeFrame(
            token: 1, subscription: 1, queueBytesMax: 0, overflow: .disconnect,
            filters: [topic], uidRanges: [], gidRanges: [])
        harness.publish(client, "a")
        harness.send(client) { packet in
            for token in UInt32(10)..<13 {
                packet.appendPublish(
                    token: token, wantsAcknowledgement: true, topic: topic.span, payload: Span())
                if token == 10 { packet.appendSubscribe(subscribe) }
                if token == 11 { packet.appendUnsubscribe(token: 2, subscription: 1) }
            }
        }
        let reasons = harness.take(client).compactMap(\.reply)
            .filter { $0.request == FrameType.publish.rawValue }.map(\.reason)
        #expect(reasons == [.noMatchingSubscribers, .success, .noMatchingSubscribers])
        harness.expectNothingLeft()
    }

    @Test("Sender ranges choose by attested uid and gid")
    func senderRanges() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.subscribe(
            client, 1, "#",
            from: (
                uids: [IDRange(first: 5, last: 6), IDRange(first: 9, last: 9)],
                gids: [IDRange(first: 4_294_967_294, last: 4_294_967_294)]
            ))
        for uid in UInt32(4)...10 {
            for gid in [UInt32(0), 4_294_967_294] {
                harness.publish(
                    client, "\(uid)/\(gid)",
                    from: .attested(Sample.attestation(uid: uid, gid: gid)))
            }
        }
        #expect(
            harness.takeDeliveries(client).map(\.topic) == [
                "5/4294967294", "6/4294967294", "9/4294967294",
            ])
        harness.expectNothingLeft()
    }

    @Test("Ten thousand different topics evict each other and are all delivered")
    func eviction() throws {
        let harness = CoreHarness()
        let client = try harness.join(uid: 1000)
        harness.subscribe(client, 1, "t/#")
        var topics: [String] = []
        for round in 0..<2 {
            for index in 0..<10_000 where round == 0 || index % 7 == 0 {
                topics.append("t/\(index)")
            }
        }
        for topic in topics { harness.publish(client, topic) }
        #expect(harness.takeDeliveries(client).map(\.topic) == topics)
        harness.expectNothingLeft()
    }

    @Test("A message of messageBytesMax is delivered, one byte more is refused")
    func largestMessage() throws {
        for packetBytesMax in [Limits.packetBytesMin, 60_000, 212_992, Limits.packetBytesMax] {
            let harness = CoreHarness(Sample.configuration(packetBytesMax: packetBytesMax))
            let client = try harness.join(uid: 1000)
            harness.subscribe(client, 1, "#")
            let largest = harness.broker.configuration.messageBytesMax
            harness.publish(client, "t", [UInt8](repeating: 1, count: largest - 1))
            harness.publish(client, "t", [UInt8](repeating: 2, count: largest))
            let received = harness.take(client)
            #expect(received.compactMap(\.delivery).map(\.payload.count) == [largest - 1])
            #expect(received.compactMap(\.reply).map(\.reason) == [.packetTooLarge])
            harness.expectNothingLeft()
        }
    }

    @Test("A packet above packetBytesMax ends the session, and nothing in it is taken")
    func oversizedPacket() throws {
        let harness = CoreHarness(
            Sample.configuration(packetBytesMax: Limits.packetBytesMin))
        let client = try harness.join(uid: 1000)
        harness.publish(client, "t", [UInt8](repeating: 0, count: 1_000), count: 17)
        #expect(harness.take(client).map(\.disconnectReason) == [.packetTooLarge])
        #expect(harness.broker.statistics.messagesAccepted == 0)
        harness.expectNothingLeft()
    }

    @Test("No packet is larger than packetBytesMax, however small that is")
    func smallPackets() throws {
        let harness = CoreHarness(
            Sample.configuration(packetBytesMax: Limits.packetBytesMin))
        let client = try harness.join(uid: 1000)
        harness.subscribe(client, 1, "#")
        harness.block(client)
        let payload = [UInt8](repeating: 1, count: 1_000)
        for _ in 0..<100 { harness.publish(client, "t", payload, acknowledge: true) }
        harness.unblock(client)
        let received = harness.take(client)
        #expect(received.compactMap(\.delivery).count == 100)
        #expect(received.compactMap(\.reply).count == 100)
        #expect((harness.clients[client].packetBytes.max() ?? 0) <= Limits.packetBytesMin)
        harness.statusDocument = [UInt8](repeating: 0x20, count: 100_000)
        harness.send(client) { $0.appendStatusRequest(token: 1) }
        #expect(harness.take(client).count > 6)
        harness.expectNothingLeft()
    }
}
