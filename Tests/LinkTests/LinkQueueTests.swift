import BrokerWire
import Testing

@testable import BrokerCore

/// What waits for a peer: whose account it is on, what is said when it overflows, and who wants it.
struct LinkQueueTests {
    private static let payload = String(repeating: "x", count: 1_000)

    private static func star(queueBytesMax: Int) -> LinkedCores {
        let brokers = LinkedCores()
        let links = ["east", "west"].map { peer in
            var link = LinkConfiguration(peer: peer, isConnector: false)
            link.queueBytesMax = queueBytesMax
            return link
        }
        brokers.add("hub", links)
        for name in ["east", "west"] {
            brokers.add(name, [LinkConfiguration(peer: "hub", isConnector: true)])
            brokers.connect(name, "hub")
        }
        return brokers
    }

    /// `east` connects to `hub`, whose users may hold that much.
    private static func pair(userBytesMax: Int) -> LinkedCores {
        let brokers = LinkedCores()
        var quotas = QuotaSettings()
        quotas.defaults.queuedBytes = userBytesMax
        brokers.add("hub", [LinkConfiguration(peer: "east", isConnector: false)], quotas: quotas)
        brokers.add("east", [LinkConfiguration(peer: "hub", isConnector: true)])
        brokers.connect("east", "hub")
        return brokers
    }

    private static func link(_ brokers: LinkedCores, _ peer: String) -> BrokerSnapshot.Link? {
        brokers.snapshot("hub").links.first { $0.peer == peer }
    }

    @Test func `a flood for a peer that is away takes nothing from others`() throws {
        let brokers = Self.star(queueBytesMax: 1_048_576)
        let east = brokers.join("east", uid: 1001)
        brokers.subscribe(east, "flood/#")
        brokers.subscribe(east, "t/#", number: 2)
        let west = brokers.join("west", uid: 1002)
        brokers.subscribe(west, "t/#")
        let local = brokers.join("hub", uid: 1003)
        brokers.subscribe(local, "t/#")
        brokers.cut("east", "hub")
        let publisher = brokers.join("hub", uid: 1000)
        for _ in 0..<20_000 { brokers.publish(publisher, "flood/x", Self.payload) }
        let full = try #require(Self.link(brokers, "east"))
        #expect(full.queuedBytes <= 1_048_576)
        #expect(full.messagesLost > 15_000)
        #expect(full.messagesLost + UInt64(full.queuedMessages) == 20_000)
        let other = try #require(Self.link(brokers, "west"))
        #expect(other.queuedBytes == 0 && other.messagesLost == 0)
        brokers.publish(publisher, "t/x", "still here")
        #expect(brokers.takeReceived(local).map(\.payload) == ["still here"])
        #expect(brokers.takeReceived(west).map(\.payload) == ["still here"])
        // No user pays for it.
        #expect(brokers.snapshot("hub").users.allSatisfy { $0.queuedBytes == 0 })
    }

    @Test func `what a link holds is no user's, and quotas of users do not limit it`() throws {
        let brokers = Self.pair(userBytesMax: 262_144)
        let subscriber = brokers.join("east", uid: 1001)
        brokers.subscribe(subscriber, "flood/#")
        brokers.cut("east", "hub")
        let publisher = brokers.join("hub", uid: 1000)
        for _ in 0..<2_000 { brokers.publish(publisher, "flood/x", Self.payload) }
        let link = try #require(Self.link(brokers, "east"))
        #expect(link.messagesLost == 0 && link.queuedMessages == 2_000)
        brokers.connect("east", "hub")
        #expect(brokers.takeReceived(subscriber).count == 2_000)
        #expect(Self.link(brokers, "east")?.queuedBytes == 0)
    }

    @Test func `a flood from a peer ends at the account of who subscribed, not at others'`() throws
    {
        let brokers = Self.pair(userBytesMax: 262_144)
        let slow = brokers.join("hub", uid: 1001)
        brokers.subscribe(slow, "flood/#")
        let other = brokers.join("hub", uid: 1002)
        brokers.subscribe(other, "t/#")
        brokers.stall(slow)
        let publisher = brokers.join("east", uid: 1000)
        for _ in 0..<1_000 { brokers.publish(publisher, "flood/x", Self.payload) }
        brokers.publish(publisher, "t/x", "behind the flood")
        #expect(brokers.takeReceived(other).map(\.payload) == ["behind the flood"])
        #expect(brokers.takeReceived(slow) == [])
        #expect(brokers.snapshot("hub").statistics.messagesLost > 0)
        let users = brokers.snapshot("hub").users
        #expect(users.allSatisfy { $0.queuedBytes <= 262_144 })
        #expect(brokers.isConnected("hub", "east"))
    }

    @Test func `losses while the peer is away are counted, and told at their place`() throws {
        let brokers = Self.star(queueBytesMax: Limits.packetBytesMax)
        let subscriber = brokers.join("east", uid: 1001)
        brokers.subscribe(subscriber, "t/#")
        brokers.cut("east", "hub")
        let publisher = brokers.join("hub", uid: 1000)
        for number in 0..<5_000 {
            brokers.publish(publisher, "t/x", "\(number) " + Self.payload)
        }
        let lost = try #require(Self.link(brokers, "east")).messagesLost
        #expect(lost > 4_000)
        brokers.connect("east", "hub")
        let came = brokers.takeReceived(subscriber).compactMap {
            Int($0.payload.prefix { $0 != " " })
        }
        // The oldest are gone, the others are there, in order.
        #expect(came == Array(Int(lost)..<5_000))
        let east = brokers.node("east")
        #expect(brokers.statistics("east", "hub").messagesLostByPeer == lost)
        let notice = try #require(east.notices.first { $0.kind == .lostByPeer })
        #expect(notice.explanation == "\(lost) messages")
    }

    @Test func `a message goes only where somebody subscribes, and stops when nobody does`() {
        let brokers = Self.star(queueBytesMax: 1_048_576)
        let publisher = brokers.join("hub", uid: 1000)
        func sent(_ peer: String) -> UInt64 {
            brokers.settle()
            return brokers.statistics("hub", peer).messagesSent
        }
        brokers.publish(publisher, "t/x", "nobody")
        #expect(sent("east") == 0 && sent("west") == 0)
        let subscriber = brokers.join("east", uid: 1001)
        brokers.subscribe(subscriber, "t/+")
        brokers.subscribe(subscriber, "t/x", number: 2)
        brokers.publish(publisher, "t/x", "one")
        brokers.publish(publisher, "u/x", "another topic")
        #expect(sent("east") == 1 && sent("west") == 0)
        brokers.unsubscribe(subscriber)
        brokers.publish(publisher, "t/y", "only the first filter wanted it")
        brokers.publish(publisher, "t/x", "two")
        #expect(sent("east") == 2)
        brokers.unsubscribe(subscriber, number: 2)
        brokers.publish(publisher, "t/x", "nobody any more")
        #expect(sent("east") == 2 && sent("west") == 0)
        #expect(Self.link(brokers, "east")?.filters == [])
    }

    @Test func `interest that ended while the link was down is forgotten when it is up`() {
        let brokers = Self.star(queueBytesMax: 1_048_576)
        let subscriber = brokers.join("east", uid: 1001)
        brokers.subscribe(subscriber, "t/#")
        #expect(Self.link(brokers, "east")?.filters == [Array("t/#".utf8)])
        brokers.cut("east", "hub")
        brokers.unsubscribe(subscriber)
        #expect(Self.link(brokers, "east")?.filters == [Array("t/#".utf8)])
        brokers.connect("east", "hub")
        #expect(Self.link(brokers, "east")?.filters == [])
    }

    @Test func `each side knows the round trip, also where both always have something to say`()
        throws
    {
        let brokers = Self.star(queueBytesMax: 1_048_576)
        func roundTrips() throws -> [UInt64?] {
            [
                try #require(Self.link(brokers, "east")).roundTripNanoseconds,
                try #require(brokers.snapshot("east").links.first).roundTripNanoseconds,
            ]
        }
        let subscriber = brokers.join("east", uid: 1001)
        brokers.subscribe(subscriber, "t/#")
        let publisher = brokers.join("hub", uid: 1000)
        // Messages go one way every second, acknowledgements the other.
        for second in 1...5 {
            #expect(try roundTrips() == [nil, nil], "in second \(second)")
            brokers.pass(seconds: 1)
            brokers.publish(publisher, "t/x", "\(second)")
            #expect(brokers.takeReceived(subscriber).count == 1)
        }
        // The network of this test takes no time.
        #expect(try roundTrips() == [0, 0])
        brokers.cut("east", "hub")
        #expect(try roundTrips() == [nil, nil])
        brokers.connect("east", "hub")
        #expect(try roundTrips() == [nil, nil])
    }

    @Test func `lag is what the peer has not acknowledged, and how old it is`() throws {
        let brokers = Self.star(queueBytesMax: 1_048_576)
        let subscriber = brokers.join("east", uid: 1001)
        brokers.subscribe(subscriber, "t/#")
        brokers.cut("east", "hub")
        let publisher = brokers.join("hub", uid: 1000)
        brokers.publish(publisher, "t/x", "one")
        brokers.pass(seconds: 2)
        brokers.publish(publisher, "t/x", "two")
        let waiting = try #require(Self.link(brokers, "east"))
        #expect(waiting.queuedMessages + waiting.unacknowledgedMessages == 2)
        #expect(waiting.oldestAgeNanoseconds == 2_000_000_000)
        brokers.connect("east", "hub")
        #expect(brokers.takeReceived(subscriber).map(\.payload) == ["one", "two"])
        let done = try #require(Self.link(brokers, "east"))
        #expect(done.queuedMessages + done.unacknowledgedMessages == 0)
        #expect(done.oldestAgeNanoseconds == 0)
        #expect(done.statistics.acknowledgedAfterNanoseconds == 2_000_000_000)
    }
}
