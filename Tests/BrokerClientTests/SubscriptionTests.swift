import BrokerClient
import BrokerWire
import LinuxIO
import Testing

@Suite struct SubscriptionTests {
    /// A subscription of `client`, accepted by the broker's end.
    private static func subscribe(
        _ client: BrokerClient, _ session: FakeSession, _ filter: String = "#"
    ) async throws -> (subscription: Subscription, number: UInt32) {
        let subscribing = Task { try await client.subscribe(to: [filter]) }
        let frame = try await session.acceptSubscription()
        return (try await subscribing.value, frame.subscription)
    }

    @Test func `filters and options reach the broker`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let options = SubscriptionOptions(
            overflow: .dropOldest, senderUIDs: [IDRange(first: 1000, last: 1999)],
            senderGIDs: [IDRange(first: 5, last: 5)], queueBytesMax: 70_000)
        let subscribing = Task { try await client.subscribe(to: ["a/#", "b/+"], options: options) }
        let frame = try await session.acceptSubscription()
        #expect(frame.filters == [Array("a/#".utf8), Array("b/+".utf8)])
        #expect(frame.overflow == OverflowPolicy.dropOldest.rawValue)
        #expect(frame.queueBytesMax == 70_000)
        #expect(frame.uidRanges.map(\.first) == [1000] && frame.uidRanges.map(\.last) == [1999])
        #expect(frame.gidRanges.map(\.first) == [5] && frame.gidRanges.map(\.last) == [5])
        let subscription = try await subscribing.value
        #expect(subscription.filters == ["a/#", "b/+"] && subscription.options == options)
    }

    @Test func `messages come with topic, payload, number and sender`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let (subscription, number) = try await Self.subscribe(client, session)
        try session.send { packet in
            packet.appendSender(uid: 1002)
            packet.appendDeliver(7, to: number, topic: "a", payload: [1])
            packet.appendDeliver(8, to: number, topic: "b", payload: [])
            packet.appendSender(uid: 1003, origin: "edge")
            packet.appendDeliver(9, to: number, topic: "ü", payload: [3, 4])
        }
        var messages = subscription.makeAsyncIterator()
        let first = try #require(try await messages.next())
        #expect(first.topic == "a" && first.payload == [1] && first.sequence == 7)
        #expect(first.sender == .example(uid: 1002) && first.origin.isEmpty)
        #expect(first.lostBefore == 0 && !first.followsReconnect)
        let second = try #require(try await messages.next())
        #expect(second.topic == "b" && second.payload.isEmpty && second.sender.uid == 1002)
        let third = try #require(try await messages.next())
        #expect(third.topic == "ü" && third.sender.uid == 1003 && third.origin == "edge")
    }

    @Test func `a batch gives its messages in place`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let (subscription, number) = try await Self.subscribe(client, session)
        try session.send { packet in
            packet.appendLost(subscription: number, count: 2)
            packet.appendSender(uid: 1002)
            for index in 0..<100 {
                packet.appendDeliver(UInt64(index), to: number, topic: "t", payload: [UInt8(index)])
            }
            packet.appendLost(subscription: number, count: 5)
        }
        let batches = subscription.batches.makeAsyncIterator()
        let batch = try #require(try await batches.next())
        #expect(batch.count == 100 && batch.lost == 7 && !batch.followsReconnect)
        var seen: [UInt8] = []
        var lost: [UInt64] = []
        batch.forEach { message in
            seen.append(message.payload[0])
            lost.append(message.lostBefore)
            precondition(message.sender.uid == 1002 && message.topic.count == 1)
        }
        #expect(seen == Array(0..<100))
        #expect(lost.first == 2 && lost.dropFirst().allSatisfy { $0 == 0 })
        #expect(batch.messages().map(\.sequence) == Array(0..<100))
    }

    @Test func `a handler gets the batches in place, in order, on the client's thread`()
        async throws
    {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let seen = Lock(Seen())
        let subscribing = Task {
            try await client.subscribe(to: ["a"]) { batch in
                seen.withLock { seen in
                    seen.batches.append([batch.count, Int(batch.lost)])
                    batch.forEach { message in
                        seen.messages.append([
                            Int(message.sequence), Int(message.sender.uid),
                            Int(message.payload[0]), Int(message.lostBefore),
                        ])
                    }
                }
            }
        }
        let handled = try await session.acceptSubscription().subscription
        let subscription = try await subscribing.value
        let (other, two) = try await Self.subscribe(client, session, "b")
        try session.send { packet in
            packet.appendSender(uid: 1)
            packet.appendLost(subscription: handled, count: 4)
            packet.appendDeliver(1, to: handled, topic: "a", payload: [11])
            packet.appendDeliver(2, to: handled, topic: "a", payload: [12])
        }
        // A packet for both: each gets its part.
        try session.send { packet in
            packet.appendSender(uid: 2)
            packet.appendDeliver(3, to: two, topic: "b", payload: [13])
            packet.appendDeliver(4, to: handled, topic: "a", payload: [14])
        }
        let forOther = try #require(try await other.batches.makeAsyncIterator().next())
        #expect(forOther.messages().map(\.sequence) == [3])
        // Behind the deliveries, and so handled after them.
        try session.send { $0.appendPing(nonce: 1) }
        #expect(try await session.receiveFrame() == .pong(1))
        #expect(seen.withLock { $0.batches } == [[2, 4], [1, 0]])
        #expect(seen.withLock { $0.messages } == [[1, 1, 11, 4], [2, 1, 12, 0], [4, 2, 14, 0]])

        subscription.cancel()
        _ = try await session.receiveFrame()
        try session.send { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(5, to: handled, topic: "a", payload: [15])
        }
        try session.send { $0.appendPing(nonce: 2) }
        #expect(try await session.receiveFrame() == .pong(2))
        #expect(seen.withLock { $0.messages.count } == 3)
    }

    private struct Seen {
        /// Messages and losses of each batch.
        var batches: [[Int]] = []
        /// Number, uid, first byte and loss of each message.
        var messages: [[Int]] = []
    }

    @Test func `a subscription with a handler ends as any other, and lets go of the handler`()
        async throws
    {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let isReleased = Flag()
        let (subscription, number) = try await Self.subscribe(
            client, session, holding: Token(isReleased))
        try session.send { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(1, to: number, topic: "a", payload: [])
        }
        try session.send {
            $0.appendEnded(subscription: number, reason: .quotaExceeded, explanation: "too slow")
        }
        let error = await #expect(throws: BrokerClientError.self) {
            for try await _ in subscription.batches { Issue.record("a batch") }
        }
        #expect(error?.code == .refused(.quotaExceeded))
        try await eventually("the release of the handler") { isReleased.isSet }
    }

    private static func subscribe(
        _ client: BrokerClient, _ session: FakeSession, holding token: sending Token
    ) async throws -> (subscription: Subscription, number: UInt32) {
        let subscribing = Task { [token] in
            try await client.subscribe(to: ["a"]) { _ in withExtendedLifetime(token) {} }
        }
        let frame = try await session.acceptSubscription()
        return (try await subscribing.value, frame.subscription)
    }

    /// Something for a handler to hold.
    private final class Token: Sendable {
        private let isReleased: Flag
        init(_ isReleased: Flag) { self.isReleased = isReleased }
        deinit { isReleased.set() }
    }

    @Test func `a handler may publish`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let topic = try PreparedTopic("answer")
        let subscribing = Task {
            try await client.subscribe(to: ["question"]) { [weak client] batch in
                batch.forEach { message in
                    let isSent = try? client?.publishIfRoom(message.payload, to: topic)
                    #expect(isSent == true)
                }
            }
        }
        let number = try await session.acceptSubscription().subscription
        let subscription = try await subscribing.value
        for question in UInt8(1)...50 {
            try session.send { packet in
                packet.appendSender(uid: 1)
                packet.appendDeliver(
                    UInt64(question), to: number, topic: "question", payload: [question])
            }
        }
        let answers = try await session.receiveFrames(50).map { $0.payload?.first }
        #expect(answers == (UInt8(1)...50).map { $0 })
        withExtendedLifetime(subscription) {}
    }

    @Test func `a batch that throws is left at that message`() async throws {
        struct Enough: Error {}
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let (subscription, number) = try await Self.subscribe(client, session)
        try session.send { packet in
            packet.appendSender(uid: 1)
            for index in 1...9 {
                packet.appendDeliver(UInt64(index), to: number, topic: "t", payload: [])
            }
        }
        let batch = try #require(try await subscription.batches.makeAsyncIterator().next())
        var seen: [UInt64] = []
        #expect(throws: Enough.self) {
            try batch.forEach { message throws in
                seen.append(message.sequence)
                if seen.count == 4 { throw Enough() }
            }
        }
        #expect(seen == [1, 2, 3, 4])
    }

    @Test func `each subscription gets only its own part of a packet`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let (first, one) = try await Self.subscribe(client, session, "a")
        let (second, two) = try await Self.subscribe(client, session, "b")
        try session.send { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(1, to: one, topic: "a", payload: [1])
            packet.appendDeliver(2, to: two, topic: "b", payload: [2])
            packet.appendSender(uid: 2)
            packet.appendDeliver(3, to: 4_000, topic: "for nobody", payload: [])
            packet.appendDeliver(4, to: two, topic: "b", payload: [4])
            packet.appendLost(subscription: one, count: 9)
            packet.appendDeliver(5, to: one, topic: "a", payload: [5])
        }
        let forFirst = try #require(try await first.batches.makeAsyncIterator().next())
        #expect(forFirst.messages().map(\.sequence) == [1, 5])
        #expect(forFirst.messages().map(\.sender.uid) == [1, 2])
        #expect(forFirst.messages().map(\.lostBefore) == [0, 9])
        let forSecond = try #require(try await second.batches.makeAsyncIterator().next())
        #expect(forSecond.messages().map(\.sequence) == [2, 4])
        #expect(forSecond.messages().map(\.sender.uid) == [1, 2])
        #expect(forSecond.lost == 0)
    }

    @Test func `a loss at the end of a packet is told with the next message`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let (subscription, number) = try await Self.subscribe(client, session)
        try session.send { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(1, to: number, topic: "t", payload: [])
            packet.appendLost(subscription: number, count: 3)
        }
        try session.send { $0.appendLost(subscription: number, count: .max) }
        try session.send { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(9, to: number, topic: "t", payload: [])
            packet.appendDeliver(10, to: number, topic: "t", payload: [])
        }
        var messages = subscription.makeAsyncIterator()
        #expect(try await messages.next()?.lostBefore == 0)
        #expect(try await messages.next()?.lostBefore == .max)
        #expect(try await messages.next()?.lostBefore == 0)
    }

    @Test func `a refused subscription throws the reason`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let subscribing = Task { try await client.subscribe(to: ["secret"]) }
        let token = try #require(try await session.receiveFrame().token)
        try session.send {
            $0.appendReply(
                ReplyFrame(token: token, reason: .notPermitted, request: .subscribe))
        }
        let error = await #expect(throws: BrokerClientError.self) { try await subscribing.value }
        #expect(error?.code == .refused(.notPermitted))
    }

    @Test func `filters are checked before anything is sent`() async throws {
        let broker = try FakeBroker()
        let (client, _) = try await broker.connect()
        let cases: [([String], BrokerClientError.Code)] = [
            ([], .invalidArgument), (["a/#/b"], .invalidTopic), (["a+"], .invalidTopic),
            (["$share/x/a"], .invalidTopic),
            ([String](repeating: "a", count: 33), .invalidArgument),
        ]
        for (filters, expected) in cases {
            let code = await codeOfFailure { () throws(BrokerClientError) in
                try await client.subscribe(to: filters)
            }
            #expect(code == expected)
        }
    }

    @Test func `after unsubscribing what came before can be read, then the sequence ends`()
        async throws
    {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let (subscription, number) = try await Self.subscribe(client, session)
        let unsubscribing = Task { try await subscription.unsubscribe() }
        guard case .unsubscribe(let token, number) = try await session.receiveFrame() else {
            throw TestFailure("no UNSUBSCRIBE")
        }
        try session.send { packet in
            packet.appendSender(uid: 1)
            packet.appendDeliver(1, to: number, topic: "t", payload: [])
            packet.appendReply(
                ReplyFrame(token: token, reason: .success, request: .unsubscribe))
        }
        try await unsubscribing.value
        var sequences: [UInt64] = []
        for try await message in subscription { sequences.append(message.sequence) }
        #expect(sequences == [1])
    }

    @Test func `a dropped subscription unsubscribes`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let number = try await Self.subscribe(client, session).number
        guard case .unsubscribe(_, number) = try await session.receiveFrame() else {
            throw TestFailure("no UNSUBSCRIBE")
        }
    }

    @Test func `cancelling the task ends the sequence`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let (subscription, number) = try await Self.subscribe(client, session)
        let started = Flag()
        try await withThrowingTaskGroup(of: Int.self) { group in
            group.addTask {
                var count = 0
                for try await _ in subscription {
                    count += 1
                    started.set()
                }
                return count
            }
            try session.send { packet in
                packet.appendSender(uid: 1)
                packet.appendDeliver(1, to: number, topic: "t", payload: [])
            }
            try await eventually("the first message") { started.isSet }
            group.cancelAll()
            #expect(try await group.next() == 1)
        }
    }

    @Test func `cancelling the subscription ends the sequence at once`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect()
        let (subscription, _) = try await Self.subscribe(client, session)
        let consuming = Task {
            for try await _ in subscription {}
        }
        subscription.cancel()
        try await consuming.value
    }

    @Test func `a slow consumer stops the reading, and gets everything in the end`() async throws {
        let broker = try FakeBroker()
        let (client, session) = try await broker.connect { $0.receiveBytesMax = 10_000 }
        let (subscription, number) = try await Self.subscribe(client, session)
        let payload = [UInt8](repeating: 1, count: 4_000)
        var sent: UInt64 = 0
        var refusals = 0
        // A client that went on reading would take all of the 40 MB.
        while refusals < 20, sent < 10_000 {
            var packet = PacketBuffer(capacityBytes: 8_192)
            packet.appendSender(uid: 1)
            packet.appendDeliver(sent + 1, to: number, topic: "t", payload: payload)
            packet.seal()
            if try session.send(bytes: packet.span) {
                sent += 1
                refusals = 0
            } else {
                refusals += 1
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        #expect(sent < 10_000)
        var messages = subscription.makeAsyncIterator()
        for expected in 1...sent {
            #expect(try await messages.next()?.sequence == expected)
        }
        // The client reads again.
        try session.send { $0.appendPing(nonce: 3) }
        #expect(try await session.receiveFrame() == .pong(3))
    }
}
