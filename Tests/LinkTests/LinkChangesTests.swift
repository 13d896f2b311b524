import BrokerWire
import Testing

@testable import BrokerCore

/// Links that are added, removed and changed while the broker runs.
struct LinkChangesTests {
    private static func link(
        _ peer: String, connects: Bool = false,
        _ change: (inout LinkConfiguration) -> Void = { _ in }
    ) -> LinkConfiguration {
        var link = LinkConfiguration(peer: peer, isConnector: connects)
        change(&link)
        return link
    }

    /// `hub` with two brokers that connect to it.
    private static func star() -> LinkedCores {
        let brokers = LinkedCores()
        brokers.add("hub", [link("east"), link("west")])
        brokers.add("east", [link("hub", connects: true) { $0.origins = ["*"] }])
        brokers.add("west", [link("hub", connects: true) { $0.origins = ["*"] }])
        #expect(brokers.connect("east", "hub"))
        #expect(brokers.connect("west", "hub"))
        return brokers
    }

    /// The same with ten messages in `hub` for `east`, which is away.
    private static func starWithQueue() -> LinkedCores {
        let brokers = star()
        let subscriber = brokers.join("east", uid: 1001)
        brokers.subscribe(subscriber, "t/#")
        let publisher = brokers.join("hub", uid: 1000)
        brokers.cut("east", "hub")
        for number in 0..<10 { brokers.publish(publisher, "t/x", "\(number)") }
        return brokers
    }

    private static func connections(_ brokers: LinkedCores, _ name: String, _ peer: String)
        -> UInt64
    {
        brokers.statistics(name, peer).connections
    }

    @Test func `a link is added, and the others keep their connections`() {
        let brokers = Self.star()
        brokers.add("north", [Self.link("hub", connects: true) { $0.origins = ["*"] }])
        let subscriber = brokers.join("north", uid: 1001)
        brokers.subscribe(subscriber, "t/#")
        #expect(!brokers.connect("north", "hub"))
        let changes = brokers.change(
            "hub", [Self.link("east"), Self.link("west"), Self.link("north")])
        #expect(changes.added == ["north"])
        #expect(changes.removed + changes.restarted + changes.adapted == [])
        #expect(brokers.connect("north", "hub"))
        #expect(Self.connections(brokers, "hub", "east") == 1)
        #expect(Self.connections(brokers, "hub", "west") == 1)
        let publisher = brokers.join("east", uid: 1000)
        brokers.publish(publisher, "t/x", "to the new one")
        #expect(brokers.takeReceived(subscriber).map(\.payload) == ["to the new one"])
    }

    @Test func `a link that is removed ends with its reason and holds nothing any more`() throws {
        let brokers = Self.starWithQueue()
        brokers.settle()
        let hub = brokers.node("hub")
        #expect(hub.broker.packetsQueued > 0)
        #expect(brokers.connect("east", "hub"))
        let changes = brokers.change("hub", [Self.link("west")])
        #expect(changes.removed == ["east"])
        let last = try #require(brokers.node("east").notices.last)
        #expect(last.kind == .ended && last.reason == .reconfigured)
        #expect(last.explanation.contains("the link was removed"))
        #expect(hub.broker.packetsQueued == 0)
        #expect(brokers.snapshot("hub").links.map(\.peer) == ["west"])
        #expect(hub.broker.sessionCount == 1 && hub.broker.subscriptionCount == 0)
        #expect(Self.connections(brokers, "hub", "west") == 1)
        #expect(!brokers.connect("east", "hub"))
        #expect(brokers.node("east").notices.last?.reason == .nameUnknown)
    }

    @Test func `a link that is removed while its peer is away gives its queue back`() {
        let brokers = Self.starWithQueue()
        let hub = brokers.node("hub")
        #expect(hub.broker.packetsQueued > 0)
        _ = brokers.change("hub", [Self.link("west")])
        #expect(hub.broker.packetsQueued == 0)
        #expect(hub.broker.statistics.messagesLost == 10)
    }

    @Test func `places of removed links are used again, over and over`() {
        let brokers = Self.star()
        let subscriber = brokers.join("west", uid: 1001)
        brokers.subscribe(subscriber, "t/#")
        let publisher = brokers.join("east", uid: 1000)
        for round in 0..<100 {
            _ = brokers.change("hub", [Self.link("west")])
            _ = brokers.change("hub", [Self.link("west"), Self.link("east")])
            #expect(brokers.connect("east", "hub"))
            brokers.publish(publisher, "t/x", "\(round)")
            #expect(brokers.takeReceived(subscriber).map(\.payload) == ["\(round)"])
        }
        #expect(brokers.snapshot("hub").links.count == 2)
        #expect(Self.connections(brokers, "hub", "west") == 1)
    }

    @Test func `other imports connect the link anew, and nothing is lost or comes twice`() {
        let brokers = Self.star()
        let subscriber = brokers.join("hub", uid: 1001)
        brokers.subscribe(subscriber, "#")
        let publisher = brokers.join("east", uid: 1000)
        brokers.publish(publisher, "t/x", "before")
        brokers.settle()
        let narrow = Self.link("east") { $0.imports = [Array("t/#".utf8)] }
        let changes = brokers.change("hub", [narrow, Self.link("west")])
        #expect(changes.restarted == ["east"])
        #expect(!brokers.isConnected("hub", "east"))
        brokers.publish(publisher, "t/x", "while it was down")
        #expect(brokers.connect("east", "hub"))
        brokers.publish(publisher, "u/x", "not imported")
        brokers.publish(publisher, "t/x", "after")
        #expect(
            brokers.takeReceived(subscriber).map(\.payload) == [
                "before", "while it was down", "after",
            ])
        #expect(Self.connections(brokers, "hub", "west") == 1)
    }

    @Test func `other exports, origins and queues hold at once on the same connection`() {
        let brokers = Self.star()
        let subscriber = brokers.join("east", uid: 1001)
        brokers.subscribe(subscriber, "#")
        let publisher = brokers.join("hub", uid: 1000)
        brokers.publish(publisher, "secret/x", "before")
        #expect(brokers.takeReceived(subscriber).map(\.payload) == ["before"])
        let changed = Self.link("east") {
            $0.exports = [Array("public/#".utf8)]
            $0.origins = ["nobody"]
            $0.queueBytesMax = Limits.packetBytesMax
        }
        let changes = brokers.change("hub", [changed, Self.link("west")])
        #expect(changes.adapted == ["east"] && changes.restarted == [])
        brokers.publish(publisher, "secret/x", "not any more")
        brokers.publish(publisher, "public/x", "this")
        #expect(brokers.takeReceived(subscriber).map(\.payload) == ["this"])
        let local = brokers.join("hub", uid: 1003)
        brokers.subscribe(local, "t")
        let other = brokers.join("east", uid: 1002)
        brokers.publish(other, "t", "from an origin that is not believed any more")
        #expect(brokers.takeReceived(local) == [])
        let statistics = brokers.statistics("hub", "east")
        #expect(statistics.connections == 1)
        #expect(statistics.dropped == [.originNotAllowed: 1])
        let link = brokers.snapshot("hub").links[0]
        #expect(link.queueBytesMax == Limits.packetBytesMax)
    }

    @Test func `what waits for the peer and is not exported any more does not leave`() {
        let brokers = Self.star()
        let subscriber = brokers.join("east", uid: 1001)
        brokers.subscribe(subscriber, "#")
        brokers.cut("east", "hub")
        let publishers = [1000, 1002].map { brokers.join("hub", uid: $0) }
        for number in 0..<100 {
            for publisher in publishers {
                brokers.publish(publisher, number % 3 == 0 ? "secret/x" : "public/x", "\(number)")
            }
        }
        let narrow = Self.link("east") { $0.exports = [Array("public/#".utf8)] }
        let changes = brokers.change("hub", [narrow, Self.link("west")])
        #expect(changes.adapted == ["east"] && changes.deliveriesWithdrawn == 2 * 34)
        let hub = brokers.node("hub")
        #expect(hub.broker.statistics.deliveriesWithdrawn == 2 * 34)
        #expect(brokers.snapshot("hub").links[0].queuedMessages == 2 * 66)
        brokers.publish(publishers[0], "public/x", "after")
        #expect(brokers.connect("east", "hub"))
        let came = brokers.takeReceived(subscriber)
        #expect(came.allSatisfy { $0.topic == "public/x" && $0.origin == "hub" })
        for uid in [UInt32(1000), 1002] {
            let expected = (0..<100).filter { $0 % 3 != 0 }.map(String.init)
            let payloads = came.filter { $0.uid == uid }.map(\.payload)
            #expect(payloads == expected + (uid == 1000 ? ["after"] : []))
        }
        // It was taken back, not lost.
        #expect(hub.broker.statistics.messagesLost == 0)
        #expect(brokers.statistics("east", "hub").messagesLostByPeer == 0)
        #expect(brokers.statistics("east", "hub").messagesReceived == 2 * 66 + 1)
        // Nothing is left where everything was taken back.
        brokers.cut("east", "hub")
        brokers.publish(publishers[0], "public/x", "too late")
        #expect(
            brokers.change("hub", [Self.link("east") { $0.exports = [] }, Self.link("west")])
                .deliveriesWithdrawn == 1)
        #expect(hub.broker.packetsQueued == 0)
        #expect(brokers.snapshot("hub").links[0].queuedBytes == 0)
    }

    @Test func `a batch that is sent again holds nothing that is not exported any more`() {
        let brokers = Self.star()
        let subscriber = brokers.join("east", uid: 1001)
        brokers.subscribe(subscriber, "#")
        let publisher = brokers.join("hub", uid: 1000)
        for batch in [["secret"], ["secret", "public", "secret"], ["public"], ["secret"]] {
            for topic in batch { brokers.publish(publisher, topic, topic) }
            brokers.swallow("hub", "east")
        }
        brokers.cut("east", "hub")
        #expect(brokers.snapshot("hub").links[0].unacknowledgedMessages == 6)
        let narrow = Self.link("east") { $0.exports = [Array("public".utf8)] }
        #expect(brokers.change("hub", [narrow, Self.link("west")]).deliveriesWithdrawn == 0)
        brokers.publish(publisher, "public", "after")
        #expect(brokers.connect("east", "hub"))
        let came = brokers.takeReceived(subscriber).map(\.payload)
        #expect(came == ["public", "public", "after"])
        #expect(brokers.statistics("hub", "east").batchesResent == 4)
        let east = brokers.statistics("east", "hub")
        #expect(east.batchesReceived == 5 && east.messagesReceived == 3 && east.faults == [:])
        #expect(brokers.snapshot("hub").links[0].unacknowledgedMessages == 0)
        #expect(brokers.node("hub").broker.packetsQueued == 0)
    }

    @Test func `the same links again change nothing`() {
        let brokers = Self.star()
        let changes = brokers.change("hub", [Self.link("west"), Self.link("east")])
        #expect(changes.isEmpty)
        #expect(Self.connections(brokers, "hub", "east") == 1)
    }

    @Test func `a key that is taken away ends the connection that uses it`() {
        let brokers = Self.star()
        let hub = brokers.node("hub")
        hub.security.revoke(0x1111_1111_1111_1111)
        hub.broker.linkKeysChanged("east", into: &hub.effects)
        brokers.settle()
        #expect(hub.notices.last?.reason == .keyUnknown)
        #expect(!brokers.isConnected("hub", "east"))
        #expect(!brokers.connect("east", "hub"))
        #expect(brokers.node("east").notices.last?.reason == .keyUnknown)
    }

    @Test func `a peer that gets the new key late is asked again, on the same connection`() {
        let brokers = Self.star()
        let (east, hub) = (brokers.node("east"), brokers.node("hub"))
        let new: UInt64 = 0x2222_2222_2222_2222
        hub.security.revoke(new)
        east.security.current = new
        for hasKey in [false, true] {
            if hasKey { hub.security.grant(new) }
            east.broker.linkKeysChanged("hub", into: &east.effects)
            brokers.settle()
            let kind = east.notices.last?.kind
            #expect(kind == (hasKey ? .rotated : .rotationRefused))
            #expect((brokers.snapshot("hub").links[0].keyID == new) == hasKey)
        }
        #expect(Self.connections(brokers, "hub", "east") == 1)
    }
}
