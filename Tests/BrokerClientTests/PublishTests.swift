import BrokerClient
import BrokerWire
import Testing

@Suite struct PublishTests {
    @Test func `a message published while all is quiet is sent before publish returns`()
        async throws
    {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        try await Task.sleep(for: .milliseconds(1))
        try await client.publish("21.5", to: "sensors/kitchen")
        let packet = try #require(try session.receiveNow())
        #expect(
            packet.frames == [
                .publish(
                    token: 1, acknowledge: false, topic: "sensors/kitchen",
                    payload: Array("21.5".utf8))
            ])
    }

    @Test func `many messages share few packets and keep their order`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let topic = try PreparedTopic("a/b")
        let count = 20_000
        // Nobody reads meanwhile: the socket fills up, and what comes then has to share packets,
        // however slow the machine is.
        for number in 0..<count {
            try await client.publish(Self.bytes(of: number), to: topic)
        }
        var received: [Int] = []
        var packets = 0
        while received.count < count {
            let packet = try await session.receive()
            packets += 1
            for frame in packet.frames {
                received.append(Self.number(of: try #require(frame.payload)))
                #expect(frame.token == UInt32(received.count))
            }
        }
        #expect(received == Array(0..<count))
        #expect(packets < count / 4)
    }

    @Test func `every way to name payload and topic says the same`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let topic = try PreparedTopic("t")
        let bytes = Array("x".utf8)
        try await client.publish(bytes, to: "t")
        try await client.publish("x", to: "t")
        try await client.publish(bytes.span, to: "t")
        try await client.publish(bytes, to: topic)
        try await client.publish("x", to: topic)
        try await client.publish(bytes.span, to: topic)
        #expect(try client.publishIfRoom(bytes.span, to: topic))
        #expect(try client.publishIfRoom(bytes.span, to: "t"))
        let frames = try await session.receiveFrames(8)
        #expect(
            frames
                == (1...8).map {
                    .publish(token: $0, acknowledge: false, topic: "t", payload: bytes)
                })
    }

    @Test func `one answer to many publishes reaches each of them`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let publishing = Task {
            try await withThrowingTaskGroup(of: Acknowledgement.self) { group in
                for _ in 0..<5 {
                    group.addTask { try await client.publishAcknowledged("x", to: "t") }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
        }
        _ = try await session.receiveFrames(5)
        try session.send { packet in
            packet.appendReply(
                ReplyFrame(token: 1, count: 3, sequence: 40, reason: .success, request: .publish))
            packet.appendReply(
                ReplyFrame(
                    token: 4, count: 2, sequence: 60, reason: .noMatchingSubscribers,
                    request: .publish))
        }
        let answers = try await publishing.value.sorted { $0.sequence < $1.sequence }
        let expected: [(UInt64, Bool)] = [
            (40, true), (41, true), (42, true), (60, false), (61, false),
        ]
        #expect(
            answers == expected.map { Acknowledgement(sequence: $0.0, hadSubscribers: $0.1) })
    }

    @Test func `a refused publish throws the broker's reason to who awaits it`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let publishing = Task { try await client.publishAcknowledged("x", to: "secret") }
        let token = try #require(try await session.receiveFrame().token)
        try session.send {
            $0.appendReply(
                ReplyFrame(
                    token: token, reason: .notPermitted, request: .publish,
                    explanation: "uid 1001 may not"))
        }
        let error = await #expect(throws: BrokerClientError.self) { try await publishing.value }
        #expect(error?.code == .refused(.notPermitted))
        #expect(error?.message.contains("uid 1001 may not") == true)
    }

    @Test func `refusals that nobody awaits come as a sequence`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        for _ in 0..<3 { try await client.publish("x", to: "secret") }
        _ = try await session.receiveFrames(3)
        try session.send { packet in
            packet.appendReply(
                ReplyFrame(token: 1, count: 2, reason: .notPermitted, request: .publish))
            packet.appendReply(
                ReplyFrame(
                    token: 3, reason: .quotaExceeded, request: .publish, explanation: "rate"))
        }
        let refusals = client.refusals.makeAsyncIterator()
        let first = try #require(try await refusals.next())
        let second = try #require(try await refusals.next())
        #expect(first.reason == .notPermitted && first.count == 2 && first.leftOutBefore == 0)
        #expect(second.reason == .quotaExceeded && second.explanation == "rate")
        await client.close()
        #expect(try await refusals.next() == nil)
    }

    @Test func `an answer may cover awaited and other publishes`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        try await client.publish("x", to: "t")
        _ = try await session.receiveFrames(1)
        let publishing = Task { try await client.publishAcknowledged("x", to: "t") }
        _ = try await session.receiveFrames(1)
        try session.send {
            $0.appendReply(
                ReplyFrame(token: 1, count: 2, reason: .notPermitted, request: .publish))
        }
        let error = await #expect(throws: BrokerClientError.self) { try await publishing.value }
        #expect(error?.code == .refused(.notPermitted))
        #expect(try await client.refusals.makeAsyncIterator().next()?.count == 1)
    }

    @Test func `topics are checked before anything is sent`() async throws {
        let broker = try FakeBroker()
        let (client, _) = try await broker.connect()
        for topic in ["", "a/+", "#", "a\nb", String(repeating: "x", count: 1_025)] {
            let code = await codeOfFailure { () throws(BrokerClientError) in
                try await client.publish("x", to: topic)
            }
            #expect(code == .invalidTopic)
        }
    }

    @Test func `what gathers leaves by itself, although nothing else happens`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        // Nobody reads meanwhile, so that the first of a burst is not taken for the only one.
        for burst in 0..<20 {
            for _ in 0..<3 { try await client.publish("x", to: "t") }
            let tokens = try await session.receiveFrames(3).compactMap(\.token)
            #expect(tokens == (1...3).map { UInt32(3 * burst + $0) })
        }
    }

    @Test func `without gathering each message is sent by the call, in a packet of its own`()
        async throws
    {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect { $0.gathers = false }
        for burst in 0..<20 {
            for _ in 0..<3 { try await client.publish("x", to: "t") }
            // Everything is in the socket by now: nobody else need send it.
            for number in 1...3 {
                let packet = try #require(try session.receiveNow())
                #expect(packet.frames.compactMap(\.token) == [UInt32(3 * burst + number)])
            }
        }
    }

    @Test func `little room makes publishing slow, not impossible`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect { $0.pendingBytesMax = 30 }
        let publishing = Task {
            for _ in 0..<200 { try await client.publish("0123456789", to: "t") }
        }
        let tokens = try await session.receiveFrames(200).compactMap(\.token)
        #expect(tokens == Array(1...200))
        try await publishing.value
    }

    @Test func `large and small messages keep their order and their bytes`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let sizes = [1, 70_000, 3, 65_536, 65_536, 10_000, 60_000, 200_000, 0, 64_000, 5_000]
        let publishing = Task {
            for (index, size) in sizes.enumerated() {
                let payload = [UInt8](repeating: UInt8(index), count: size)
                try await client.publish(payload, to: "t")
            }
        }
        let payloads = try await session.receiveFrames(sizes.count).compactMap(\.payload)
        try await publishing.value
        #expect(payloads.map(\.count) == sizes)
        for (index, payload) in payloads.enumerated() {
            #expect(payload.allSatisfy { $0 == UInt8(index) })
        }
    }

    @Test func `an acknowledged publish behind others does not wait for more of them`()
        async throws
    {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        for _ in 0..<100 { try await client.publish("x", to: "t") }
        let publishing = Task { try await client.publishAcknowledged("last", to: "t") }
        let frames = try await session.receiveFrames(101)
        #expect(frames.last?.payload == Array("last".utf8))
        try session.send {
            $0.appendReply(
                ReplyFrame(token: 101, sequence: 7, reason: .success, request: .publish))
        }
        #expect(try await publishing.value.sequence == 7)
    }

    @Test(arguments: [
        (Limits.packetBytesMax, "that is the protocol's limit"),
        (65_536, "sysctl net.core.wmem_max"),
    ])
    func `a message that is too large says what the limit is`(
        packetBytesMax: Int, advice: String
    ) async throws {
        let broker = try FakeBroker()
        let connecting = Task {
            try await BrokerClient.connect(BrokerClient.Configuration(socketPath: broker.path))
        }
        _ = try await broker.welcome { $0.packetBytesMax = UInt32(packetBytesMax) }
        let client = try await connecting.value
        // A machine whose own sockets carry less says so.
        let isOwnLimit = client.session.limits.packetBytesMax < packetBytesMax
        let error = await #expect(throws: BrokerClientError.self) {
            try await client.publish([UInt8](repeating: 1, count: packetBytesMax), to: "t")
        }
        #expect(error?.message.contains(isOwnLimit ? "sysctl net.core.wmem_max" : advice) == true)
    }

    @Test func `a message that fits no packet is refused with the limit`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let limit = client.session.limits.messageBytesMax
        let code = await codeOfFailure { () throws(BrokerClientError) in
            try await client.publish([UInt8](repeating: 1, count: limit), to: "t")
        }
        #expect(code == .messageTooLarge(limitBytes: limit))
        let largest = [UInt8](repeating: 2, count: limit - 1)
        try await client.publish(largest, to: "t")
        #expect(try await session.receiveFrame().payload == largest)
        try await client.publish("small again", to: "t")
        #expect(try await session.receiveFrame().payload == Array("small again".utf8))
    }

    @Test func `publishing waits while the broker does not read, and loses nothing`()
        async throws
    {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect { $0.pendingBytesMax = 200_000 }
        let topic = try PreparedTopic("t")
        let payload = [UInt8](repeating: 7, count: 1_000)
        var published = 0
        while try client.publishIfRoom(payload.span, to: topic) { published += 1 }
        #expect(published > 200)
        let publishing = Task { try await client.publish("the last", to: topic) }
        let flushing = Task { try await client.flush() }
        var frames: [ClientFrame] = []
        while frames.count < published + 1 {
            frames += try await session.receive().frames
        }
        try await publishing.value
        try await flushing.value
        #expect(frames.compactMap(\.token) == Array(1...UInt32(published + 1)))
        #expect(frames.last?.payload == Array("the last".utf8))
    }

    @Test func `flush means that the kernel has everything`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        for _ in 0..<10 { try await client.publish("x", to: "t") }
        try await client.flush()
        var count = 0
        while let packet = try session.receiveNow() { count += packet.frames.count }
        #expect(count == 10)
    }

    @Test func `a ping measures the way to the broker and back`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let pinging = Task { try await client.ping() }
        guard case .ping(let nonce) = try await session.receiveFrame() else {
            throw TestFailure("no PING")
        }
        try session.send { $0.appendPong(nonce: nonce) }
        #expect(try await pinging.value > .zero)
    }

    @Test func `the status is put together from its fragments`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let asking = Task { try await client.status() }
        let token = try #require(try await session.receiveFrame().token)
        try session.send {
            $0.appendStatus(token: token, fragment: Array("{\"a\"".utf8).span, hasMore: true)
        }
        try session.send {
            $0.appendStatus(token: token, fragment: Array(":1}".utf8).span, hasMore: false)
        }
        #expect(try await asking.value == Array("{\"a\":1}".utf8))
    }

    @Test func `a refused status throws the reason`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let asking = Task { try await client.status() }
        let token = try #require(try await session.receiveFrame().token)
        try session.send {
            $0.appendReply(
                ReplyFrame(token: token, reason: .notPermitted, request: .statusRequest))
        }
        let error = await #expect(throws: BrokerClientError.self) { try await asking.value }
        #expect(error?.code == .refused(.notPermitted))
    }

    private static func bytes(of number: Int) -> [UInt8] {
        [UInt8(number & 0xFF), UInt8(number >> 8 & 0xFF), UInt8(number >> 16)]
    }

    private static func number(of bytes: [UInt8]) -> Int {
        Int(bytes[0]) | Int(bytes[1]) << 8 | Int(bytes[2]) << 16
    }
}
