import BrokerCore
import BrokerWire
import CMeasurement

/// A broker core under the load of one scenario: packets go in, of 64 KiB if the scenario does not
/// say otherwise, and what comes out is prepared and counted as sent.
struct Load: ~Copyable {
    private let scenario: Scenario
    private var broker: Broker
    private var effects = Effects()
    private let policy: AccessPolicy
    private let publisher: SessionID
    private let idle: SessionID
    private var latestChange: UInt32 = 1_000_000
    private let packets: [[UInt8]]
    private var now: UInt64 = 1
    /// Packets taken in since the latest output.
    private var gathered = 0
    /// Messages published by one round: each packet once.
    let messagesPerRound: Int
    /// Heap that sessions and subscriptions without traffic took.
    private(set) var bytesPerIdleSession = 0.0
    private(set) var bytesPerIdleSubscription = 0.0

    init(_ scenario: Scenario) {
        self.scenario = scenario
        policy = Self.makePolicy(rules: scenario.rules)
        broker = Self.makeBroker(policy)
        publisher = Self.join(&broker, uid: 1_000, &effects)
        for _ in 0..<scenario.receivers {
            let session = Self.join(&broker, uid: 1_001, &effects)
            Self.subscribe(&broker, session, uid: 1_001, 1, ["sensor/+"], &effects)
        }
        var before = cmeasurement_bytes()
        for index in 0..<scenario.idleSessions {
            _ = Self.join(&broker, uid: 2_000 + UInt32(index / 4_000), &effects)
            Self.drain(&broker, &effects)
        }
        if scenario.idleSessions > 0 {
            bytesPerIdleSession =
                Double(cmeasurement_bytes() - before) / Double(scenario.idleSessions)
        }
        idle = Self.join(&broker, uid: 1_002, &effects)
        before = cmeasurement_bytes()
        for index in 0..<(scenario.idleFilters / 10) {
            let filters = (0..<10).map { "idle/\(index * 10 + $0)/+" }
            Self.subscribe(&broker, idle, uid: 1_002, UInt32(index), filters, &effects)
            Self.drain(&broker, &effects)
        }
        bytesPerIdleSubscription =
            Double(cmeasurement_bytes() - before) / Double(max(1, scenario.idleFilters / 10))
        packets = Self.makePackets(scenario)
        messagesPerRound = packets.count * Self.messagesPerPacket(scenario)
        Self.drain(&broker, &effects)
    }

    /// Repeats the packets for a while, several times over, and keeps the best.
    mutating func measure(messages: Int = 400_000, repeats: Int = 7) -> Measurement {
        let rounds = max(1, messages / messagesPerRound)
        var best = Double.infinity
        var allocations: UInt64 = .max
        run(rounds: max(1, rounds / 4))
        for _ in 0..<repeats {
            let before = cmeasurement_allocations()
            let start = cmeasurement_nanoseconds()
            run(rounds: rounds)
            let elapsed = cmeasurement_nanoseconds() - start
            allocations = min(allocations, cmeasurement_allocations() - before)
            best = min(best, Double(elapsed))
        }
        let count = Double(rounds * messagesPerRound)
        return Measurement(
            scenario: scenario, nanosecondsPerMessage: best / count,
            allocationsPerMessage: Double(allocations) / count)
    }

    /// What the guard counts the instructions of, by this name: nothing else is in it.
    ///
    /// - Returns: allocations.
    @inline(never)
    mutating func countedRounds(_ rounds: Int) -> UInt64 {
        let before = cmeasurement_allocations()
        run(rounds: rounds)
        return cmeasurement_allocations() - before
    }

    mutating func run(rounds: Int) {
        for _ in 0..<rounds {
            for packet in packets {
                let attestation = Attestation(
                    pid: 100, uid: 1_000, gid: 1_000, process: 0, timeNanoseconds: now)
                now += 1
                broker.packetReceived(
                    publisher, packet.span, from: .attested(attestation), nowNanoseconds: 1,
                    into: &effects)
                gathered += 1
                if gathered == scenario.packetsPerOutput {
                    Self.drain(&broker, &effects)
                    gathered = 0
                }
                change(scenario.change)
            }
        }
    }

    mutating func change(_ change: Scenario.Change) {
        switch change {
        case .none:
            return
        case .filters:
            let number = latestChange
            latestChange += 1
            let filter = "idle/\(latestChange)/#"
            Self.subscribe(&broker, idle, uid: 1_002, latestChange, [filter], &effects)
            Self.send(&broker, idle, uid: 1_002, &effects) {
                $0.appendUnsubscribe(token: 1, subscription: number)
            }
        case .rules:
            _ = broker.policyChanged(policy, nowNanoseconds: 1, into: &effects)
        }
        Self.drain(&broker, &effects)
    }

    private static func drain(_ broker: inout Broker, _ effects: inout Effects) {
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

    private static func makeBroker(_ policy: AccessPolicy) -> Broker {
        let process = SenderRecord.Opener(pid: 1, uid: 990, gid: 990, process: 0)
        let configuration = BrokerConfiguration(
            name: "bench", version: "0", instance: 1, hashSeed: 0x1234_5678_9ABC_DEF0,
            process: process, packetBytesMax: 212_992, policy: policy)
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
        _ broker: inout Broker, _ id: SessionID, uid: UInt32, _ number: UInt32,
        _ filters: [String], _ effects: inout Effects
    ) {
        let frame = SubscribeFrame(
            token: 1, subscription: number, queueBytesMax: 0, overflow: .disconnect,
            filters: filters.map { Array($0.utf8) }, uidRanges: [], gidRanges: [])
        send(&broker, id, uid: uid, &effects) { $0.appendSubscribe(frame) }
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

    private static func packetBytes(_ scenario: Scenario) -> Int {
        if let messages = scenario.messagesPerPacket {
            return PacketHeader.byteCount + messages * messageBytes(scenario)
        }
        return max(Limits.batchBytesTarget, PacketHeader.byteCount + messageBytes(scenario))
    }

    private static func messageBytes(_ scenario: Scenario) -> Int {
        PublishFrame.overheadBytes + 13 + scenario.payloadBytes
    }

    private static func messagesPerPacket(_ scenario: Scenario) -> Int {
        (packetBytes(scenario) - PacketHeader.byteCount) / messageBytes(scenario)
    }

    /// Topics have thirteen bytes: `sensor/000042`.
    private static func makePackets(_ scenario: Scenario) -> [[UInt8]] {
        let payload = [UInt8](repeating: 0x2A, count: scenario.payloadBytes)
        let perPacket = messagesPerPacket(scenario)
        var message = 0
        return (0..<((scenario.topics + perPacket - 1) / perPacket)).map { _ in
            var packet = PacketBuffer(capacityBytes: packetBytes(scenario))
            for _ in 0..<perPacket {
                let digits = String(1_000_000 + message % scenario.topics).dropFirst()
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
