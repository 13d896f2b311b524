import BrokerClient
import BrokerWire
import Foundation
import Testing

@Suite struct LifecycleTests {
    @Test func `closing sends what is pending, says goodbye and hangs up`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        for _ in 0..<100 { try await client.publish("x", to: "t") }
        await client.close()
        let frames = try await session.receiveFrames(101)
        #expect(frames.prefix(100).compactMap(\.token) == Array(1...100))
        #expect(frames.last == .disconnect(.success))
        #expect(try await session.receive().isEnd)
        await client.close()
    }

    @Test func `closing fails what is awaited and finishes sequences`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let subscribing = Task { try await client.subscribe(to: ["a"]) }
        _ = try await session.acceptSubscription()
        let subscription = try await subscribing.value
        let publishing = Task { try await client.publishAcknowledged("x", to: "t") }
        let pinging = Task { try await client.ping() }
        _ = try await session.receiveFrames(2)
        let consuming = Task {
            for try await _ in subscription {}
        }
        await client.close()
        let publishError = await #expect(throws: BrokerClientError.self) {
            try await publishing.value
        }
        #expect(publishError?.code == .closed)
        let pingError = await #expect(throws: BrokerClientError.self) { try await pinging.value }
        #expect(pingError?.code == .closed)
        try await consuming.value
        let code = await codeOfFailure { () throws(BrokerClientError) in
            try await client.flush()
        }
        #expect(code == .closed)
    }

    @Test func `a client that is dropped says goodbye`() async throws {
        let broker = try FakeBroker()
        let session = try await broker.connect().session
        #expect(try await session.receiveFrame() == .disconnect(.success))
        #expect(try await session.receive().isEnd)
    }

    @Test func `a subscription keeps the client alive`() async throws {
        let broker = try FakeBroker()
        var client: BrokerClient?
        let session: FakeSession
        (client, session) = try await broker.connect()
        let subscribing = Task { [client] in try await client?.subscribe(to: ["a"]) }
        let number = try await session.acceptSubscription().subscription
        let subscription = try #require(try await subscribing.value)
        client = nil
        try session.send { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(1, to: number, topic: "a", payload: [])
        }
        var messages = subscription.makeAsyncIterator()
        #expect(try await messages.next()?.sequence == 1)
    }

    @Test func `cancelling stops the wait for an answer`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let publishing = Task { try await client.publishAcknowledged("x", to: "t") }
        let token = try #require(try await session.receiveFrame().token)
        publishing.cancel()
        let error = await #expect(throws: BrokerClientError.self) { try await publishing.value }
        #expect(error?.code == .cancelled)
        // The answer comes all the same and confuses nobody.
        try session.send { packet in
            packet.appendReply(ReplyFrame(token: token, reason: .success, request: .publish))
            packet.appendPing(nonce: 1)
        }
        #expect(try await session.receiveFrame() == .pong(1))
    }

    @Test func `cancelling stops connecting`() async throws {
        let broker = try FakeBroker()
        let configuration = BrokerClient.Configuration(socketPath: broker.path)
        let connecting = Task { try await BrokerClient.connect(configuration) }
        let session = try await broker.accept()
        _ = try await session.receive()
        connecting.cancel()
        let error = await #expect(throws: BrokerClientError.self) { try await connecting.value }
        #expect(error?.code == .cancelled)
        #expect(try await session.receive().isEnd)
    }

    /// In a process of its own, since other tests open descriptors of theirs meanwhile.
    @Test func `a hundred clients leave no descriptor and no thread behind`() async {
        await #expect(processExitsWith: .success) {
            let broker = try FakeBroker()
            let before = try Self.open()
            for index in 0..<100 {
                let (client, session) = try await broker.connect()
                try await client.publish("x", to: "t")
                if index % 2 == 0 { await client.close() }
                session.close()
            }
            // Swift's own thread pool opens a few for its timers and keeps them.
            try await eventually("the end of all clients") {
                let now = try Self.open()
                return now.descriptors < before.descriptors + 10 && now.threads == 0
            }
        }
    }

    private static func open() throws -> (descriptors: Int, threads: Int) {
        let files = FileManager.default
        let descriptors = try files.contentsOfDirectory(atPath: "/proc/self/fd").count
        let threads = try files.contentsOfDirectory(atPath: "/proc/self/task").count { task in
            let name = try? String(
                contentsOfFile: "/proc/self/task/\(task)/comm", encoding: .utf8)
            return name?.hasPrefix("broker-client") == true
        }
        return (descriptors, threads)
    }
}
