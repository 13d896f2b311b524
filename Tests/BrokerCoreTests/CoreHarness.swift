import BrokerWire
import Testing

@testable import BrokerCore

/// A broker core with fake clients around it: feeds packets in and does with the effects what
/// the shell would do. Each client has a "kernel" that takes a number of packets and then blocks.
final class CoreHarness {
    struct Client {
        let id: SessionID
        let opener: Peer
        /// Packets the socket still takes.
        var kernelRoom = Int.max
        var isWriteBlocked = false
        var isReading = true
        /// The broker has closed the connection, or the client has.
        var isClosed = false
        /// DISCONNECT has arrived.
        var hasEnded = false
        var received: [Received] = []
        /// Bytes of each packet received.
        var packetBytes: [Int] = []
    }

    var broker: Broker
    private(set) var effects = Effects()
    private(set) var clients: [Client] = []
    private(set) var notices: [Effects.Notice] = []
    private(set) var noticesDropped = 0
    var now: UInt64 = Sample.second
    /// What status requests are answered with.
    var statusDocument: [UInt8] = Array("{}".utf8)
    /// Effects of several events are gathered before they are run, as a shell may do.
    var holdsEffects = false
    private var token: UInt32 = 0
    private var outgoing = PacketBuffer(capacityBytes: Limits.packetBytesMax)

    init(_ configuration: BrokerConfiguration = Sample.configuration()) {
        broker = Broker(configuration: configuration, nowNanoseconds: now)
    }

    // MARK: Connections

    /// Connects without HELLO.
    ///
    /// - Returns: the number of the client.
    func connect(_ opener: Peer) throws -> Int {
        let outcome = broker.connectionOpened(opener, nowNanoseconds: now, into: &effects)
        guard case .accepted(let id) = outcome else {
            runEffects()
            throw Refused(outcome: outcome)
        }
        clients.append(Client(id: id, opener: opener))
        runEffects()
        return clients.count - 1
    }

    struct Refused: Error {
        let outcome: Broker.ConnectionOutcome
    }

    /// Connects, greets and forgets the WELCOME.
    func join(uid: UInt32, pid: Int32 = 100) throws -> Int {
        try join(Sample.peer(uid: uid, pid: pid))
    }

    func join(_ opener: Peer) throws -> Int {
        let client = try connect(opener)
        send(client) { $0.appendHello(versionMin: 1, versionMax: 1, name: "client") }
        #expect(take(client).contains { $0.isWelcome })
        return client
    }

    /// A publisher with uid 1000, and with uid 1001 a subscriber that stops to read.
    ///
    /// - Parameter packets: how many its socket still takes.
    func joinPair(
        _ filter: String, overflow: OverflowPolicy = .disconnect, queueBytesMax: UInt32 = 0,
        blockedAfter packets: Int = 0
    ) throws -> (publisher: Int, slow: Int) {
        let publisher = try join(uid: 1000)
        let slow = try join(uid: 1001)
        subscribe(slow, 1, filter, overflow: overflow, queueBytesMax: queueBytesMax)
        block(slow, afterPackets: packets)
        return (publisher, slow)
    }

    /// The client closes its end, or dies.
    func close(_ client: Int) {
        guard !clients[client].isClosed else { return }
        clients[client].isClosed = true
        broker.connectionClosed(clients[client].id, into: &effects)
        runEffects()
    }

    // MARK: Packets in

    /// Sends a packet as the opener itself would.
    func send(_ client: Int, _ fill: (inout PacketBuffer) -> Void) {
        let opener = clients[client].opener.record
        let attestation = Attestation(
            pid: opener.pid, uid: opener.uid, gid: opener.gid, process: opener.process,
            timeNanoseconds: now)
        send(client, from: .attested(attestation), fill)
    }

    func send(_ client: Int, from identity: PacketIdentity, _ fill: (inout PacketBuffer) -> Void) {
        outgoing.clear()
        fill(&outgoing)
        if !outgoing.isEmpty { outgoing.seal() }
        broker.packetReceived(
            clients[client].id, outgoing.span, from: identity, nowNanoseconds: now, into: &effects)
        runEffects()
    }

    func send(_ client: Int, bytes: [UInt8]) {
        let opener = clients[client].opener.record
        broker.packetReceived(
            clients[client].id, bytes.span,
            from: .attested(Sample.attestation(uid: opener.uid, pid: opener.pid)),
            nowNanoseconds: now, into: &effects)
        runEffects()
    }

    func publish(
        _ client: Int, _ topic: String, _ payload: [UInt8] = [], count: Int = 1,
        acknowledge: Bool = false, from identity: PacketIdentity? = nil
    ) {
        let first = token
        token &+= UInt32(count)
        let name = Array(topic.utf8)
        let fill: (inout PacketBuffer) -> Void = { packet in
            for index in 0..<count {
                packet.appendPublish(
                    token: first &+ UInt32(index), wantsAcknowledgement: acknowledge,
                    topic: name.span, payload: payload.span)
            }
        }
        if let identity {
            send(client, from: identity, fill)
        } else {
            send(client, fill)
        }
    }

    /// Subscribes and takes the answer out of what the client received.
    @discardableResult
    func subscribe(
        _ client: Int, _ number: UInt32, _ filters: String...,
        overflow: OverflowPolicy = .disconnect, queueBytesMax: UInt32 = 0,
        from senders: (uids: [IDRange], gids: [IDRange]) = ([], [])
    ) -> ReplyFrame? {
        token &+= 1
        let frame = SubscribeFrame(
            token: token, subscription: number, queueBytesMax: queueBytesMax, overflow: overflow,
            filters: filters.map { Array($0.utf8) }, uidRanges: senders.uids,
            gidRanges: senders.gids)
        send(client) { $0.appendSubscribe(frame) }
        return takeReply(client, to: token)
    }

    @discardableResult
    func unsubscribe(_ client: Int, _ number: UInt32) -> ReplyFrame? {
        token &+= 1
        let token = token
        send(client) { $0.appendUnsubscribe(token: token, subscription: number) }
        return takeReply(client, to: token)
    }

    func oversizedPacket(_ client: Int) {
        broker.oversizedPacketReceived(
            clients[client].id, nowNanoseconds: now, into: &effects)
        runEffects()
    }

    func emptyPacket(_ client: Int) {
        broker.emptyPacketReceived(clients[client].id)
    }

    // MARK: Time

    func pass(seconds: Double) {
        now += UInt64(seconds * Double(Sample.second))
        broker.timePassed(nowNanoseconds: now, wallNanoseconds: now, into: &effects)
        runEffects()
    }

    @discardableResult
    func changePolicy(_ policy: AccessPolicy) -> Broker.PolicyChange {
        let change = broker.policyChanged(policy, nowNanoseconds: now, into: &effects)
        runEffects()
        return change
    }

    func shutDown() {
        broker.shutDown(nowNanoseconds: now, into: &effects)
        runEffects()
    }

    // MARK: What clients read

    /// Everything received since the last call.
    func take(_ client: Int) -> [Received] {
        defer { clients[client].received = [] }
        return clients[client].received
    }

    func takeDeliveries(_ client: Int) -> [Received.Delivery] {
        take(client).compactMap(\.delivery)
    }

    private func takeReply(_ client: Int, to token: UInt32) -> ReplyFrame? {
        let index = clients[client].received.firstIndex { $0.reply?.token == token }
        return index.flatMap { clients[client].received.remove(at: $0).reply }
    }

    /// From now on the client's socket takes `packets` more and then blocks.
    func block(_ client: Int, afterPackets packets: Int = 0) {
        clients[client].kernelRoom = packets
    }

    /// The client reads: its socket takes `packets` more, all from now on if nil.
    func unblock(_ client: Int, packets: Int? = nil) {
        clients[client].kernelRoom = packets ?? Int.max
        guard clients[client].isWriteBlocked, !clients[client].isClosed else { return }
        clients[client].isWriteBlocked = false
        broker.outboundWritable(clients[client].id)
        flush(client)
        runEffects()
    }

    // MARK: The shell

    /// Does what the effects ask for, until there is nothing to do.
    func runEffects() {
        if holdsEffects { return }
        while !effects.isEmpty {
            let current = effects
            effects.clear()
            notices += current.notices
            noticesDropped += current.noticesDropped
            for id in current.pausing { update(id) { $0.isReading = false } }
            for id in current.resuming { update(id) { $0.isReading = true } }
            for id in current.dirty { index(of: id).map(flush) }
            for request in current.statusRequests {
                broker.answerStatus(
                    request, document: statusDocument.span, nowNanoseconds: now, into: &effects)
            }
            for request in current.adminRequests {
                broker.answerAdministration(
                    request, document: statusDocument.span, nowNanoseconds: now, into: &effects)
            }
            for id in current.closing { index(of: id).map(close) }
        }
    }

    /// Does what effects ask for that were made elsewhere.
    func run(_ made: Effects) {
        precondition(effects.isEmpty)
        effects = made
        runEffects()
    }

    private func flush(_ client: Int) {
        let id = clients[client].id
        var hasMore = true
        while hasMore {
            let prepared = broker.prepareOutbound(id)
            if prepared == 0 { return }
            let sent = min(prepared, clients[client].kernelRoom)
            clients[client].kernelRoom -= sent
            for index in 0..<sent { receive(broker.outboundPacket(index), client) }
            hasMore = broker.outboundSent(id, count: sent, into: &effects)
            if sent < prepared {
                clients[client].isWriteBlocked = true
                broker.outboundBlocked(id)
                return
            }
        }
    }

    private func receive(_ packet: Span<UInt8>, _ client: Int) {
        if clients[client].hasEnded { Issue.record("DISCONNECT must be the last frame") }
        if packet.count > broker.configuration.packetBytesMax {
            Issue.record("a packet of \(packet.count) bytes is larger than packetBytesMax")
        }
        clients[client].packetBytes.append(packet.count)
        do {
            let received = try Received.decode(packet)
            clients[client].hasEnded = received.contains { $0.disconnectReason != nil }
            clients[client].received += received
        } catch {
            Issue.record("the broker sent a wrong packet: \(error)")
        }
    }

    private func update(_ id: SessionID, _ change: (inout Client) -> Void) {
        if let client = index(of: id) { change(&clients[client]) }
    }

    private func index(of id: SessionID) -> Int? {
        clients.firstIndex { $0.id == id }
    }

    // MARK: Invariants

    /// Closes everything and expects that every charge has been returned.
    func expectNothingLeft(sourceLocation: SourceLocation = #_sourceLocation) {
        for client in clients.indices { close(client) }
        #expect(broker.packetsQueued == 0, sourceLocation: sourceLocation)
        #expect(broker.sessionCount == 0, sourceLocation: sourceLocation)
        #expect(broker.subscriptionCount == 0, sourceLocation: sourceLocation)
        #expect(broker.trie.filterCount == 0, sourceLocation: sourceLocation)
        #expect(broker.trie.nodeCount == 1, sourceLocation: sourceLocation)
        #expect(broker.quotas.active.isEmpty, sourceLocation: sourceLocation)
        #expect(broker.doomed.isEmpty, sourceLocation: sourceLocation)
    }
}

extension CoreHarness {
    func subjectNumber(_ subject: Subject) -> UInt32 {
        broker.number(of: subject)
    }
}
