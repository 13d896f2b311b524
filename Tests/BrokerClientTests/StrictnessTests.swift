@testable import BrokerClient
import BrokerWire
import Foundation
import Testing

@Suite struct StrictnessTests {
    struct Vector: Decodable, Sendable, CustomStringConvertible {
        let name: String
        let way: String
        let hex: String
        let reason: String?

        var description: String { name }

        var bytes: [UInt8] {
            var rest = Substring(hex)
            var bytes: [UInt8] = []
            while let byte = UInt8(rest.prefix(2), radix: 16) {
                bytes.append(byte)
                rest = rest.dropFirst(2)
            }
            return bytes
        }
    }

    private struct File: Decodable {
        let packets: [Vector]
    }

    /// The packets that a broker may (not) send.
    private static func vectors(_ name: String) -> [Vector] {
        let directory = URL(filePath: #filePath).deletingLastPathComponent()
        let path = directory.appending(path: "../../Protocol/vectors/\(name).json")
        guard let data = try? Data(contentsOf: path),
            let file = try? JSONDecoder().decode(File.self, from: data)
        else { return [] }
        return file.packets.filter { $0.way == "toClient" }
    }

    /// A decoder that has seen WELCOME.
    private static func decoder() throws -> PacketDecoder {
        var decoder = PacketDecoder()
        var packet = PacketBuffer(capacityBytes: 1_024)
        packet.appendWelcome(.example)
        packet.seal()
        try decoder.decode(packet.span)
        return decoder
    }

    /// The protocol has decided otherwise since these were written: such text is shown with
    /// U+FFFD, and such flags are not looked at (sections 3 and 6).
    private static func isOutdated(_ vector: Vector) -> Bool {
        vector.name.hasSuffix("not UTF-8") || vector.name.contains("flag of the record")
    }

    @Test(arguments: vectors("packets-invalid").filter { !isOutdated($0) })
    func `a packet with a fault is rejected as a whole`(_ vector: Vector) throws {
        let bytes = vector.bytes
        var decoder = vector.name.hasPrefix("WELCOME") ? PacketDecoder() : try Self.decoder()
        let error = #expect(throws: BrokerClientError.self) { try decoder.decode(bytes.span) }
        #expect(error?.code == .malformedPacket)
        #expect(error?.farewell?.description == vector.reason)
    }

    @Test(arguments: vectors("packets-valid"))
    func `a packet without a fault is read`(_ vector: Vector) throws {
        let bytes = vector.bytes
        var decoder = vector.name.hasPrefix("WELCOME") ? PacketDecoder() : try Self.decoder()
        try decoder.decode(bytes.span)
        if decoder.deliveries.frames > 0, !decoder.deliveries.isMixed {
            let batch = BatchBuilder.whole(
                bytes.span, decoder.deliveries, followsReconnect: false)
            #expect(batch.messages().count == batch.count)
        }
    }

    @Test(arguments: vectors("packets-valid").prefix(40))
    func `a packet cut short anywhere is rejected`(_ vector: Vector) throws {
        let bytes = vector.bytes
        for length in 1..<bytes.count {
            var decoder = try Self.decoder()
            let cut = Array(bytes.prefix(length))
            #expect(throws: BrokerClientError.self) { try decoder.decode(cut.span) }
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

    @Test func `a REPLY of four thousand million answers costs nothing`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        try session.send { packet in
            packet.appendReply(
                ReplyFrame(
                    token: 1, count: .max, sequence: .max, reason: .notPermitted,
                    request: .publish))
            packet.appendPing(nonce: 4)
        }
        #expect(try await session.receiveFrame() == .pong(4))
        #expect(try await client.refusals.makeAsyncIterator().next()?.count == Int(UInt32.max))
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
}
