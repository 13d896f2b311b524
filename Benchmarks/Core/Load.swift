import BrokerCore
import BrokerWire
import CMeasurement

/// A broker core under the load of one scenario: packets of 64 KiB go in, what comes out is
/// prepared and counted as sent at once.
struct Load: ~Copyable {
    private var broker: Broker
    private var effects = Effects()
    private let publisher: SessionID
    private let packets: [[UInt8]]
    private let messagesPerRound: Int
    private var now: UInt64 = 1

    init(_ scenario: Scenario) {
        var broker = Self.makeBroker(rules: scenario.rules)
        var effects = Effects()
        publisher = Self.join(&broker, uid: 1_000, &effects)
        for _ in 0..<scenario.receivers {
            let session = Self.join(&broker, uid: 1_001, &effects)
            Self.subscribe(&broker, session, 1, ["sensor/+"], &effects)
        }
        let idle = Self.join(&broker, uid: 1_002, &effects)
        for index in 0..<(scenario.idleFilters / 10) {
            let filters = (0..<10).map { "idle/\(index * 10 + $0)/+" }
            Self.subscribe(&broker, idle, UInt32(index), filters, &effects)
        }
        self.broker = broker
        self.effects = effects
        packets = Self.makePackets(scenario)
        messagesPerRound = Self.countMessages(scenario)
        drain()
    }

    /// Repeats the packets for a while, several times over, and keeps the best.
    mutating func measure(_ scenario: Scenario) -> Measurement {
        let rounds = max(1, 400_000 / messagesPerRound)
        var best = Double.infinity
        var allocations: UInt64 = .max
        run(rounds: rounds)
        for _ in 0..<7 {
            let before = cmeasurement_allocations()
            let start = cmeasurement_nanoseconds()
            run(rounds: rounds)
            let elapsed = cmeasurement_nanoseconds() - start
            allocations = min(allocations, cmeasurement_allocations() - before)
            best = min(best, Double(elapsed))
        }
        let messages = Double(rounds * messagesPerRound)
        return Measurement(
            scenario: scenario, nanosecondsPerMessage: best / messages,
            allocationsPerMessage: Double(allocations) / messages)
    }

    private mutating func run(rounds: Int) {
        for _ in 0..<rounds {
            for packet in packets {
                let attestation = Attestation(
                    pid: 100, uid: 1_000, gid: 1_000, process: 0, timeNanoseconds: now)
                now += 1
                broker.packetReceived(
                    publisher, packet.span, from: .attested(attestation), nowNanoseconds: 1,
                    into: &effects)
                drain()
            }
        }
    }

    private mutating func drain() {
        precondition(effects.closing.isEmpty)
        for id in effects.dirty {
            while true {
                let count = broker.prepareOutbound(id)
                if count == 0 || !broker.outboundSent(id, count: count, into: &effects) { break }
            }
        }
        effects.clear()
    }

    // MARK: Making it

    private static func makeBroker(rules: Int) -> Broker {
        let process = SenderRecord.Opener(pid: 1, uid: 990, gid: 990, process: 0)
        let configuration = BrokerConfiguration(
            name: "bench", version: "0", instance: 1, hashSeed: 0x1234_5678_9ABC_DEF0,
            process: process, packetBytesMax: 212_992, policy: makePolicy(rules: rules))
        return Broker(configuration: configuration, nowNanoseconds: 1)
    }

    /// Rules for as many users, of whom the three that take part are the last.
    private static func makePolicy(rules count: Int) -> AccessPolicy {
        if count == 0 { return .open(brokerUID: 990) }
        let rules = (0..<count).map { index in
            var rule = AccessRule(name: "rule \(index)", line: index + 1)
            let isIdle = index + 1 < count
            let first = isIdle ? UInt32(10_000 + index) : 1_000
            rule.uids = [IDRange(first: first, last: isIdle ? first : 1_002)]
            rule.allows = ActionSet([.publish, .subscribe])
            rule.topics = [TopicPattern(filter: "#")]
            return rule
        }
        return .rules(rules, brokerUID: 990)
    }

    private static func join(
        _ broker: inout Broker, uid: UInt32, _ effects: inout Effects
    ) -> SessionID {
        let opener = SenderRecord.Opener(pid: 100, uid: uid, gid: uid, process: 0)
        let peer = Peer(record: opener, groups: [], domain: .own)
        guard
            case .accepted(let id) = broker.connectionOpened(
                peer, nowNanoseconds: 1, into: &effects)
        else { preconditionFailure("the core refused a connection") }
        send(&broker, id, uid: uid, &effects) {
            $0.appendHello(versionMin: 1, versionMax: 1, name: "bench")
        }
        return id
    }

    private static func subscribe(
        _ broker: inout Broker, _ id: SessionID, _ number: UInt32, _ filters: [String],
        _ effects: inout Effects
    ) {
        let frame = SubscribeFrame(
            token: 1, subscription: number, queueBytesMax: 0, overflow: .disconnect,
            filters: filters.map { Array($0.utf8) }, uidRanges: [], gidRanges: [])
        send(&broker, id, uid: 1_001, &effects) { $0.appendSubscribe(frame) }
    }

    private static func send(
        _ broker: inout Broker, _ id: SessionID, uid: UInt32, _ effects: inout Effects,
        _ fill: (inout PacketBuffer) -> Void
    ) {
        var packet = PacketBuffer(capacityBytes: Limits.batchBytesTarget)
        fill(&packet)
        packet.seal()
        let attestation = Attestation(
            pid: 100, uid: uid, gid: uid, process: 0, timeNanoseconds: 1)
        broker.packetReceived(
            id, packet.span, from: .attested(attestation), nowNanoseconds: 1, into: &effects)
    }

    private static func messagesPerPacket(_ scenario: Scenario) -> Int {
        (Limits.batchBytesTarget - PacketHeader.byteCount)
            / (PublishFrame.overheadBytes + 12 + scenario.payloadBytes)
    }

    private static func packetCount(_ scenario: Scenario) -> Int {
        (scenario.topics + messagesPerPacket(scenario) - 1) / messagesPerPacket(scenario)
    }

    private static func countMessages(_ scenario: Scenario) -> Int {
        packetCount(scenario) * messagesPerPacket(scenario)
    }

    /// Topics have twelve bytes: `sensor/00042`.
    private static func makePackets(_ scenario: Scenario) -> [[UInt8]] {
        let payload = [UInt8](repeating: 0x2A, count: scenario.payloadBytes)
        var message = 0
        return (0..<packetCount(scenario)).map { _ in
            var packet = PacketBuffer(capacityBytes: Limits.batchBytesTarget)
            for _ in 0..<messagesPerPacket(scenario) {
                let digits = String(100_000 + message % scenario.topics).dropFirst()
                let topic = Array("sensor/\(digits)".utf8)
                packet.appendPublish(
                    token: UInt32(message), wantsAcknowledgement: scenario.acknowledge,
                    topic: topic.span, payload: payload.span)
                message += 1
            }
            packet.seal()
            return packet.span.copied()
        }
    }
}
