import BrokerClient
import BrokerWire
import Testing

@Suite struct PublishManyTests {
    /// Payloads of many sizes, none like another.
    private struct Payloads {
        var bytes: [UInt8] = []
        var byteCounts: [Int] = []
        var each: [[UInt8]] = []

        init(count: Int, bytesMax: Int) {
            for number in 0..<count {
                let digits = Array("\(number)".utf8)
                // Empty ones as well.
                let size = number % 10 == 7 ? 0 : max(digits.count, (number * 37) % bytesMax)
                let payload =
                    size == 0 ? [] : digits + [UInt8](repeating: 1, count: size - digits.count)
                each.append(payload)
                bytes += payload
                byteCounts.append(size)
            }
        }
    }

    private func receive(
        _ count: Int, from session: FakeSession
    ) async throws -> (frames: [ClientFrame], packets: Int) {
        var frames: [ClientFrame] = []
        var packets = 0
        while frames.count < count {
            frames += try await session.receive().frames
            packets += 1
        }
        return (frames, packets)
    }

    private func expect(_ frames: [ClientFrame], are payloads: Payloads, topic: String) {
        #expect(frames.count == payloads.each.count)
        let different = zip(frames, payloads.each).enumerated().first { number, pair in
            pair.0
                != .publish(
                    token: UInt32(number + 1), acknowledge: false, topic: topic, payload: pair.1)
        }
        #expect(different?.offset == nil)
    }

    @Test(arguments: [true, false])
    func `messages published together arrive one by one, in order and in few packets`(
        gathers: Bool
    ) async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect { $0.gathers = gathers }
        let payloads = Payloads(count: 3_000, bytesMax: 300)
        async let received = receive(3_000, from: session)
        try await client.publish(
            payloads.bytes.span, byteCounts: payloads.byteCounts.span, to: "a/b")
        try await client.flush()
        let (frames, packets) = try await received
        expect(frames, are: payloads, topic: "a/b")
        #expect(packets < 50)
    }

    @Test func `as many as there is room for are taken, the others later, and none twice`()
        async throws
    {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect { $0.pendingBytesMax = 200_000 }
        let payloads = Payloads(count: 10_000, bytesMax: 500)
        let topic = try PreparedTopic("t")
        let taken = try client.publishIfRoom(
            payloads.bytes.span, byteCounts: payloads.byteCounts.span, to: topic)
        #expect(taken > 400 && taken < 10_000)
        let start = payloads.byteCounts[..<taken].reduce(0, +)
        let bytes = Array(payloads.bytes[start...])
        let byteCounts = Array(payloads.byteCounts[taken...])
        let publishing = Task {
            try await client.publish(bytes.span, byteCounts: byteCounts.span, to: topic)
            try await client.flush()
        }
        let (frames, _) = try await receive(10_000, from: session)
        try await publishing.value
        expect(frames, are: payloads, topic: "t")
    }

    @Test func `one that is too large keeps all of them back`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let large = client.session.limits.messageBytesMax
        let payloads = [UInt8](repeating: 1, count: large + 2)
        await #expect(throws: BrokerClientError.self) {
            try await client.publish(
                payloads.span, byteCounts: [1, large, 1].span, to: "t")
        }
        try await client.publish("small", to: "t")
        #expect(try await session.receiveFrame().payload == Array("small".utf8))
    }

    @Test func `none at all is nothing to send`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let nothing: [UInt8] = []
        let none: [Int] = []
        try await client.publish(nothing.span, byteCounts: none.span, to: "t")
        #expect(try client.publishIfRoom(nothing.span, byteCounts: none.span, to: "t") == 0)
        try await client.publish("something", to: "t")
        #expect(try await session.receiveFrame().payload == Array("something".utf8))
    }

    @Test func `payloads that do not have the bytes that are said are a mistake of the caller's`()
        async
    {
        await #expect(processExitsWith: .failure) {
            let broker = try FakeBroker()
            let (client, _) = try await broker.connect()
            _ = try client.publishIfRoom([1, 2, 3].span, byteCounts: [2, 2].span, to: "t")
        }
        await #expect(processExitsWith: .failure) {
            let broker = try FakeBroker()
            let (client, _) = try await broker.connect()
            _ = try client.publishIfRoom([1, 2, 3].span, byteCounts: [4, -1].span, to: "t")
        }
    }
}
