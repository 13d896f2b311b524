import BrokerCore
import BrokerWire

/// Reads bytes as a script for the core: clients connect under all kinds of identity, send right
/// and wrong packets, stall and leave, and time passes. Whatever the script is, the core must not
/// trap, what it sends must follow the protocol, and when all have left nothing may be left.
///
/// A step is an operation byte, of which the low four bits count, a client byte and an argument
/// byte. A packet of raw frames is followed by as many bytes as its argument says, times eight.
package struct BrokerScript: ~Copyable {
    private struct Client {
        let id: SessionID
        let opener: Peer
        var kernelRoom = Int.max
        var isWriteBlocked = false
        var isClosed = false
        var hasEnded = false
    }

    private static let uids: [UInt32] = [
        0, 990, 1000, 65_534, 2_147_483_648, 4_294_967_294, 4_294_967_295,
    ]
    private static let topics = ["a", "a/b", "", "$SYS/x", "a/#", "b/c/d"]
    private static let filters = ["#", "a/+", "a/#", "$SYS/#", "+", "a+", "b/c/d"]
    private static let clientsMax = 24
    private static let stepsMax = 400

    private var broker: Broker
    private var effects = Effects()
    private var clients: [Client] = []
    private var now: UInt64 = 1_000_000_000
    private var token: UInt32 = 0
    private var rest: ArraySlice<UInt8>
    private var violation: String?

    /// - Returns: what the core did wrong, or nil.
    package static func violation(of script: [UInt8]) -> String? {
        var run = BrokerScript(script)
        return run.run()
    }

    private init(_ script: [UInt8]) {
        rest = script[...]
        let traits = rest.popFirst() ?? 0
        let process = SenderRecord.Opener(pid: 1, uid: 990, gid: 990, process: 9)
        var configuration = BrokerConfiguration(
            name: "fuzz", version: "0", instance: 1, hashSeed: 7, process: process,
            packetBytesMax: traits & 1 == 0 ? Limits.packetBytesMin : Limits.packetBytesMax,
            policy: traits & 2 == 0 ? .open(brokerUID: 990) : .ownerOnly(brokerUID: 990))
        if traits & 4 != 0 { configuration.quotaLimits.queuedBytes = 50_000 }
        if traits & 8 != 0 { configuration.replyBytesPerSessionMax = 9_000 }
        if traits & 16 != 0 { configuration.quotaLimits.subscriptions = 3 }
        configuration.queueBytesPerSubscriptionMax = Limits.queueBytesPerSubscriptionMax
        broker = Broker(configuration: configuration, nowNanoseconds: now)
    }

    private mutating func run() -> String? {
        var steps = 0
        while let operation = rest.popFirst(), steps < Self.stepsMax, violation == nil {
            step(operation & 15, client: rest.popFirst() ?? 0, argument: rest.popFirst() ?? 0)
            // Effects of several events may be run together.
            if operation & 128 == 0 { runEffects() }
            steps += 1
        }
        runEffects()
        for index in clients.indices { close(index) }
        runEffects()
        let isClean =
            broker.packetsQueued == 0 && broker.sessionCount == 0
            && broker.subscriptionCount == 0
        if violation == nil && !isClean {
            violation =
                "left behind: \(broker.packetsQueued) packets, \(broker.sessionCount) sessions, "
                + "\(broker.subscriptionCount) subscriptions"
        }
        return violation
    }

    // MARK: Steps

    private mutating func step(_ operation: UInt8, client byte: UInt8, argument: UInt8) {
        if operation <= 1 || clients.isEmpty {
            connect(byte, greets: operation == 0)
            return
        }
        let client = Int(byte) % clients.count
        switch operation {
        case 2: sendRaw(client, argument)
        case 3, 4: publish(client, argument)
        case 5, 6: subscribe(client, argument)
        case 7: send(client, argument) { $0.appendUnsubscribe(token: 0, subscription: 1) }
        case 8: send(client, argument) { $0.appendStatusRequest(token: 1) }
        case 9: clients[client].kernelRoom = Int(argument & 3)
        case 10: unblock(client, packets: Int(argument))
        case 11:
            now += UInt64(argument) * 100_000_000
            broker.timePassed(nowNanoseconds: now, wallNanoseconds: now, into: &effects)
        case 12: close(client)
        case 13:
            broker.oversizedPacketReceived(
                clients[client].id, nowNanoseconds: now, into: &effects)
        case 14 where argument < 16: broker.shutDown(nowNanoseconds: now, into: &effects)
        case 14 where argument < 64: subscribeManyTimes(client)
        case 15: publishAndMore(client, argument)
        default: broker.emptyPacketReceived(clients[client].id)
        }
    }

    private mutating func connect(_ byte: UInt8, greets: Bool) {
        guard clients.count < Self.clientsMax else { return }
        let uid = Self.uids[Int(byte) % Self.uids.count]
        let opener = Peer(
            record: SenderRecord.Opener(pid: 100, uid: uid, gid: uid, process: 0), groups: [],
            domain: byte < 128 ? .own : .other(ownerUID: 1000))
        let outcome = broker.connectionOpened(opener, nowNanoseconds: now, into: &effects)
        guard case .accepted(let id) = outcome else { return }
        clients.append(Client(id: id, opener: opener))
        if greets {
            send(clients.count - 1, 0) {
                $0.appendHello(versionMin: 1, versionMax: 1, name: "fuzz")
            }
        }
    }

    /// Mostly the opener itself, sometimes another process, another uid or nobody.
    private func identity(_ client: Int, _ argument: UInt8) -> PacketIdentity {
        let opener = clients[client].opener.record
        if argument == 255 { return .unknown(.incomplete) }
        let isOther = argument & 0xC0 == 0xC0
        return .attested(
            Attestation(
                pid: argument & 0x40 == 0 ? opener.pid : 101,
                uid: isOther ? Self.uids[Int(argument & 7) % Self.uids.count] : opener.uid,
                gid: 5, process: 0, timeNanoseconds: 1))
    }

    private mutating func send(
        _ client: Int, _ argument: UInt8, _ fill: (inout PacketBuffer) -> Void
    ) {
        var packet = PacketBuffer(capacityBytes: Limits.packetBytesMax)
        fill(&packet)
        packet.seal()
        broker.packetReceived(
            clients[client].id, packet.span, from: identity(client, argument),
            nowNanoseconds: now, into: &effects)
    }

    private mutating func sendRaw(_ client: Int, _ argument: UInt8) {
        let count = min(rest.count, Int(argument) * 8)
        let frames = Array(rest.prefix(count))
        rest = rest.dropFirst(count)
        let padding = [UInt8](repeating: 0, count: PacketHeader.byteCount)
        let packet = PacketInspection.withRightHeader(padding + frames)
        broker.packetReceived(
            clients[client].id, packet.span, from: identity(client, 0), nowNanoseconds: now,
            into: &effects)
    }

    private mutating func publish(_ client: Int, _ argument: UInt8) {
        let topic = Array(Self.topics[Int(argument & 7) % Self.topics.count].utf8)
        let sizes = [0, 100, 3_000, 15_000]
        let payload = [UInt8](repeating: 1, count: sizes[Int(argument >> 4 & 3)])
        let first = token
        token += 10
        send(client, argument) { packet in
            for index in UInt32(0)..<10 {
                packet.appendPublish(
                    token: first + index, wantsAcknowledgement: argument & 8 != 0,
                    topic: topic.span, payload: payload.span)
            }
        }
    }

    private mutating func subscribe(_ client: Int, _ argument: UInt8) {
        let limits: [UInt32] = [0, 1, 10_000, 100_000]
        let filter = Self.filters[Int(argument & 7) % Self.filters.count]
        var frame = Self.subscription(
            UInt32(argument & 1), filter, "a/b", queueBytesMax: limits[Int(argument >> 6 & 3)])
        frame.overflow = argument >> 4 & 3
        send(client, 0) { $0.appendSubscribe(frame) }
    }

    private static func subscription(
        _ number: UInt32, _ filters: String..., queueBytesMax: UInt32
    ) -> SubscribeFrame {
        SubscribeFrame(
            token: 0, subscription: number, queueBytesMax: queueBytesMax, overflow: .disconnect,
            filters: filters.map { Array($0.utf8) }, uidRanges: [], gidRanges: [])
    }

    /// As many subscriptions as make messages be delivered receiver by receiver.
    private mutating func subscribeManyTimes(_ client: Int) {
        for number in UInt32(2)..<22 {
            let frame = Self.subscription(number, "a/b", queueBytesMax: 1)
            send(client, 0) { $0.appendSubscribe(frame) }
        }
    }

    /// A packet of messages with another frame behind them, and one more message behind that.
    private mutating func publishAndMore(_ client: Int, _ argument: UInt8) {
        let topic = Array("a/b".utf8)
        let payload = [UInt8](repeating: 1, count: argument & 8 == 0 ? 100 : 15_000)
        func append(to packet: inout PacketBuffer) {
            packet.appendPublish(
                token: 0, wantsAcknowledgement: argument & 16 != 0, topic: topic.span,
                payload: payload.span)
        }
        send(client, argument & 0xC0) { packet in
            append(to: &packet)
            append(to: &packet)
            switch argument & 7 {
            case 0: packet.appendDisconnect(reason: .success, explanation: "")
            case 1: packet.appendHello(versionMin: 1, versionMax: 1, name: "again")
            case 2: packet.appendPing(nonce: 1)
            case 3: packet.appendStatusRequest(token: 1)
            case 4: packet.appendUnsubscribe(token: 0, subscription: 2)
            case 5: packet.appendSubscribe(Self.subscription(1, "a/b", queueBytesMax: 0))
            default: packet.appendPong(nonce: 1)
            }
            append(to: &packet)
        }
    }

    private mutating func unblock(_ client: Int, packets: Int) {
        clients[client].kernelRoom = packets == 0 ? Int.max : packets
        guard clients[client].isWriteBlocked, !clients[client].isClosed else { return }
        clients[client].isWriteBlocked = false
        broker.outboundWritable(clients[client].id)
        flush(client)
    }

    private mutating func close(_ client: Int) {
        guard !clients[client].isClosed else { return }
        clients[client].isClosed = true
        broker.connectionClosed(clients[client].id, into: &effects)
    }

    // MARK: The shell

    private mutating func runEffects() {
        var rounds = 0
        while !effects.isEmpty {
            let current = effects
            effects.clear()
            for request in current.statusRequests {
                let document = [UInt8](repeating: 0x20, count: 70_000)
                broker.answerStatus(
                    request, document: document.span, nowNanoseconds: now, into: &effects)
            }
            for id in current.dirty { find(id).map { flush($0) } }
            for id in current.closing { find(id).map { close($0) } }
            rounds += 1
            if rounds > 1_000 { violation = "the effects never end" }
            if violation != nil { return }
        }
    }

    private func find(_ id: SessionID) -> Int? {
        clients.firstIndex { $0.id == id }
    }

    private mutating func flush(_ client: Int) {
        let id = clients[client].id
        var hasMore = !clients[client].isClosed
        while hasMore {
            let prepared = broker.prepareOutbound(id)
            if prepared == 0 { return }
            let sent = min(prepared, clients[client].kernelRoom)
            clients[client].kernelRoom -= sent
            for index in 0..<sent { take(broker.outboundPacket(index).copied(), client) }
            hasMore = broker.outboundSent(id, count: sent, into: &effects)
            if sent < prepared {
                clients[client].isWriteBlocked = true
                broker.outboundBlocked(id)
                return
            }
        }
    }

    private mutating func take(_ packet: [UInt8], _ client: Int) {
        if packet.count > broker.configuration.packetBytesMax {
            violation = "a packet of \(packet.count) bytes"
        }
        if clients[client].hasEnded { violation = "a packet after DISCONNECT" }
        do {
            var cursor = try FrameCursor(packet: packet.span)
            var hasSender = false
            while let header = try cursor.next(in: packet.span) {
                if clients[client].hasEnded { violation = "a frame after DISCONNECT" }
                if header.type == .sender { hasSender = true }
                if header.type == .deliver && !hasSender { violation = "no SENDER" }
                if header.type == .disconnect { clients[client].hasEnded = true }
            }
        } catch {
            violation = "the core sent a wrong packet: \(error)"
        }
    }
}
