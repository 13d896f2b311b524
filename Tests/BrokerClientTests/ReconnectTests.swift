import BrokerWire
import LinuxIO
import Testing

@testable import BrokerClient

@Suite struct ReconnectTests {
    /// Collects what the client says of its connection.
    private final class States: Sendable {
        let all = Lock<[BrokerClient.ConnectionState]>([])

        func note(_ state: BrokerClient.ConnectionState) {
            all.withLock { $0.append(state) }
        }

        func waitFor(count: Int) async throws -> [BrokerClient.ConnectionState] {
            try await eventually("\(count) states") {
                self.all.withLock { $0.count >= count ? $0 : nil }
            }
        }
    }

    private static let quickly = BrokerClient.ReconnectPolicy.backOff(
        initial: .milliseconds(1), max: .milliseconds(10))

    @Test func `subscriptions survive a restart of the broker, with a gap`() async throws {
        let broker = try FakeBroker()
        let states = States()
        let (client, session) = try await broker.connect {
            $0.reconnect = Self.quickly
            $0.onStateChange = { states.note($0) }
        }
        let subscribing = Task { try await client.subscribe(to: ["a/#"]) }
        let frame = try await session.acceptSubscription()
        let subscription = try await subscribing.value
        var messages = subscription.makeAsyncIterator()
        try session.send { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(5, to: frame.subscription, topic: "a/b", payload: [])
        }
        #expect(try await messages.next()?.sequence == 5)

        broker.stop()
        session.close()
        _ = try await states.waitFor(count: 2)
        try await client.publish("meanwhile", to: "t")
        let restarted = try FakeBroker(path: broker.path)
        let second = try await restarted.welcome { $0.instance = 100 }
        let again = try await second.acceptSubscription()
        #expect(again.subscription == frame.subscription && again.filters == frame.filters)
        #expect(try await second.receiveFrame().payload == Array("meanwhile".utf8))
        try second.send { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(1, to: frame.subscription, topic: "a/b", payload: [])
            packet.appendDeliver(2, to: frame.subscription, topic: "a/b", payload: [])
        }
        let first = try #require(try await messages.next())
        #expect(first.sequence == 1 && first.followsReconnect)
        #expect(try await messages.next()?.followsReconnect == false)
        #expect(client.session.instance == 100)
        let seen = try await states.waitFor(count: 3)
        guard case .connected = seen[0], case .reconnecting(let cause, 0) = seen[1],
            case .connected(let latest) = seen[2]
        else { throw TestFailure("other states: \(seen)") }
        #expect(cause.code == .disconnected(.unspecifiedError) && latest.instance == 100)
    }

    @Test func `an awaited publish fails with the session and is not sent again`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect { $0.reconnect = Self.quickly }
        let publishing = Task { try await client.publishAcknowledged("once", to: "t") }
        _ = try await session.receiveFrame()
        try session.send {
            $0.appendDisconnect(reason: .serverShuttingDown, explanation: "bye")
        }
        session.close()
        let error = await #expect(throws: BrokerClientError.self) { try await publishing.value }
        #expect(error?.code == .disconnected(.serverShuttingDown))
        let second = try await broker.welcome()
        try await client.publish("next", to: "t")
        #expect(try await second.receiveFrame().payload == Array("next".utf8))
    }

    @Test func `what the kernel had not taken is counted as unsent`() async throws {
        let broker = try FakeBroker()
        let states = States()
        let (client, session) = try await broker.connect {
            $0.reconnect = Self.quickly
            $0.pendingBytesMax = 100_000
            $0.onStateChange = { states.note($0) }
        }
        let topic = try PreparedTopic("t")
        let payload = [UInt8](repeating: 0, count: 1_000)
        var published = 0
        while try client.publishIfRoom(payload.span, to: topic) { published += 1 }
        session.close()
        guard case .reconnecting(_, let unsent) = try await states.waitFor(count: 2)[1] else {
            throw TestFailure("no reconnecting")
        }
        #expect(unsent > 0 && unsent < published)
        let second = try await broker.welcome()
        try await client.publish("fresh", to: topic)
        #expect(try await second.receiveFrame().payload == Array("fresh".utf8))
    }

    @Test func `without a policy the end of the session is the end`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let subscribing = Task { try await client.subscribe(to: ["a"]) }
        let frame = try await session.acceptSubscription()
        let subscription = try await subscribing.value
        try session.send { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(1, to: frame.subscription, topic: "a", payload: [])
            packet.appendDisconnect(reason: .slowSubscriber, explanation: "queue of 1")
        }
        session.close()
        var messages = subscription.makeAsyncIterator()
        #expect(try await messages.next()?.sequence == 1)
        let end = await #expect(throws: BrokerClientError.self) { try await messages.next() }
        #expect(end?.code == .disconnected(.slowSubscriber))
        #expect(try await messages.next() == nil)
        let code = await codeOfFailure { () throws(BrokerClientError) in
            try await client.publish("x", to: "a")
        }
        #expect(code == .disconnected(.slowSubscriber))
    }

    @Test func `a subscription that the restarted broker refuses ends with its reason`()
        async throws
    {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect { $0.reconnect = Self.quickly }
        let subscribing = Task { try await client.subscribe(to: ["a"]) }
        _ = try await session.acceptSubscription()
        let subscription = try await subscribing.value
        session.close()
        let second = try await broker.welcome()
        let token = try #require(try await second.receiveFrame().token)
        try second.send {
            $0.appendReply(
                ReplyFrame(token: token, reason: .notPermitted, request: .subscribe))
        }
        var messages = subscription.makeAsyncIterator()
        let end = await #expect(throws: BrokerClientError.self) { try await messages.next() }
        #expect(end?.code == .refused(.notPermitted))
    }

    @Test func `subscribing between two sessions takes effect with the next`() async throws {
        let broker = try FakeBroker()
        let states = States()
        let (client, session) = try await broker.connect {
            $0.reconnect = Self.quickly
            $0.onStateChange = { states.note($0) }
        }
        broker.stop()
        session.close()
        _ = try await states.waitFor(count: 2)
        let subscribing = Task { try await client.subscribe(to: ["late"]) }
        let restarted = try FakeBroker(path: broker.path)
        let second = try await restarted.welcome()
        #expect(try await second.acceptSubscription().filters == [Array("late".utf8)])
        _ = try await subscribing.value
    }

    @Test func `an answer that will not change is not asked for again`() async throws {
        let broker = try FakeBroker()
        let states = States()
        let (client, session) = try await broker.connect {
            $0.reconnect = Self.quickly
            $0.onStateChange = { states.note($0) }
        }
        try session.send {
            $0.appendDisconnect(reason: .identityUnknown, explanation: "no credentials")
        }
        guard case .ended(let error) = try await states.waitFor(count: 2)[1] else {
            throw TestFailure("not ended")
        }
        #expect(error.code == .disconnected(.identityUnknown))
        await client.close()
    }

    @Test func `closing while waiting to connect again ends the wait`() async throws {
        let broker = try FakeBroker()
        let states = States()
        let (client, session) = try await broker.connect {
            $0.reconnect = .backOff(initial: .seconds(1_000), max: .seconds(1_000))
            $0.onStateChange = { states.note($0) }
        }
        session.close()
        _ = try await states.waitFor(count: 2)
        await client.close()
        let code = await codeOfFailure { () throws(BrokerClientError) in
            try await client.publish("x", to: "a")
        }
        #expect(code == .closed)
    }

    @Test func `the wait doubles up to its maximum, and is random in its upper half`() {
        var generator = Extremes(value: .max)
        var longest = BackOff(.backOff(initial: .milliseconds(50), max: .seconds(1)))
        let waits = (0..<7).map { _ in longest.next(using: &generator) }
        #expect(waits.map { $0.map { $0 / 1_000_000 } } == [50, 100, 200, 400, 800, 1_000, 1_000])
        generator.value = 0
        var shortest = BackOff(.backOff(initial: .milliseconds(50), max: .seconds(1)))
        #expect(shortest.next(using: &generator) == 25_000_000)
        #expect(shortest.next(using: &generator) == 50_000_000)
        shortest.reset()
        #expect(shortest.next(using: &generator) == 25_000_000)
        var never = BackOff(.never)
        #expect(never.next(using: &generator) == nil)
    }

    /// Always the same number.
    private struct Extremes: RandomNumberGenerator {
        var value: UInt64

        mutating func next() -> UInt64 { value }
    }
}
