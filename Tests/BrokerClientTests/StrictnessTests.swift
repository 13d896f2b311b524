import BrokerWire
import TestSupport
import Testing

@testable import BrokerClient

@Suite struct StrictnessTests {
    /// A decoder that has seen WELCOME.
    private static func decoder() throws -> PacketDecoder {
        var decoder = PacketDecoder()
        var packet = PacketBuffer(capacityBytes: 1_024)
        packet.appendWelcome(.example)
        packet.seal()
        try decoder.decode(packet.span)
        return decoder
    }

    @Test func `a packet with a fault is rejected as a whole`() throws {
        for vector in try VectorFile.invalidPackets() where vector.way == .toClient {
            let isGreeting = vector.name.hasPrefix("WELCOME")
            var decoder = isGreeting ? PacketDecoder() : try Self.decoder()
            let bytes = vector.bytes
            let error = #expect(throws: BrokerClientError.self, "\(vector)") {
                try decoder.decode(bytes.span)
            }
            #expect(error?.code == .malformedPacket, "\(vector)")
            #expect(error?.farewell?.description == vector.reason, "\(vector)")
        }
    }

    @Test func `a packet without a fault is read`() throws {
        for vector in try VectorFile.validPackets() where vector.way == .toClient {
            let isGreeting = vector.name.hasPrefix("WELCOME")
            var decoder = isGreeting ? PacketDecoder() : try Self.decoder()
            let bytes = vector.bytes
            #expect(throws: Never.self, "\(vector)") { try decoder.decode(bytes.span) }
            let deliveries = decoder.deliveries
            if deliveries.frames == 0 || deliveries.isMixed { continue }
            let batch = BatchBuilder.whole(
                bytes.span, deliveries, followsReconnect: false, in: BatchMemory())
            #expect(batch.messages().count == batch.count, "\(vector)")
        }
    }

    @Test func `a packet cut short anywhere is rejected`() throws {
        for vector in try VectorFile.validPackets() where vector.way == .toClient {
            let bytes = vector.bytes
            for length in 1..<min(bytes.count, 400) {
                var decoder = try Self.decoder()
                let cut = Array(bytes.prefix(length))
                #expect(throws: BrokerClientError.self, "\(vector)") {
                    try decoder.decode(cut.span)
                }
            }
        }
    }

    @Test func `a malformed packet ends the session, and the broker is told`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect {
            $0.reconnect = .backOff(initial: .milliseconds(1), max: .milliseconds(1))
        }
        let subscribing = Task { try await client.subscribe(to: ["a"]) }
        let number = try await session.acceptSubscription().subscription
        let subscription = try await subscribing.value
        try session.send {
            $0.appendDeliver(1, to: number, topic: "a", payload: [])
        }
        var messages = subscription.makeAsyncIterator()
        let error = await #expect(throws: BrokerClientError.self) { try await messages.next() }
        #expect(error?.code == .malformedPacket)
        #expect(try await session.receiveFrame() == .disconnect(.malformedPacket))
    }

    @Test func `an answer that leaves out a publish is a protocol error`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let publishing = Task { try await client.publishAcknowledged("x", to: "t") }
        _ = try await session.receiveFrame()
        try await client.publish("y", to: "t")
        _ = try await session.receiveFrame()
        try session.send {
            $0.appendReply(ReplyFrame(token: 2, reason: .success, request: .publish))
        }
        let error = await #expect(throws: BrokerClientError.self) { try await publishing.value }
        #expect(error?.code == .malformedPacket)
        #expect(try await session.receiveFrame() == .disconnect(.protocolError))
    }

    @Test func `an answer to what nobody asked is a protocol error`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        try session.send {
            $0.appendReply(ReplyFrame(token: 9, reason: .success, request: .subscribe))
        }
        #expect(try await session.receiveFrame() == .disconnect(.protocolError))
        await client.close()
    }

    @Test func `frames behind DISCONNECT are not looked at`() throws {
        var decoder = try Self.decoder()
        var packet = PacketBuffer(capacityBytes: 1_024)
        packet.appendDisconnect(reason: .serverShuttingDown, explanation: "")
        packet.appendHello(versionMin: 1, versionMax: 1, name: "")
        packet.seal()
        try decoder.decode(packet.span)
        #expect(decoder.events.count == 1)
    }

    @Test(arguments: [false, true])
    func `messages before DISCONNECT arrive, whatever stands behind it`(
        isMixed: Bool
    ) async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect { $0.reconnect = .never }
        let subscribing = Task { try await client.subscribe(to: ["a"]) }
        let number = try await session.acceptSubscription().subscription
        let subscription = try await subscribing.value
        try session.send { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(1, to: number, topic: "a", payload: [1])
            if isMixed { packet.appendDeliver(2, to: number + 1, topic: "a", payload: [2]) }
            packet.appendDisconnect(reason: .serverShuttingDown, explanation: "")
            packet.appendDeliver(3, to: number, topic: "a", payload: [3])
            // A frame whose length is 0.
            packet.append(frame: [UInt8](repeating: 0, count: 8).span)
        }
        var messages = subscription.makeAsyncIterator()
        #expect(try await messages.next()?.payload == [1])
        let error = await #expect(throws: BrokerClientError.self) { try await messages.next() }
        #expect(error?.code == .disconnected(.serverShuttingDown))
    }
}
