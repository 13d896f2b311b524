import BrokerSigning
import BrokerWire
import TestSupport

@testable import BrokerCore

/// Keys from a key file, real HMAC, and random numbers that are the same in each run, so that an
/// exchange can be played again byte by byte.
final class FixedSecurity: LinkSecurity {
    private var keys: [UInt64: [UInt8]]
    var current: UInt64
    private var random: SeededRandom

    init(keys: [UInt64: [UInt8]], current: UInt64, seed: UInt64) {
        self.keys = keys
        self.current = current
        random = SeededRandom(seed: seed)
    }

    func revoke(_ key: UInt64) { keys[key] = nil }
    func grant(_ key: UInt64) { keys[key] = Exchange.keys[key] }

    func currentKey(ofLink name: String) -> UInt64? { current }
    func accepts(key: UInt64, ofLink name: String) -> Bool { keys[key] != nil }
    func makeRandom(byteCount: Int) -> [UInt8] { random.bytes(count: byteCount) }

    func deriveKeys(
        key: UInt64, ofLink name: String, salt: [UInt8], connectorInfo: [UInt8],
        listenerInfo: [UInt8]
    ) -> LinkSessionKeys? {
        guard let secret = keys[key] else { return nil }
        func signer(_ info: [UInt8]) -> Signer? {
            guard
                let derived = try? HKDF.derive(
                    secret: secret.span, salt: salt.span, info: info.span, count: 32),
                let authenticator = try? MessageAuthenticator(keyBytes: derived.span)
            else { return nil }
            return Signer(authenticator)
        }
        guard let connector = signer(connectorInfo), let listener = signer(listenerInfo) else {
            return nil
        }
        return LinkSessionKeys(connector: connector, listener: listener)
    }

    private final class Signer: LinkAuthenticator {
        let authenticator: MessageAuthenticator

        init(_ authenticator: MessageAuthenticator) {
            self.authenticator = authenticator
        }

        func tag(of bytes: Span<UInt8>) -> LinkTag {
            LinkTag(words: authenticator.tag(of: bytes).words)
        }

        func verifies(_ tag: LinkTag, of bytes: Span<UInt8>) -> Bool {
            authenticator.verifies(AuthenticationTag(words: tag.words), of: bytes)
        }
    }
}

/// Two brokers, a publisher on the connector's, a subscriber on the listener's, and somebody in
/// between who sees each piece of the stream and may hand on another.
final class Exchange {
    enum Way: CaseIterable { case toListener, toConnector }

    static let keys: [UInt64: [UInt8]] = [
        0x1111_1111_1111_1111: Array(1...32), 0x2222_2222_2222_2222: Array(101...132),
    ]
    /// What the one in between does; by default, nothing.
    typealias Intercept = (Way, _ offset: Int, [UInt8]) -> [UInt8]

    private(set) var connector: Broker
    private(set) var listener: Broker
    private var effects = Effects()
    private let security: [FixedSecurity]
    private(set) var sent: [Way: [UInt8]] = [.toListener: [], .toConnector: []]
    /// Payloads in the order of their delivery.
    private(set) var delivered: [[UInt8]] = []
    private(set) var faults: [LinkFault.Reason] = []
    private var publisher = SessionID(slot: 0, generation: 0)
    private var subscriber = SessionID(slot: 0, generation: 0)
    private var ids: [Way: LinkConnectionID] = [:]
    private var unread: [Way: [UInt8]] = [.toListener: [], .toConnector: []]
    private var now: UInt64 = 1_000_000_000
    private let intercept: Intercept
    /// Bytes that arrive at a time.
    private let pieceBytes: Int

    init(pieceBytes: Int = .max, intercept: @escaping Intercept = { _, _, bytes in bytes }) {
        self.intercept = intercept
        self.pieceBytes = pieceBytes
        security = [1, 2].map {
            FixedSecurity(keys: Self.keys, current: 0x1111_1111_1111_1111, seed: $0)
        }
        connector = Self.makeBroker("edge-1", 11, "edge-2", true, security[0])
        listener = Self.makeBroker("edge-2", 12, "edge-1", false, security[1])
    }

    private static func makeBroker(
        _ name: String, _ instance: UInt64, _ peer: String, _ isConnector: Bool,
        _ security: FixedSecurity
    ) -> Broker {
        var broker = Broker(
            configuration: BrokerConfiguration(
                name: name, version: "0", instance: instance, hashSeed: 1,
                process: SenderRecord.Opener(pid: 1, uid: 990, gid: 990, process: 9),
                packetBytesMax: Limits.packetBytesMax, policy: .open(brokerUID: 990)),
            nowNanoseconds: 1_000_000_000)
        broker.configureLinks(
            [LinkConfiguration(peer: peer, isConnector: isConnector)], security: security)
        return broker
    }

    /// Handshake, then `count` batches with a message each, a rotation in the middle.
    func run(count: Int) {
        publisher = join(&connector, uid: 1000)
        subscriber = join(&listener, uid: 1001)
        subscribe()
        if let id = connector.linkDialed("edge-2", nowNanoseconds: now, into: &effects) {
            ids[.toConnector] = id
        }
        ids[.toListener] = listener.linkAccepted(nowNanoseconds: now)
        settle()
        for number in 0..<count {
            publish("message \(number)")
            if number == count / 2 {
                security[0].current = 0x2222_2222_2222_2222
                connector.linkKeysChanged("edge-2", into: &effects)
            }
            settle()
        }
    }

    private func join(_ broker: inout Broker, uid: UInt32) -> SessionID {
        let peer = Peer(
            record: SenderRecord.Opener(pid: 7, uid: uid, gid: uid, process: 0), groups: [],
            domain: .own)
        guard
            case .accepted(let id) = broker.connectionOpened(
                peer, nowNanoseconds: now, into: &effects)
        else { preconditionFailure("refused") }
        send(&broker, id, uid) { $0.appendHello(versionMin: 1, versionMax: 1, name: "") }
        return id
    }

    private func send(
        _ broker: inout Broker, _ id: SessionID, _ uid: UInt32,
        _ fill: (inout PacketBuffer) -> Void
    ) {
        var packet = PacketBuffer(capacityBytes: 4_096)
        fill(&packet)
        packet.seal()
        broker.packetReceived(
            id, packet.span,
            from: .attested(
                Attestation(pid: 7, uid: uid, gid: uid, process: 0, timeNanoseconds: 5)),
            nowNanoseconds: now, into: &effects)
    }

    private func subscribe() {
        let frame = SubscribeFrame(
            token: 1, subscription: 1, queueBytesMax: 0, overflow: .disconnect,
            filters: [Array("#".utf8)], uidRanges: [], gidRanges: [])
        send(&listener, subscriber, 1001) { $0.appendSubscribe(frame) }
    }

    private func publish(_ text: String) {
        let (topic, payload) = (Array("t/x".utf8), Array(text.utf8))
        send(&connector, publisher, 1000) {
            $0.appendPublish(
                token: 1, wantsAcknowledgement: false, topic: topic.span, payload: payload.span)
        }
    }

    /// Moves bytes until there are none.
    private func settle() {
        for _ in 0..<50 {
            let first = move(&connector, .toConnector, .toListener, &listener)
            let second = move(&listener, .toListener, .toConnector, &connector)
            readSubscriber()
            if !first && !second { return }
        }
    }

    private func move(
        _ source: inout Broker, _ own: Way, _ way: Way, _ target: inout Broker
    ) -> Bool {
        guard let id = ids[own] else { return false }
        var output = LinkOutput()
        source.linkOutput(id, into: &output, nowNanoseconds: now, effects: &effects)
        endWhatEnded(&source)
        guard !output.isEmpty else { return false }
        let bytes = output.pending.copied()
        let offset = sent[way, default: []].count
        sent[way, default: []] += bytes
        guard let targetID = ids[way] else { return true }
        var coming = intercept(way, offset, bytes)[...]
        while !coming.isEmpty {
            let arrived = unread[way, default: []] + coming.prefix(pieceBytes)
            coming = coming.dropFirst(pieceBytes)
            let used = target.linkReceived(
                targetID, arrived.span, nowNanoseconds: now, into: &effects)
            unread[way] = Array(arrived.dropFirst(used))
            endWhatEnded(&target)
        }
        return true
    }

    private func endWhatEnded(_ broker: inout Broker) {
        for notice in effects.linkNotices {
            if let reason = notice.reason { faults.append(reason) }
        }
        effects.clear()
    }

    private func readSubscriber() {
        while true {
            let count = listener.prepareOutbound(subscriber)
            if count == 0 { return }
            for index in 0..<count {
                let packet = listener.outboundPacket(index).copied()
                read(packet.span)
            }
            if !listener.outboundSent(subscriber, count: count, into: &effects) { return }
        }
    }

    private func read(_ packet: Span<UInt8>) {
        guard var cursor = try? FrameCursor(packet: packet) else { return }
        while let header = try? cursor.next(in: packet) {
            guard header.type == .deliver else { continue }
            let frame = DeliverFrame(header, in: packet)
            delivered.append(packet.extracting(frame.payload).copied())
        }
    }
}
