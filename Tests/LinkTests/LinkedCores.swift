import BrokerWire

@testable import BrokerCore

/// Some brokers, links between them, clients, and a clock that only moves when it is told to.
/// The streams are lossless until they are cut.
final class LinkedCores {
    final class Node {
        var broker: Broker
        var effects = Effects()
        let security: FixedSecurity
        /// What the links noticed, in order.
        var notices: [LinkNotice] = []

        init(_ name: String, seed: UInt64, policy: AccessPolicy, quotas: QuotaSettings) {
            var configuration = BrokerConfiguration(
                name: name, version: "0", instance: seed, hashSeed: 1,
                process: SenderRecord.Opener(pid: 1, uid: 990, gid: 990, process: 9),
                packetBytesMax: Limits.packetBytesMax, policy: policy)
            configuration.quotas = quotas
            broker = Broker(configuration: configuration, nowNanoseconds: LinkedCores.start)
            security = FixedSecurity(
                keys: Exchange.keys, current: 0x1111_1111_1111_1111, seed: seed)
        }

        /// Everything that is queued for a client.
        func takePackets(of id: SessionID) -> [[UInt8]] {
            var packets: [[UInt8]] = []
            while true {
                let count = broker.prepareOutbound(id)
                for index in 0..<count { packets.append(broker.outboundPacket(index).copied()) }
                guard count > 0, broker.outboundSent(id, count: count, into: &effects) else {
                    return packets
                }
            }
        }
    }

    struct Client: Hashable {
        let node: String
        let id: SessionID
        let uid: UInt32
    }

    /// One message as a subscriber got it.
    struct Received: Equatable {
        let topic: String
        let payload: String
        let origin: String
        let uid: UInt32
        let level: SenderRecord.Level
    }

    /// One end of a stream.
    private struct End: Hashable {
        let node: String
        let connection: LinkConnectionID
    }

    static let start: UInt64 = 1_000_000_000
    private(set) var now = LinkedCores.start
    private(set) var nodes: [String: Node] = [:]
    private var streams: [End: End] = [:]
    private var unread: [End: [UInt8]] = [:]
    /// By client, what came to it.
    private(set) var received: [String: [SessionID: [Received]]] = [:]

    func add(
        _ name: String, _ links: [LinkConfiguration],
        policy: AccessPolicy = .open(brokerUID: 990), quotas: QuotaSettings = QuotaSettings()
    ) {
        let node = Node(
            name, seed: UInt64(nodes.count + 1), policy: policy, quotas: quotas)
        node.broker.configureLinks(links, security: node.security)
        nodes[name] = node
    }

    func node(_ name: String) -> Node {
        guard let node = nodes[name] else { preconditionFailure("no broker \(name)") }
        return node
    }

    func isConnected(_ name: String, _ peer: String) -> Bool {
        node(name).broker.isLinkConnected(peer)
    }

    func statistics(_ name: String, _ peer: String) -> LinkStatistics {
        node(name).broker.linkStatistics(peer) ?? LinkStatistics()
    }

    func snapshot(_ name: String) -> BrokerSnapshot {
        node(name).broker.snapshot(nowNanoseconds: now)
    }

    func pass(seconds: UInt64) {
        now += seconds * 1_000_000_000
        for node in nodes.values {
            node.broker.timePassed(
                nowNanoseconds: now, wallNanoseconds: now, into: &node.effects)
        }
    }

    // MARK: Links

    /// Opens a stream from one broker to another and lets them shake hands.
    @discardableResult
    func connect(_ from: String, _ to: String) -> Bool {
        let (dialer, listener) = (node(from), node(to))
        guard
            let first = dialer.broker.linkDialed(
                to, nowNanoseconds: now, into: &dialer.effects),
            let second = listener.broker.linkAccepted(nowNanoseconds: now)
        else { return false }
        let ends = (End(node: from, connection: first), End(node: to, connection: second))
        streams[ends.0] = ends.1
        streams[ends.1] = ends.0
        settle()
        return dialer.broker.isLinkConnected(to) && listener.broker.isLinkConnected(from)
    }

    /// Takes the streams between two brokers away; what was on its way is gone.
    func cut(_ first: String, _ second: String) {
        for (end, other) in streams
        where (end.node == first && other.node == second)
            || (end.node == second && other.node == first)
        {
            close(end)
        }
    }

    /// Takes what a broker has to send to another one, and lets it get lost.
    func swallow(_ name: String, _ peer: String) {
        let node = node(name)
        for end in streams.keys where end.node == name && streams[end]?.node == peer {
            var output = LinkOutput()
            repeat {
                output.sent(output.pendingBytes)
                node.broker.linkOutput(
                    end.connection, into: &output, nowNanoseconds: now, effects: &node.effects)
            } while !output.isEmpty
        }
    }

    private func close(_ end: End) {
        streams[end] = nil
        unread[end] = nil
        let node = node(end.node)
        node.broker.linkClosed(end.connection, into: &node.effects)
    }

    func change(_ name: String, _ links: [LinkConfiguration]) -> LinkChanges {
        let node = node(name)
        let changes = node.broker.linksChanged(links, into: &node.effects)
        settle()
        return changes
    }

    /// Moves bytes and packets until there are none.
    func settle() {
        for _ in 0..<1_000 {
            var hasMoved = false
            for end in Array(streams.keys) { hasMoved = move(end) || hasMoved }
            for name in nodes.keys { endWhatEnded(name) }
            readClients()
            if !hasMoved { return }
        }
        preconditionFailure("the brokers go on for ever")
    }

    private func move(_ end: End) -> Bool {
        guard let other = streams[end] else { return false }
        let (source, target) = (node(end.node), node(other.node))
        var output = LinkOutput()
        source.broker.linkOutput(
            end.connection, into: &output, nowNanoseconds: now, effects: &source.effects)
        guard !output.isEmpty else { return false }
        let bytes = unread[other, default: []] + output.pending.copied()
        let used = target.broker.linkReceived(
            other.connection, bytes.span, nowNanoseconds: now, into: &target.effects)
        unread[other] = Array(bytes.dropFirst(used))
        return true
    }

    private func endWhatEnded(_ name: String) {
        let node = node(name)
        node.notices += node.effects.linkNotices
        let closing = node.effects.linksClosing
        node.effects.clear()
        for connection in closing {
            let end = End(node: name, connection: connection)
            _ = move(end)
            let other = streams[end]
            close(end)
            if let other { close(other) }
        }
    }

    // MARK: Clients

    private struct Place: Hashable {
        let node: String
        let id: SessionID
    }

    /// Clients that read nothing.
    private var stalled: Set<Place> = []

    func stall(_ client: Client) { stalled.insert(Place(node: client.node, id: client.id)) }

    func join(_ name: String, uid: UInt32) -> Client {
        let node = node(name)
        let peer = Peer(
            record: SenderRecord.Opener(pid: 7, uid: uid, gid: uid, process: 0), groups: [],
            domain: .own)
        guard
            case .accepted(let id) = node.broker.connectionOpened(
                peer, nowNanoseconds: now, into: &node.effects)
        else { preconditionFailure("refused") }
        let client = Client(node: name, id: id, uid: uid)
        send(client) { $0.appendHello(versionMin: 1, versionMax: 1, name: "") }
        return client
    }

    func subscribe(_ client: Client, _ filter: String, number: UInt32 = 1) {
        let frame = SubscribeFrame(
            token: number, subscription: number, queueBytesMax: 0, overflow: .disconnect,
            filters: [Array(filter.utf8)], uidRanges: [], gidRanges: [])
        send(client) { $0.appendSubscribe(frame) }
        settle()
    }

    func unsubscribe(_ client: Client, number: UInt32 = 1) {
        send(client) { $0.appendUnsubscribe(token: 9, subscription: number) }
        settle()
    }

    func publish(_ client: Client, _ topic: String, _ text: String) {
        let (topic, payload) = (Array(topic.utf8), Array(text.utf8))
        send(client, bytesMax: 256 + topic.count + payload.count) {
            $0.appendPublish(
                token: 1, wantsAcknowledgement: false, topic: topic.span, payload: payload.span)
        }
    }

    private func send(
        _ client: Client, bytesMax: Int = 4_096, _ fill: (inout PacketBuffer) -> Void
    ) {
        let node = node(client.node)
        var packet = PacketBuffer(capacityBytes: bytesMax)
        fill(&packet)
        packet.seal()
        node.broker.packetReceived(
            client.id, packet.span,
            from: .attested(
                Attestation(
                    pid: 7, uid: client.uid, gid: client.uid, process: 0, timeNanoseconds: now)),
            nowNanoseconds: now, into: &node.effects)
    }

    private func readClients() {
        for (name, node) in nodes {
            for session in node.broker.sessions
            where session.link < 0 && session.state != .vacant
                && !stalled.contains(Place(node: name, id: session.id))
            {
                for packet in node.takePackets(of: session.id) {
                    note(packet.span, to: session.id, of: name)
                }
            }
        }
    }

    private func note(_ packet: Span<UInt8>, to id: SessionID, of name: String) {
        guard var cursor = try? FrameCursor(packet: packet) else { return }
        var sender: SenderFrame?
        while let header = try? cursor.next(in: packet) {
            if header.type == .sender { sender = SenderFrame(header, in: packet) }
            guard header.type == .deliver, let sender else { continue }
            let frame = DeliverFrame(header, in: packet)
            received[name, default: [:]][id, default: []].append(
                Received(
                    topic: packet.extracting(frame.topic).text(),
                    payload: packet.extracting(frame.payload).text(),
                    origin: packet.extracting(sender.origin).text(), uid: sender.record.uid,
                    level: sender.record.level))
        }
    }

    /// What came to a client since the last time.
    func takeReceived(_ client: Client) -> [Received] {
        settle()
        return received[client.node]?.removeValue(forKey: client.id) ?? []
    }
}
