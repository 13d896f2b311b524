import BrokerClient
import BrokerWire
import LinuxIO
import TestSupport
import Testing

/// A broker that breaks the protocol on purpose can end the session, and nothing more.
@Suite struct HostileBrokerTests {
    private static func subscribe(
        _ client: BrokerClient, _ session: FakeSession,
        handler: @escaping BrokerClient.BatchHandler
    ) async throws -> (subscription: Subscription, number: UInt32) {
        let subscribing = Task { try await client.subscribe(to: ["t"], handler: handler) }
        let number = try await session.acceptSubscription().subscription
        return (try await subscribing.value, number)
    }

    private static func packet(_ build: (inout PacketBuffer) -> Void) -> [UInt8] {
        var packet = PacketBuffer(capacityBytes: Limits.packetBytesMax)
        build(&packet)
        packet.seal()
        return packet.span.copied()
    }

    /// Packets that are quickly sent and slowly read, for as long as anybody takes them, from a
    /// thread of their own: tasks would have to wait for others.
    private static func flood(_ session: FakeSession) -> Flag {
        let pings = packet { packet in
            for nonce in 0..<UInt64(4_000) { packet.appendPing(nonce: nonce) }
        }
        let isOver = Flag()
        _ = SystemThread.start(name: "flood") {
            while !isOver.isSet, (try? session.send(bytes: pings.span)) != nil {}
        }
        return isOver
    }

    // MARK: Descriptors

    @Test func `descriptors behind an empty packet do not stay open`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let (entered, released) = (Flag(), Flag())
        // Holds up the client's thread until all is there that it is to read at once.
        let (subscription, number) = try await Self.subscribe(client, session) { _ in
            entered.set()
            while !released.isSet {}
        }
        try session.send { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(1, to: number, topic: "t", payload: [])
        }
        try await eventually("a message") { entered.isSet }
        var pair = try SeqpacketPair()
        guard let kept = pair.first.take() else { throw TestFailure("half a pair") }
        #expect(try session.send(bytes: [UInt8]().span))
        if let given = pair.second.take() {
            // Refused by kernels from 6.16 on.
            try? session.send(descriptor: given)
        }
        released.set()
        try await eventually("the descriptor to be closed") {
            var receiver = PacketReceiver(slots: 1, packetBytesMax: 16)
            return receiver.receive(from: kept) == .endOfStream
        }
        await client.close()
        subscription.cancel()
    }

    // MARK: Floods

    /// Reads nothing, and sends the next message whenever one is being handled: there is always
    /// one more to read.
    private static func sendWithoutEnd(
        _ client: BrokerClient, _ session: FakeSession
    ) async throws -> Subscription {
        let (subscription, number) = try await subscribe(client, session) { batch in
            batch.forEach { message in
                // The number of the subscription is in the payload.
                let number = UInt32(message.payload[0])
                try? session.send { appendMessage(to: number, &$0) }
            }
        }
        try session.stopReading()
        try session.send { appendMessage(to: number, &$0) }
        return subscription
    }

    private static func appendMessage(to number: UInt32, _ packet: inout PacketBuffer) {
        packet.appendSender(uid: 1)
        packet.appendDeliver(1, to: number, topic: "t", payload: [UInt8(number)])
    }

    @Test func `a broker that reads nothing and sends without end is left`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let subscription = try await Self.sendWithoutEnd(client, session)
        let ended = Flag()
        let publishing = Task {
            let error = await #expect(throws: BrokerClientError.self) {
                try await client.publishAcknowledged("x", to: "t")
            }
            #expect(error?.code == .disconnected(.unspecifiedError))
            ended.set()
        }
        try await eventually("the end of the session") { ended.isSet }
        await publishing.value
        subscription.cancel()
    }

    @Test func `closing does not wait for a broker that sends without end`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let subscription = try await Self.sendWithoutEnd(client, session)
        let closed = Flag()
        let closing = Task {
            await client.close()
            closed.set()
        }
        try await eventually("the client to be closed") { closed.isSet }
        await closing.value
        subscription.cancel()
    }

    @Test func `packets without WELCOME among them do not put off the end of connecting`()
        async throws
    {
        let broker = try FakeBroker()
        var configuration = BrokerClient.Configuration(socketPath: broker.path)
        configuration.connectTimeout = .milliseconds(100)
        let connecting = Task { [configuration] in try await BrokerClient.connect(configuration) }
        let flood = Self.flood(try await broker.accept())
        let error = await #expect(throws: BrokerClientError.self) { try await connecting.value }
        #expect(error?.code == .timedOut)
        flood.set()
    }

    /// A client must read what a broker left behind when it hung up. That must not become a way
    /// around the limit of what it holds.
    @Test func `hanging up again and again does not fill the client's memory`() async throws {
        let broker = try FakeBroker()
        let payload = [UInt8](repeating: 1, count: 100_000)
        let (client, first) = try await broker.connect {
            $0.receiveBytesMax = 10_000
            $0.reconnect = .backOff(initial: .milliseconds(1), max: .milliseconds(1))
        }
        let subscribing = Task { try await client.subscribe(to: ["t"]) }
        let number = try await first.acceptSubscription().subscription
        let subscription = try await subscribing.value
        let deliveries = Self.packet { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(1, to: number, topic: "t", payload: payload)
        }
        var session = first
        for _ in 0..<100 {
            while (try? session.send(bytes: deliveries.span)) == true {}
            session.close()
            session = try await broker.accept()
            try? session.send { $0.appendWelcome(.example) }
        }
        session.close()
        await client.close()
        var count = 0
        for try await _ in subscription { count += 1 }
        // 100 sessions of 200 kB and more.
        #expect(count * payload.count < 8_000_000)
    }

    // MARK: Answers

    enum Answer: String, CaseIterable {
        case successInsteadOfDocument
        case replyOfAnotherKind
        case replyToSeveral
        case fragmentOfAnotherKind
        case fragmentOfNothing
        case unknownReply
        case unknownFragment
        case unknownPong

        func append(to packet: inout PacketBuffer, token: UInt32, isStatus: Bool) {
            let document = Array("{}".utf8)
            let request = isStatus ? FrameType.statusRequest : .adminRequest
            let right = isStatus ? FrameType.status : .adminReply
            let wrong = isStatus ? FrameType.adminReply : .status
            switch self {
            case .successInsteadOfDocument:
                packet.appendReply(ReplyFrame(token: token, reason: .success, request: request))
            case .replyOfAnotherKind:
                packet.appendReply(
                    ReplyFrame(token: token, reason: .notPermitted, request: .unsubscribe))
            case .replyToSeveral:
                packet.appendReply(
                    ReplyFrame(token: token, count: 2, reason: .notPermitted, request: request))
            case .fragmentOfAnotherKind:
                packet.appendStatus(wrong, token: token, fragment: document.span, hasMore: false)
            case .fragmentOfNothing:
                packet.appendStatus(right, token: token, fragment: [UInt8]().span, hasMore: true)
            case .unknownReply:
                packet.appendReply(
                    ReplyFrame(token: token + 1, reason: .notPermitted, request: request))
            case .unknownFragment:
                packet.appendStatus(right, token: token + 1, fragment: document.span, hasMore: true)
            case .unknownPong:
                packet.appendPong(nonce: 99)
            }
        }
    }

    @Test(arguments: Answer.allCases, [true, false])
    func `an answer that breaks the protocol ends the session, and fails who waits`(
        answer: Answer, isStatus: Bool
    ) async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let asking = Task {
            isStatus ? try await client.status() : try await client.administer("acl.reload")
        }
        let token = try #require(try await session.receiveFrame().token)
        try session.send { answer.append(to: &$0, token: token, isStatus: isStatus) }
        #expect(try await session.receiveFrame() == .disconnect(.protocolError))
        let failed = Flag()
        let watching = Task {
            let error = await #expect(throws: BrokerClientError.self) { try await asking.value }
            #expect(error?.code == .malformedPacket)
            failed.set()
        }
        try await eventually("the failure") { failed.isSet }
        await watching.value
    }

    @Test func `a document without end is given up, and fails who waits`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let asking = Task { try await client.status() }
        let token = try #require(try await session.receiveFrame().token)
        let fragment = [UInt8](repeating: 0x20, count: 200_000)
        let packet = Self.packet { packet in
            packet.appendStatus(token: token, fragment: fragment.span, hasMore: true)
        }
        let failed = Flag()
        let watching = Task {
            let error = await #expect(throws: BrokerClientError.self) { try await asking.value }
            #expect(error?.code == .malformedPacket)
            failed.set()
        }
        try await eventually("the failure") {
            // Nobody reads any more when the session has ended.
            while (try? session.send(bytes: packet.span)) == true {}
            return failed.isSet
        }
        await watching.value
    }

    @Test(
        arguments: [
            [(4, 1)], [(3, 2)], [(1, .max)], [(0, 1)], [(.max, 4)], [(1, 2), (2, 1)],
            [(3, 1), (1, 1)], [(1, 3), (1, 3)],
        ] as [[(UInt32, UInt32)]])
    func `refusals of publishes that were not made end the session`(
        answers: [(UInt32, UInt32)]
    ) async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        for _ in 0..<3 { try await client.publish("x", to: "t") }
        try await client.flush()
        _ = try await session.receiveFrames(3)
        try session.send { packet in
            for (token, count) in answers {
                packet.appendReply(
                    ReplyFrame(
                        token: token, count: count, reason: .notPermitted, request: .publish))
            }
        }
        #expect(try await session.receiveFrame() == .disconnect(.protocolError))
        #expect(try await session.receive().isEnd)
        await client.close()
    }

    @Test func `publishes of the session before are not answered in the next`() async throws {
        let broker = try FakeBroker()
        let (client, first) = try await broker.connect {
            $0.reconnect = .backOff(initial: .milliseconds(1), max: .milliseconds(1))
        }
        try await client.publish("x", to: "t")
        try await client.flush()
        #expect(try await first.receiveFrame().token == 1)
        first.close()
        let second = try await broker.welcome()
        try await client.publish("y", to: "t")
        try await client.flush()
        #expect(try await second.receiveFrame().token == 2)
        try second.send {
            $0.appendReply(
                ReplyFrame(token: 1, reason: .notPermitted, request: .publish))
        }
        #expect(try await second.receiveFrame() == .disconnect(.protocolError))
        await client.close()
    }

    // MARK: Words

    @Test func `what a broker says of itself and its reasons is one line`() async throws {
        let broker = try FakeBroker()
        let configuration = BrokerClient.Configuration(socketPath: broker.path)
        let connecting = Task { try await BrokerClient.connect(configuration) }
        let session = try await broker.welcome {
            $0.brokerName = "harbour\nfake: yes"
            $0.brokerVersion = "1\u{1B}[2J"
        }
        let client = try await connecting.value
        #expect(client.session.brokerName == "harbour\u{FFFD}fake: yes")
        #expect(client.session.brokerVersion == "1\u{FFFD}[2J")
        let asking = Task { try await client.status() }
        let token = try #require(try await session.receiveFrame().token)
        try await client.publish("x", to: "t")
        _ = try await session.receiveFrame()
        let explanation = "no\nfake: yes\u{9B}2J é"
        try session.send { packet in
            packet.appendReply(
                ReplyFrame(
                    token: token, reason: .notPermitted, request: .statusRequest,
                    explanation: explanation))
            packet.appendReply(
                ReplyFrame(
                    token: 1, reason: .notPermitted, request: .publish, explanation: explanation))
        }
        let error = await #expect(throws: BrokerClientError.self) { try await asking.value }
        let shown = "no\u{FFFD}fake: yes\u{FFFD}2J é"
        #expect(error?.message.hasSuffix(": " + shown) == true)
        let refusal = try await client.refusals.makeAsyncIterator().next()
        #expect(refusal?.explanation == shown)
    }

    // MARK: Anything at all

    /// Random frames, most of them well-formed, about what the client has asked for as often as
    /// not.
    private static func anything(
        _ random: inout SeededRandom, subscription: UInt32
    ) -> [UInt8] {
        var bytes = packet { packet in
            for _ in 0..<random.int(in: 1...4) {
                switch random.int(in: 0...7) {
                case 0:
                    packet.appendSender(uid: 1)
                    packet.appendDeliver(random.next(), to: subscription, topic: "t", payload: [1])
                case 1: packet.appendLost(subscription: subscription, count: max(1, random.next()))
                case 2:
                    packet.appendReply(
                        ReplyFrame(
                            token: UInt32(random.int(in: 1...6)),
                            count: UInt32(random.int(in: 1...3)), sequence: random.next(),
                            reason: random.pick([.success, .notPermitted]), request: .publish))
                case 3:
                    packet.appendStatus(
                        random.pick([.status, .adminReply]), token: UInt32(random.int(in: 1...5)),
                        fragment: Array("{}".utf8).span, hasMore: random.bool())
                default:
                    let type = random.pick(RandomFrames.types(.toClient))
                    RandomFrames.append(type, to: &packet, &random)
                }
            }
        }
        if random.oneIn(4) {
            let index = random.int(in: 0...(bytes.count - 1))
            bytes[index] = UInt8(truncatingIfNeeded: random.next())
        }
        return random.oneIn(50) ? [] : bytes
    }

    @Test func `whatever a broker sends, everybody who waits is answered`() async throws {
        var random = SeededRandom()
        for round in 0..<60 {
            let broker = try FakeBroker()
            let (client, session) = try await broker.connect()
            let (subscription, number) = try await Self.subscribe(client, session) { batch in
                batch.forEach { _ = $0.topic.text() }
            }
            let waiting: [Task<Void, Never>] = [
                Task { _ = try? await client.publishAcknowledged("x", to: "t") },
                Task { _ = try? await client.publish("y", to: "t") },
                Task { _ = try? await client.status() },
                Task { _ = try? await client.administer("acl.reload") },
                Task { _ = try? await client.ping() },
                Task { _ = try? await client.subscribe(to: ["u"]) },
            ]
            for _ in 0..<random.int(in: 1...30) {
                let bytes = Self.anything(&random, subscription: number)
                guard (try? session.send(bytes: bytes.span)) != nil else { break }
                if random.bool() { await Task.yield() }
            }
            let done = Flag()
            let ending = Task {
                if round % 2 == 0 { session.close() } else { await client.close() }
                for task in waiting { await task.value }
                await client.close()
                done.set()
            }
            try await eventually("the end of round \(round); \(random)") { done.isSet }
            await ending.value
            subscription.cancel()
        }
    }
}
