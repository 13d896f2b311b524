import BrokerCore
import BrokerWire

/// Reads bytes as a script of what the other end of a link says: strangers with any bytes at all,
/// and a peer that holds the key and signs any bytes at all. Whatever the script is, the core must
/// not trap, deliver nothing that was not verified, say of nothing that it came from here, and
/// never wait for more bytes than a record has.
///
/// The first byte chooses who connects. A step is an operation byte, of which the low three bits
/// count, and a length byte; some take as many bytes as it says.
package struct LinkScript: ~Copyable {
    private static let stepsMax = 200
    private static let peerName = "peer"
    private static let topic = Array("a/b".utf8)

    private var broker: Broker
    private var effects = Effects()
    private let witness: Witness
    private var now: UInt64 = 1_000_000_000
    private var rest: ArraySlice<UInt8>
    private var violation: String?
    private let isListener: Bool
    private var subscriber = SessionID(slot: 0, generation: 0)
    private var publisher = SessionID(slot: 0, generation: 0)

    private var connection: LinkConnectionID?
    private var unread: [UInt8] = []
    /// What the scripted peer has said: HELLO, and the numbers of its last envelope and batch.
    private var hasGreeted = false
    private var sequence: UInt64 = 0
    private var batch: UInt64 = 0
    private var messageNumber: UInt64 = 0
    /// Messages that were delivered although others tampered.
    package private(set) var deliveredCount = 0

    /// - Returns: what the core did wrong, or nil.
    package static func violation(of script: [UInt8]) -> String? {
        var run = LinkScript(script)
        run.run()
        return run.violation
    }

    /// How many messages a script brings through.
    package static func deliveredCount(of script: [UInt8]) -> Int {
        var run = LinkScript(script)
        run.run()
        return run.deliveredCount
    }

    private init(_ script: [UInt8]) {
        rest = script[...]
        isListener = (rest.popFirst() ?? 0) & 1 == 0
        witness = Witness()
        let process = SenderRecord.Opener(pid: 1, uid: 990, gid: 990, process: 9)
        broker = Broker(
            configuration: BrokerConfiguration(
                name: "fuzz", version: "0", instance: 1, hashSeed: 7, process: process,
                packetBytesMax: Limits.packetBytesMax, policy: .open(brokerUID: 990)),
            nowNanoseconds: now)
        broker.configureLinks(
            [
                LinkConfiguration(
                    peer: Self.peerName, isConnector: !isListener, origins: ["peer", "far-*"])
            ], security: witness)
        subscriber = join(1001)
        publisher = join(1000)
        let everything = SubscribeFrame(
            token: 1, subscription: 1, queueBytesMax: 0, overflow: .dropOldest,
            filters: [Array("#".utf8)], uidRanges: [], gidRanges: [])
        send(subscriber, 1001) { $0.appendSubscribe(everything) }
    }

    private mutating func run() {
        connect()
        var steps = 0
        while let operation = rest.popFirst(), steps < Self.stepsMax, violation == nil {
            step(operation, length: Int(rest.popFirst() ?? 0))
            settle()
            steps += 1
        }
        disconnect()
        settle()
    }

    // MARK: Steps

    private mutating func step(_ operation: UInt8, length: Int) {
        switch operation & 7 {
        case 0: receive(take(length))
        case 1: handshake()
        case 2:
            batch += 1
            let frames = take(length)
            let packet = PacketInspection.withRightHeader(
                [UInt8](repeating: 0, count: PacketHeader.byteCount) + frames)
            receive(seal(.data, littleEndian(batch) + packet))
        case 3: receive(seal(.control, take(length)))
        case 4:
            if operation & 16 != 0 { sequence += 1 }
            receive(seal(operation & 8 == 0 ? .open : .data, take(length)))
        case 5: sayMessage()
        case 6:
            now += UInt64(length) * 100_000_000
            broker.timePassed(nowNanoseconds: now, wallNanoseconds: now, into: &effects)
        default:
            if operation & 8 == 0 {
                publish()
            } else {
                disconnect()
                connect()
            }
        }
    }

    private mutating func take(_ count: Int) -> [UInt8] {
        let taken = Array(rest.prefix(count))
        rest = rest.dropFirst(count)
        return taken
    }

    // MARK: The scripted peer

    private mutating func connect() {
        (sequence, hasGreeted, unread) = (0, false, [])
        connection =
            isListener
            ? broker.linkAccepted(nowNanoseconds: now)
            : broker.linkDialed(Self.peerName, nowNanoseconds: now, into: &effects)
        flush()
    }

    private mutating func disconnect() {
        if let connection { broker.linkClosed(connection, into: &effects) }
        connection = nil
    }

    /// HELLO and OPEN as they should be.
    private mutating func handshake() {
        if !hasGreeted {
            hasGreeted = true
            var output = LinkOutput()
            let name = Array(Self.peerName.utf8)
            LinkRecordHeader(
                kind: .hello, keyID: Witness.key, epoch: 5, sequence: 0,
                bodyBytes: 4 + LinkLimits.nonceBytes + name.count
            ).write(to: &output)
            let nonce = [UInt8](repeating: 9, count: LinkLimits.nonceBytes)
            receive(output.pending.copied() + [isListener ? 1 : 2, 0, 0, 0] + nonce + name)
            flush()
        }
        receive(seal(.open, littleEndian(0) + littleEndian(0) + [8, 0, 0, 0]))
    }

    /// An envelope as a peer with the key signs it.
    private mutating func seal(_ kind: LinkRecordHeader.Kind, _ body: [UInt8]) -> [UInt8] {
        sequence += 1
        var output = LinkOutput()
        LinkRecordHeader(
            kind: kind, keyID: Witness.key, epoch: 5, sequence: sequence, bodyBytes: body.count
        ).write(to: &output)
        output.append(copying: body.span)
        let record = output.pending.copied()
        guard let keys = witness.last else { return record + [UInt8](repeating: 0, count: 32) }
        let words = (isListener ? keys.connector : keys.listener).tag(of: record.span).words
        return record + [words.0, words.1, words.2, words.3].flatMap { littleEndian($0) }
    }

    private func littleEndian(_ value: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
    }

    /// A batch with one message as an honest broker writes it.
    private mutating func sayMessage() {
        batch += 1
        messageNumber += 1
        var packet = PacketBuffer(capacityBytes: 4_096)
        packet.appendRoute(epoch: 3, path: Array(Self.peerName.utf8).span)
        let opener = SenderRecord.Opener(pid: 7, uid: 1000, gid: 1000, process: 0)
        let record = SenderRecord(
            pid: 7, uid: 1000, gid: 1000, process: 0, opener: opener, timeNanoseconds: now,
            level: .kernel, isDelegated: false, domain: .own)
        packet.appendSender(record, origin: Span())
        let body = Self.topic + Array("message \(messageNumber)".utf8)
        packet.appendDeliver(
            sequence: messageNumber, subscription: 0, body: body.span,
            topicLength: Self.topic.count)
        packet.seal()
        receive(seal(.data, littleEndian(batch) + packet.span.copied()))
    }

    private mutating func receive(_ bytes: [UInt8]) {
        guard let connection else { return }
        let coming = unread + bytes
        let used = broker.linkReceived(
            connection, coming.span, nowNanoseconds: now, into: &effects)
        if used > coming.count { violation = "\(used) of \(coming.count) bytes were used" }
        unread = Array(coming.dropFirst(used))
        let recordBytesMax = LinkRecordHeader.byteCount + 8 + Limits.packetBytesMax + 32
        if unread.count >= recordBytesMax { violation = "waits for \(unread.count) bytes" }
    }

    // MARK: The clients

    private mutating func join(_ uid: UInt32) -> SessionID {
        let opener = SenderRecord.Opener(pid: Int32(uid), uid: uid, gid: uid, process: 0)
        let outcome = broker.connectionOpened(
            Peer(record: opener, groups: [], domain: .own), nowNanoseconds: now, into: &effects)
        guard case .accepted(let id) = outcome else { preconditionFailure("\(outcome)") }
        send(id, uid) { $0.appendHello(versionMin: 1, versionMax: 1, name: "") }
        return id
    }

    private mutating func send(
        _ id: SessionID, _ uid: UInt32, _ fill: (inout PacketBuffer) -> Void
    ) {
        var packet = PacketBuffer(capacityBytes: 4_096)
        fill(&packet)
        packet.seal()
        let attestation = Attestation(
            pid: Int32(uid), uid: uid, gid: uid, process: 0, timeNanoseconds: now)
        broker.packetReceived(
            id, packet.span, from: .attested(attestation), nowNanoseconds: now, into: &effects)
    }

    /// For the peer, if it has said that it wants it.
    private mutating func publish() {
        send(publisher, 1000) {
            $0.appendPublish(
                token: 1, wantsAcknowledgement: false, topic: Self.topic.span,
                payload: Array("from here".utf8).span)
        }
    }

    // MARK: The shell

    private mutating func settle() {
        var rounds = 0
        while !effects.isEmpty && violation == nil {
            let closing = effects.linksClosing
            effects.clear()
            flush()
            for id in closing where id == connection { disconnect() }
            rounds += 1
            if rounds > 1_000 { violation = "the effects never end" }
        }
        flush()
        readSubscriber()
    }

    /// Takes what the broker sends to its peer.
    private mutating func flush() {
        guard let connection else { return }
        var output = LinkOutput()
        for _ in 0..<1_000 {
            broker.linkOutput(connection, into: &output, nowNanoseconds: now, effects: &effects)
            if output.isEmpty { return }
            output.clear()
        }
        violation = "the output never ends"
    }

    private mutating func readSubscriber() {
        var hasMore = true
        while hasMore && violation == nil {
            let count = broker.prepareOutbound(subscriber)
            if count == 0 { return }
            for index in 0..<count {
                let packet = broker.outboundPacket(index).copied()
                do {
                    try check(packet.span)
                } catch {
                    violation = "the core sent a wrong packet: \(error)"
                }
            }
            hasMore = broker.outboundSent(subscriber, count: count, into: &effects)
        }
    }

    private mutating func check(_ packet: Span<UInt8>) throws(WireError) {
        var cursor = try FrameCursor(packet: packet)
        var origin = ""
        while let header = try cursor.next(in: packet) {
            if header.type == .sender {
                let frame = SenderFrame(header, in: packet)
                origin = packet.extracting(frame.origin).text()
                let isRemote = frame.record.level == .remote
                let isAllowed = origin == Self.peerName || origin.hasPrefix("far-")
                if isRemote != !origin.isEmpty || (isRemote && !isAllowed) {
                    violation = "level \(frame.record.level) from '\(origin)'"
                }
            } else if header.type == .deliver, !origin.isEmpty {
                deliveredCount += 1
                let frame = DeliverFrame(header, in: packet)
                let body = packet.extracting(frame.topic.lowerBound..<frame.payload.upperBound)
                    .copied()
                let isVerified = witness.verified.contains { $0.contains(body) }
                if !isVerified || body.first == Topic.dollar {
                    violation = "delivered what nobody signed, or '\(body)'"
                }
            }
        }
    }
}

/// Keys of the scripted link, and every envelope whose tag was right.
private final class Witness: LinkSecurity {
    static let key: UInt64 = 0x11
    private let security = FakeSecurity(seed: 1)
    private let log = VerifiedLog()
    private(set) var last: LinkSessionKeys?

    var verified: [[UInt8]] { log.envelopes }

    init() {
        security.keys = ["peer": [Self.key, 0x22]]
    }

    func currentKey(ofLink name: String) -> UInt64? { security.currentKey(ofLink: name) }
    func accepts(key: UInt64, ofLink name: String) -> Bool {
        security.accepts(key: key, ofLink: name)
    }
    func makeRandom(byteCount: Int) -> [UInt8] { security.makeRandom(byteCount: byteCount) }

    func deriveKeys(
        key: UInt64, ofLink name: String, salt: [UInt8], connectorInfo: [UInt8],
        listenerInfo: [UInt8]
    ) -> LinkSessionKeys? {
        last = security.deriveKeys(
            key: key, ofLink: name, salt: salt, connectorInfo: connectorInfo,
            listenerInfo: listenerInfo)
        return last.map {
            LinkSessionKeys(
                connector: WitnessedAuthenticator($0.connector, log),
                listener: WitnessedAuthenticator($0.listener, log))
        }
    }
}

private final class VerifiedLog {
    var envelopes: [[UInt8]] = []
}

private final class WitnessedAuthenticator: LinkAuthenticator {
    private let inner: any LinkAuthenticator
    private let log: VerifiedLog

    init(_ inner: any LinkAuthenticator, _ log: VerifiedLog) {
        self.inner = inner
        self.log = log
    }

    func tag(of bytes: Span<UInt8>) -> LinkTag { inner.tag(of: bytes) }

    func verifies(_ tag: LinkTag, of bytes: Span<UInt8>) -> Bool {
        guard inner.verifies(tag, of: bytes) else { return false }
        log.envelopes.append(bytes.copied())
        return true
    }
}
