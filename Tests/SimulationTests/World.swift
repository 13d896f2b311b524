import BrokerWire
import TestSupport

@testable import BrokerCore

/// Many brokers and clients on one fake network and clock. Everything that happens follows from
/// the seed.
final class World {
    /// What makes a run hard. Drawn from the seed, so that some runs are calm and others wild.
    struct Weather {
        var cuts = 0
        var partitions = 0
        var tampering = 0
        var restarts = 0
        var rotations = 0
        /// Times in which nothing moves, long enough for the silent to be given up.
        var stalls = 0
        var steps = 300
        /// Nothing but altered bits.
        var flipsOnly = false
    }

    var random: SeededRandom
    var now: UInt64 = 1_000_000_000
    var weather: Weather
    /// Queues of links are so small that they overflow.
    let isTight: Bool
    private(set) var nodes: [Node] = []
    private(set) var wires: [Wire] = []
    /// Every message that was accepted from a client, by its payload.
    private(set) var published: [[UInt8]: Published] = [:]
    /// What each steady subscription got, to be compared with what it should have got.
    private(set) var deliveries: Set<DeliveryRecord> = []
    private(set) var failures: [String] = []
    private(set) var restartCount = 0
    /// Connections that a broker ended, by reason.
    private(set) var faults: [LinkFault.Reason: Int] = [:]
    private(set) var rotatedCount = 0
    private(set) var deliveredCount = 0
    private var nextKey: UInt64 = 1

    struct Published {
        let publisher: Publisher
        let number: Int
        let topic: String
        let uid: UInt32
    }

    struct DeliveryRecord: Hashable {
        let node: Int
        let client: Int
        let subscription: UInt32
        let payload: [UInt8]
    }

    static let topics = ["a", "a/b", "a/c", "b/x", "b/y/z"]
    static let filters = ["#", "a/#", "+/b", "b/+", "b/y/#", "a"]

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        var weather = Weather()
        if random.bool() { weather.cuts = random.int(in: 1...8) }
        if random.bool() { weather.partitions = random.int(in: 1...4) }
        if random.bool() { weather.tampering = random.int(in: 1...10) }
        if random.oneIn(4) { weather.restarts = random.int(in: 1...2) }
        if random.bool() { weather.rotations = random.int(in: 1...3) }
        if random.oneIn(3) { weather.stalls = random.int(in: 1...4) }
        weather.steps = random.int(in: 100...500)
        self.weather = weather
        isTight = random.oneIn(6)
        build()
    }

    // MARK: Topology

    private func build() {
        // A triangle, a mesh of five, or any connected network.
        let shape = random.int(in: 0...9)
        let isMesh = shape < 2
        let count = isMesh ? [3, 5][shape] : random.int(in: 2...5)
        var pairs: [(Int, Int)] = []
        for node in 1..<count { pairs.append((random.int(in: 0...(node - 1)), node)) }
        for first in 0..<count {
            for second in (first + 1)..<max(count, first + 1) where isMesh || random.oneIn(3) {
                if !pairs.contains(where: { $0 == (first, second) }) {
                    pairs.append((first, second))
                }
            }
        }
        let keys = pairs.map { _ in takeKey() }
        for node in 0..<count {
            let security = FakeSecurity(seed: random.next())
            var links: [LinkConfiguration] = []
            for (index, pair) in pairs.enumerated() where pair.0 == node || pair.1 == node {
                let peer = Node.name(pair.0 == node ? pair.1 : pair.0)
                links.append(makeLink(peer, isConnector: pair.0 == node))
                security.keys[peer] = [keys[index]]
            }
            let policy: AccessPolicy =
                random.oneIn(6) ? .ownerOnly(brokerUID: 990) : .open(brokerUID: 990)
            nodes.append(
                Node(number: node, policy: policy, links: links, security: security, now: now))
        }
        wires = pairs.map { Wire(connector: $0.0, listener: $0.1) }
        for wire in wires { wire.isSlow = random.oneIn(5) }
    }

    private func makeLink(_ peer: String, isConnector: Bool) -> LinkConfiguration {
        var link = LinkConfiguration(peer: peer, isConnector: isConnector, origins: ["*"])
        if random.oneIn(5) { link.origins = [peer] }
        link.holdsPublishers = random.oneIn(4)
        if isTight { link.queueBytesMax = random.int(in: 8_192...10_000) }
        if random.oneIn(5) { link.exports = [Array("a/#".utf8)] }
        if random.oneIn(5) { link.imports = [Array("b/#".utf8), Array("a/+".utf8)] }
        return link
    }

    private func takeKey() -> UInt64 {
        nextKey += 1
        return nextKey
    }

    // MARK: Clients

    func populate() {
        for node in nodes {
            for index in 0..<random.int(in: 1...3) {
                let uid: UInt32 = random.oneIn(5) ? 0 : UInt32(1000 + index)
                _ = node.connect(uid: uid, now: now)
            }
            for client in node.clients
            where random.bool() && allows(node, uid: client.uid, isRemote: false) {
                node.subscribe(client, random.pick(World.filters), number: 1, now: now)
            }
        }
    }

    func publish() {
        let node = random.pick(nodes)
        guard let client = node.clients.filter(\.isAlive).randomElement(using: &random) else {
            return
        }
        let topic = random.pick(World.topics)
        let count = random.int(in: 1...4)
        let publisher = Publisher(
            node: node.number, instance: node.instance, client: client.number)
        var payloads: [[UInt8]] = []
        for _ in 0..<count {
            client.publishedCount += 1
            let text = "\(node.number)/\(node.instance)/\(client.number)/\(client.publishedCount)"
            let payload = Array(text.utf8)
            payloads.append(payload)
            published[payload] = Published(
                publisher: publisher, number: client.publishedCount, topic: topic,
                uid: client.uid)
        }
        let name = Array(topic.utf8)
        node.send(client, now: now) { packet in
            for payload in payloads {
                packet.appendPublish(
                    token: 0, wantsAcknowledgement: false, topic: name.span,
                    payload: payload.span)
            }
        }
        perform(node)
    }

    func readClients() {
        for node in nodes {
            for client in node.clients where client.isAlive {
                do {
                    try node.drain(client) { check($0, node, client) }
                } catch {
                    fail("\(node.name) sent a malformed packet: \(error)")
                }
            }
            perform(node)
        }
    }

    // MARK: Invariants

    func fail(_ text: String) {
        if failures.count < 10 { failures.append(text) }
    }

    private func check(_ delivered: Delivered, _ node: Node, _ client: SimulatedClient) {
        deliveredCount += 1
        guard let message = published[delivered.payload] else {
            return fail("\(node.name) delivered what nobody published: \(delivered)")
        }
        let publisher = message.publisher
        let isLocal = publisher.node == node.number && publisher.instance == node.instance
        let origin = isLocal ? "" : Node.name(publisher.node)
        if message.topic != delivered.topic || delivered.record.uid != message.uid
            || delivered.origin != origin
            || (delivered.record.level == .remote) == isLocal
        {
            fail("\(node.name) delivered with a false origin, topic or identity: \(delivered)")
        }
        let isOwn = isLocal && (message.uid == 0 || message.uid == 990)
        if node.policy.source == .ownerOnly && !isOwn {
            fail("\(node.name) delivered what its rules forbid: \(delivered)")
        }
        let filter = Array((client.subscriptions[delivered.subscription] ?? "").utf8)
        let topic = Array(delivered.topic.utf8)
        if !Topic.matches(filter: filter.span, name: topic.span) {
            fail("\(node.name) delivered \(delivered.topic) for a filter that does not match")
        }
        checkOrder(delivered, message, node, client)
        let record = DeliveryRecord(
            node: node.number, client: client.number, subscription: delivered.subscription,
            payload: delivered.payload)
        if !deliveries.insert(record).inserted && client.isAlive {
            fail("\(node.name) delivered twice: \(delivered)")
        }
    }

    /// Per publisher where there is one path; per publisher and topic where there are several,
    /// which may carry different topics; not at all where one of several paths has lost messages
    /// with a broker that restarted or in a full queue.
    private func checkOrder(
        _ delivered: Delivered, _ message: Published, _ node: Node, _ client: SimulatedClient
    ) {
        let hasCycles = wires.count >= nodes.count
        if hasCycles && (restartCount > 0 || isTight) { return }
        let key = DeliveryKey(
            subscription: delivered.subscription, publisher: message.publisher,
            topic: hasCycles ? message.topic : "")
        let last = client.last[key] ?? 0
        if message.number <= last {
            fail("\(node.name) delivered \(message.number) behind \(last): \(delivered)")
        }
        client.last[key] = message.number
    }

    /// At the end of a run without restarts: whoever should have got a message has got it.
    func checkNothingLost() {
        guard restartCount == 0 else { return }
        let lostCount = lostCount
        for (payload, message) in published {
            let reached = reach(message)
            for node in nodes {
                for client in node.clients where client.isAlive {
                    for (number, filter) in client.subscriptions {
                        let record = DeliveryRecord(
                            node: node.number, client: client.number, subscription: number,
                            payload: payload)
                        let name = Array(message.topic.utf8)
                        let isDue =
                            reached.contains(node.number)
                            && Topic.matches(filter: Array(filter.utf8).span, name: name.span)
                        // What links have counted as lost may be any of them.
                        if isDue && lostCount > 0 { continue }
                        if isDue != deliveries.contains(record) {
                            let text = String(decoding: payload, as: UTF8.self)
                            fail("\(node.name) \(isDue ? "lost" : "should not have") \(text)")
                        }
                    }
                }
            }
        }
    }

    /// The nodes that a message may reach, by the rules of every broker and link on the way.
    private func reach(_ message: Published) -> Set<Int> {
        let origin = message.publisher.node
        let subject = message.uid
        guard allows(nodes[origin], uid: subject, isRemote: false) else { return [] }
        var reached: Set<Int> = [origin]
        var queue = [origin]
        let topic = Array(message.topic.utf8)
        while let node = queue.popLast() {
            for link in nodes[node].configurations {
                guard let peer = nodes.first(where: { $0.name == link.peer }),
                    !reached.contains(peer.number),
                    link.exports.contains(where: {
                        Topic.matches(filter: $0.span, name: topic.span)
                    }),
                    let back = peer.configurations.first(where: {
                        $0.peer == nodes[node].name
                    }),
                    back.imports(topic.span), back.admits(origin: Node.name(origin)),
                    allows(peer, uid: subject, isRemote: true)
                else { continue }
                reached.insert(peer.number)
                queue.append(peer.number)
            }
        }
        return reached
    }

    private func allows(_ node: Node, uid: UInt32, isRemote: Bool) -> Bool {
        switch node.policy.source {
        case .ownerOnly: !isRemote && (uid == 0 || uid == 990)
        case .open, .rules: true
        }
    }

    /// What a full queue has lost its peer has been told.
    func checkLossIsTold() {
        guard restartCount == 0 else { return }
        for wire in wires {
            for end in wire.ends {
                let (sender, receiver) = (nodes[end.node], nodes[wire.other(end).node])
                let lost = link(of: sender, to: receiver)?.messagesLost
                let told = link(of: receiver, to: sender)?.statistics.messagesLostByPeer
                if lost != told {
                    fail("\(sender.name) lost \(lost ?? 0), \(receiver.name) heard \(told ?? 0)")
                }
            }
        }
    }

    private func link(of node: Node, to peer: Node) -> BrokerSnapshot.Link? {
        node.broker.snapshot(nowNanoseconds: now).links.first { $0.peer == peer.name }
    }

    /// Messages that full queues have dropped.
    var lostCount: UInt64 {
        nodes.flatMap { $0.broker.snapshot(nowNanoseconds: now).links }
            .reduce(0) { $0 + $1.messagesLost }
    }

    /// A link that holds publishers back may queue what they had sent before.
    func checkQueueLimits() {
        for node in nodes {
            for (link, limits) in zip(
                node.broker.snapshot(nowNanoseconds: now).links, node.configurations)
            where (link.queuedBytes > limits.queueBytesMax && !limits.holdsPublishers)
                || link.unacknowledgedBytes > LinkLimits.windowBytes + Limits.packetBytesMax
            {
                fail(
                    "\(node.name) holds \(link.queuedBytes) bytes for \(link.peer), "
                        + "\(link.unacknowledgedBytes) unacknowledged")
            }
        }
    }

    func checkNothingHeld() {
        for node in nodes where node.broker.packetsQueued != 0 {
            let links = node.broker.snapshot(nowNanoseconds: now).links.map {
                "\($0.peer) \($0.isConnected ? "up" : "down"): \($0.queuedBytes) queued, "
                    + "\($0.unacknowledgedBytes) unacknowledged"
            }
            fail("\(node.name) still holds \(node.broker.packetsQueued) packets: \(links)")
        }
    }

    // MARK: Faults

    func restart(_ node: Node) {
        restartCount += 1
        for wire in wires where wire.connector == node.number || wire.listener == node.number {
            cut(wire)
        }
        node.restart(now: now)
        _ = node.connect(uid: 1000, now: now)
    }

    func rotate(_ wire: Wire) {
        let (first, second) = (nodes[wire.connector], nodes[wire.listener])
        let key = takeKey()
        // The listener knows the new key before the connector uses it, or, sometimes, does not.
        if !random.oneIn(4) {
            second.security.keys[first.name]?.append(key)
        }
        first.security.keys[second.name]?.insert(key, at: 0)
        first.broker.linkKeysChanged(second.name, into: &first.effects)
        perform(first)
        if second.security.keys[first.name]?.contains(key) == false {
            // Put right before the link has to connect again.
            second.security.keys[first.name]?.append(key)
        }
    }

    func note(_ notices: [LinkNotice]) {
        for notice in notices {
            switch notice.kind {
            case .refused, .ended:
                if let reason = notice.reason { faults[reason, default: 0] += 1 }
            case .rotated: rotatedCount += 1
            case .established, .rotationRefused: break
            case .lostByPeer: if !isTight { fail("a queue has overflown: \(notice)") }
            }
        }
    }
}
