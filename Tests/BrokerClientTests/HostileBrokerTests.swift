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
}
