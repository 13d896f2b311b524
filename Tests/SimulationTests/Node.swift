import BrokerWire
import TestSupport

@testable import BrokerCore

/// One simulated broker with its clients, and what the shell would do for it.
final class Node {
    let name: String
    let number: Int
    let policy: AccessPolicy
    let configurations: [LinkConfiguration]
    let security: FakeSecurity
    /// Goes up with each restart.
    var instance: UInt64 = 1
    var broker: Broker
    var effects = Effects()
    var clients: [SimulatedClient] = []
    /// Forgets which messages were seen: for showing that the simulation notices.
    var forgetsSeen = false

    init(
        number: Int, policy: AccessPolicy, links: [LinkConfiguration], security: FakeSecurity,
        now: UInt64
    ) {
        name = Node.name(number)
        self.number = number
        self.policy = policy
        configurations = links
        self.security = security
        broker = Node.makeBroker(number, 1, policy, links, security, now)
    }

    static func name(_ number: Int) -> String { "node-\(number)" }

    private static func makeBroker(
        _ number: Int, _ instance: UInt64, _ policy: AccessPolicy,
        _ links: [LinkConfiguration], _ security: FakeSecurity, _ now: UInt64
    ) -> Broker {
        let process = SenderRecord.Opener(pid: 1, uid: 990, gid: 990, process: 9)
        var broker = Broker(
            configuration: BrokerConfiguration(
                name: name(number), version: "0", instance: UInt64(number) << 32 | instance,
                hashSeed: 0x5EED, process: process, packetBytesMax: Limits.packetBytesMax,
                policy: policy), nowNanoseconds: now)
        broker.configureLinks(links, security: security)
        return broker
    }

    /// Everything in memory is gone.
    func restart(now: UInt64) {
        instance += 1
        broker = Node.makeBroker(number, instance, policy, configurations, security, now)
        effects = Effects()
        for client in clients { client.isAlive = false }
    }

    func connect(uid: UInt32, now: UInt64) -> SimulatedClient {
        let peer = Peer(
            record: SenderRecord.Opener(pid: Int32(uid), uid: uid, gid: uid, process: 0),
            groups: [], domain: .own)
        let outcome = broker.connectionOpened(peer, nowNanoseconds: now, into: &effects)
        guard case .accepted(let id) = outcome else { preconditionFailure("\(outcome)") }
        let client = SimulatedClient(id: id, uid: uid, number: clients.count)
        clients.append(client)
        send(client, now: now) { $0.appendHello(versionMin: 1, versionMax: 1, name: "") }
        return client
    }

    func send(_ client: SimulatedClient, now: UInt64, _ fill: (inout PacketBuffer) -> Void) {
        var packet = PacketBuffer(capacityBytes: Limits.batchBytesTarget)
        fill(&packet)
        packet.seal()
        let attestation = Attestation(
            pid: Int32(client.uid), uid: client.uid, gid: client.uid, process: 0,
            timeNanoseconds: now)
        broker.packetReceived(
            client.id, packet.span, from: .attested(attestation), nowNanoseconds: now,
            into: &effects)
    }

    func subscribe(_ client: SimulatedClient, _ filter: String, number: UInt32, now: UInt64) {
        let frame = SubscribeFrame(
            token: number, subscription: number, queueBytesMax: 0, overflow: .disconnect,
            filters: [Array(filter.utf8)], uidRanges: [], gidRanges: [])
        send(client, now: now) { $0.appendSubscribe(frame) }
        client.subscriptions[number] = filter
    }

    /// Reads what is queued for a client and hands each delivery to `note`.
    func drain(_ client: SimulatedClient, note: (Delivered) -> Void) throws {
        while client.isAlive {
            let count = broker.prepareOutbound(client.id)
            if count == 0 { return }
            for index in 0..<count {
                let packet = broker.outboundPacket(index).copied()
                try Delivered.read(packet.span, note: note)
            }
            if !broker.outboundSent(client.id, count: count, into: &effects) { return }
        }
    }
}

final class SimulatedClient {
    let id: SessionID
    let uid: UInt32
    let number: Int
    var isAlive = true
    var subscriptions: [UInt32: String] = [:]
    /// Messages published so far: each payload carries its number.
    var publishedCount = 0
    /// By subscription and publisher, the last number that was delivered.
    var last: [DeliveryKey: Int] = [:]

    init(id: SessionID, uid: UInt32, number: Int) {
        self.id = id
        self.uid = uid
        self.number = number
    }
}

struct DeliveryKey: Hashable {
    let subscription: UInt32
    let publisher: Publisher
    let topic: String
}

/// Who published: a client of one life of one node.
struct Publisher: Hashable {
    let node: Int
    let instance: UInt64
    let client: Int
}

/// One DELIVER as a client reads it.
struct Delivered {
    let subscription: UInt32
    let topic: String
    let payload: [UInt8]
    let record: SenderRecord
    let origin: String

    static func read(_ packet: Span<UInt8>, note: (Delivered) -> Void) throws {
        var cursor = try FrameCursor(packet: packet)
        var record: SenderRecord?
        var origin = ""
        while let header = try cursor.next(in: packet) {
            if header.type == .sender {
                let frame = SenderFrame(header, in: packet)
                record = frame.record
                origin = packet.extracting(frame.origin).text()
            } else if header.type == .deliver, let record {
                let frame = DeliverFrame(header, in: packet)
                note(
                    Delivered(
                        subscription: frame.subscription,
                        topic: packet.extracting(frame.topic).text(),
                        payload: packet.extracting(frame.payload).copied(), record: record,
                        origin: origin))
            }
        }
    }
}
