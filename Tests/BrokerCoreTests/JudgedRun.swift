import BrokerWire
import TestSupport
import Testing

@testable import BrokerCore

/// One random run: clients that connect, subscribe, publish, stall and leave, in front of a broker
/// and a judge. Everything follows from the seed.
final class JudgedRun {
    private static let uids: [UInt32] = [
        0, Sample.brokerUID, 1000, 1001, 65_534, 2_147_483_648, 4_294_967_294,
    ]

    private var random: SeededRandom
    private let harness: CoreHarness
    private var judge: Judge
    private var nextToken: UInt32 = 1
    private var nextMarker: UInt32 = 1
    /// Clients that the judge still counts on.
    private var live: Set<Int> = []
    private var endedAsUnknown: Set<Int> = []
    private var history: [[Received]] = []

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        let isOpenToAll = !random.oneIn(4)
        var configuration = Sample.configuration(
            policy: isOpenToAll
                ? .open(brokerUID: Sample.brokerUID) : .ownerOnly(brokerUID: Sample.brokerUID),
            packetBytesMax: random.pick([16_384, 65_536, 100_000, 262_144]))
        configuration.queueBytesPerSubscriptionMax = 1_000_000
        if random.bool() { configuration.quotaLimits.queuedBytes = 60_000 }
        if random.oneIn(3) { configuration.replyBytesPerSessionMax = 20_000 }
        harness = CoreHarness(configuration)
        judge = Judge(
            brokerUID: Sample.brokerUID, isOpenToAll: isOpenToAll,
            messageBytesMax: configuration.messageBytesMax,
            queueBytesMax: configuration.queueBytesPerSubscriptionMax)
    }

    func run(steps: Int) throws {
        for _ in 0..<3 { try connect() }
        for _ in 0..<steps { try step() }
        for client in harness.clients.indices { harness.unblock(client) }
        noteEnded()
        for client in harness.clients.indices { check(client) }
        harness.expectNothingLeft()
    }

    private func fail(_ what: String) {
        Issue.record("\(what); \(random)")
    }

    // MARK: What happens

    private func step() throws {
        switch random.int(in: 0...19) {
        case 0: try connect()
        case 1: if random.oneIn(3) { leave() }
        case 2, 3: stall()
        case 4, 5, 6: resume()
        case 7: harness.pass(seconds: random.pick([0.01, 1, 5, 11]))
        default: send()
        }
        noteEnded()
    }

    private func connect() throws {
        guard live.count < 7 else { return }
        let client = try harness.join(uid: random.pick(Self.uids), pid: 100)
        live.insert(client)
        history.append([])
    }

    private func leave() {
        guard let client = live.sorted().randomElement(using: &random) else { return }
        harness.close(client)
    }

    private func stall() {
        guard let client = live.sorted().randomElement(using: &random) else { return }
        harness.block(client, afterPackets: random.int(in: 0...3))
    }

    private func resume() {
        guard let client = live.sorted().randomElement(using: &random) else { return }
        harness.unblock(client, packets: random.bool() ? nil : random.int(in: 1...3))
    }

    private func send() {
        guard let client = live.sorted().randomElement(using: &random) else { return }
        // A shell may have read on before it heard that the client is to be held back.
        guard harness.clients[client].isReading || random.oneIn(8) else { return }
        let opener = harness.clients[client].opener
        let sender = Judge.Sender(
            client: client, attestation: attestation(of: opener), opener: opener)
        if random.oneIn(150) {
            harness.publish(client, "a", from: .unknown(.unrecorded))
            endedAsUnknown.insert(client)
            return
        }
        let frames = fitting((0..<random.int(in: 1...6)).map { _ in frame() })
        let before = harness.broker.statistics
        let sequence = harness.broker.nextSequence
        harness.send(client, from: .attested(sender.attestation)) { packet in
            for frame in frames { append(frame, to: &packet) }
        }
        let after = harness.broker.statistics
        let publishCount =
            after.messagesAccepted - before.messagesAccepted
            + after.publishesRefused - before.publishesRefused
        judge.take(
            frames, from: sender, sequence: sequence, publishCount: Int(publishCount))
        let isEnding = harness.broker.isEnding(harness.clients[client].id)
        let sent = frames.count { if case .publish = $0 { true } else { false } }
        if !isEnding && sent != Int(publishCount) { fail("publishes were not looked at") }
    }

    /// As many of them as fit into a packet that the broker takes.
    private func fitting(_ frames: [Judge.Frame]) -> [Judge.Frame] {
        var packet = PacketBuffer(capacityBytes: Limits.packetBytesMax)
        var count = 0
        for frame in frames {
            append(frame, to: &packet)
            if packet.byteCount > harness.broker.configuration.packetBytesMax { break }
            count += 1
        }
        return Array(frames.prefix(count))
    }

    private func attestation(of opener: Peer) -> Attestation {
        let isOpener = random.bool()
        let uid = isOpener || random.bool() ? opener.record.uid : random.pick(Self.uids)
        return Attestation(
            pid: isOpener ? opener.record.pid : 101, uid: uid, gid: random.pick([5, 6, 7]),
            process: 0, timeNanoseconds: 1)
    }

    private func frame() -> Judge.Frame {
        nextToken += random.oneIn(8) ? 2 : 1
        switch random.int(in: 0...11) {
        case 0, 1: return .subscribe(subscribeFrame())
        case 2: return .unsubscribe(token: nextToken, number: UInt32(random.int(in: 0...3)))
        case 3: return .ping(UInt64(nextToken))
        default:
            nextMarker += 1
            var payload = bytes(nextMarker)
            payload += [UInt8](repeating: 0, count: payloadBytes())
            let invalid = random.oneIn(40)
            return .publish(
                token: nextToken, acknowledge: random.bool(),
                topic: invalid ? random.pick(["a/#", "", "$SYS/a"]) : RandomTopic.name(&random),
                payload: payload)
        }
    }

    private func bytes(_ marker: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: marker >> UInt32(8 * $0)) }
    }

    private func payloadBytes() -> Int {
        if random.oneIn(60) {
            let largest = judge.messageBytesMax
            return max(0, min(largest, 40_000) - random.int(in: 0...20))
        }
        return random.pick([0, 10, 200, 2_000])
    }

    private func subscribeFrame() -> SubscribeFrame {
        var filters = (0..<random.int(in: 1...3)).map { _ in RandomTopic.filter(&random) }
        if random.oneIn(30) { filters.append(random.pick(["a+", "#/a", "", "$share/a"])) }
        let isChoosy = random.oneIn(3)
        let uid = random.pick(Self.uids)
        var frame = SubscribeFrame(
            token: nextToken, subscription: UInt32(random.int(in: 0...3)),
            queueBytesMax: random.pick([0, 1, 4_096, 20_000, 200_000]),
            overflow: random.pick([.disconnect, .dropOldest, .dropOldest, .block]),
            filters: filters.map { Array($0.utf8) },
            uidRanges: isChoosy ? [IDRange(first: 0, last: uid)] : [],
            gidRanges: isChoosy && random.bool() ? [IDRange(first: 6, last: 7)] : [])
        if random.oneIn(40) { frame.overflow = 3 }
        if random.oneIn(40) { frame.queueBytesMax = 1_000_001 }
        return frame
    }

    private func append(_ frame: Judge.Frame, to packet: inout PacketBuffer) {
        switch frame {
        case .publish(let token, let acknowledge, let topic, let payload):
            let name = Array(topic.utf8)
            packet.appendPublish(
                token: token, wantsAcknowledgement: acknowledge, topic: name.span,
                payload: payload.span)
        case .subscribe(let frame): packet.appendSubscribe(frame)
        case .unsubscribe(let token, let number):
            packet.appendUnsubscribe(token: token, subscription: number)
        case .ping(let nonce): packet.appendPing(nonce: nonce)
        }
    }

    // MARK: What it must have led to

    private func noteEnded() {
        for client in live where harness.broker.isEnding(harness.clients[client].id) {
            judge.end(client)
            live.remove(client)
        }
    }

    /// Walks through all that a client received.
    private func check(_ client: Int) {
        var walk = StreamWalk(judge: judge, client: client)
        for item in harness.take(client) {
            if let complaint = walk.take(item) { return fail("client \(client): \(complaint)") }
        }
        if let reason = walk.disconnectReason { checkEnd(client, reason, walk) }
        guard live.contains(client) else { return }
        if walk.answersLeft > 0 { fail("client \(client): \(walk.answersLeft) answers missing") }
        for (number, stream) in walk.current {
            let unreported = harness.unreportedLosses(client, number)
            let missing = judge.streams[stream].expected.count - (walk.seen[stream] ?? 0)
            if missing != Int(unreported) {
                fail("client \(client): \(missing) messages missing, \(unreported) unreported")
            }
        }
    }

    private func checkEnd(_ client: Int, _ reason: ReasonCode, _ walk: StreamWalk) {
        let couldOverflow = judge.streams.contains {
            $0.client == client && $0.frame.overflow != OverflowPolicy.dropOldest.rawValue
        }
        let isExpected =
            switch reason {
            case .identityUnknown: endedAsUnknown.contains(client)
            case .slowSubscriber: couldOverflow
            case .repliesUnread: true
            default: false
            }
        if !isExpected { fail("client \(client): ended with \(reason)") }
    }
}

extension CoreHarness {
    func unreportedLosses(_ client: Int, _ number: UInt32) -> UInt64 {
        guard let slot = broker.slot(of: clients[client].id),
            let subscription = broker.sessions[slot].subscriptions[number]
        else { return 0 }
        return broker.subscriptions[Int(subscription)].unreportedLosses
    }
}
