import BrokerConfig
import BrokerCore
import BrokerWire
import LinuxIO
import Logging

/// The event loop: one thread, one epoll, one core. In each turn it reads from whoever is ready,
/// lets the core decide, and then sends what the core has queued.
///
/// Level-triggered, with a bounded read per connection and turn, so that nobody starves and
/// nothing needs to be remembered about what was left unread.
struct Reactor: ~Copyable {
    private static let listenerToken = UInt64.max
    private static let wakeUpToken = UInt64.max - 1
    private static let eventsMax = 256
    /// Packets taken from one connection in one turn: this many small ones, or
    /// `Connection.largePacketsPerReceive`.
    private static let packetsPerReceive = 64
    /// Connections accepted in one turn.
    private static let acceptsPerTurn = 1
    /// Input after which the other connections of the same user wait for the next turn.
    private static let bytesPerUserAndTurn = Limits.batchBytesTarget
    /// After this much input the queues are flushed even if more connections are ready.
    private static let bytesPerFlush = 4 * Limits.batchBytesTarget
    /// Less than this is left to the C library, which may need it again.
    private static let bytesWorthReturning = 1_048_576
    /// Room for a DISCONNECT with the longest explanation.
    private static let farewellBytes = 2 * Limits.explanationBytesMax
    /// How long accepting rests when descriptors have run out.
    private static let acceptRestNanoseconds: UInt64 = 100_000_000

    var broker: Broker
    var effects = Effects()
    var connections: [Connection?] = []
    let logger: Logger
    var noticeLog: NoticeLog

    var epoll: Epoll
    var links: LinkStreams
    private let listener: SeqpacketListener
    private let control: ReactorControl
    var nowNanoseconds: UInt64
    /// Nil: there is no file that could change.
    let keeper: RulesKeeper?
    var rulesStatus: RulesStatus
    var linkFileStatus: LinkFileStatus?
    private var bytesSinceFlush = 0
    private var share = TurnShare(bytesMax: Reactor.bytesPerUserAndTurn)
    private var isAccepting = true
    private var acceptAgainNanoseconds: UInt64?

    init(
        listener: consuming SeqpacketListener, control: ReactorControl,
        broker configuration: BrokerConfiguration, inForce: ConfigurationInForce,
        logger: Logger, links: consuming LinkStreams
    ) throws(KernelError) {
        let epoll = try Epoll(eventsMax: Self.eventsMax)
        try epoll.add(
            control.wakeUp.descriptor, token: Self.wakeUpToken, interest: .readable)
        try epoll.add(listener.descriptor, token: Self.listenerToken, interest: .readable)
        self.epoll = epoll
        self.listener = listener
        self.control = control
        self.logger = logger
        keeper = inForce.keeper
        rulesStatus = inForce.rulesStatus
        linkFileStatus = inForce.linkFileStatus
        noticeLog = NoticeLog(logger: logger)
        nowNanoseconds = Clock.monotonicNanoseconds()
        broker = Broker(configuration: configuration, nowNanoseconds: nowNanoseconds)
        broker.configureLinks(inForce.links.map(\.link), security: links.keys)
        self.links = links
    }

    /// Runs until the control says stop and all sessions have drained.
    mutating func run() {
        var receiver = PacketReceiver(
            slots: Self.packetsPerReceive, packetBytesMax: Limits.packetBytesMax)
        watchLinkListeners()
        while true {
            let count = epoll.wait(timeoutMilliseconds: waitMilliseconds())
            nowNanoseconds = Clock.monotonicNanoseconds()
            share.begin()
            for index in 0..<count {
                dispatch(epoll.token(at: index), epoll.readiness(at: index), &receiver)
                if bytesSinceFlush >= Self.bytesPerFlush { performEffects() }
            }
            passTime()
            performEffects()
            if broker.isShuttingDown && broker.sessionCount == 0 { break }
        }
        closeAllLinks()
        logger.info("broker stopped")
    }

    private mutating func dispatch(
        _ token: UInt64, _ readiness: Epoll.Readiness, _ receiver: inout PacketReceiver
    ) {
        switch token {
        case Self.listenerToken:
            acceptConnections()
        case Self.wakeUpToken:
            control.wakeUp.drain()
            for outcome in control.takeReloads() { configurationRead(outcome) }
            if control.isStopping { beginShutdown() }
        case let token where token & LinkToken.stream != 0:
            dispatchLink(token, readiness)
        default:
            guard let connection = connection(token) else { return }
            if readiness.contains(.writable) { resumeSending(connection) }
            if !readiness.isDisjoint(with: [.readable, .hangUp, .error]) {
                receive(from: connection, &receiver)
            }
        }
    }

    // MARK: Reading

    private mutating func receive(
        from connection: Connection, _ receiver: inout PacketReceiver
    ) {
        guard !connection.isPaused else {
            // Only the end of the connection wakes a paused one up. Whoever is gone while it
            // drains is closed; a publisher that is held back keeps what it has sent.
            if broker.isEnding(connection.id) { close(connection) } else { watch(connection, nil) }
            return
        }
        // What is left unread is reported again in the next turn, behind all others.
        guard share.mayReceive(from: connection.openerUID) else { return }
        let packetsMax = connection.packetsPerReceive
        switch receiver.receive(from: connection.descriptor, packetsMax: packetsMax) {
        case .packets(let count):
            let isOpenerAlive = connection.isOpenerAlive()
            let bytesBefore = bytesSinceFlush
            for index in 0..<count {
                receivePacket(
                    receiver.bytes(at: index), receiver.attestation(at: index),
                    from: connection, isOpenerAlive: isOpenerAlive)
            }
            share.note(connection.openerUID, bytes: bytesSinceFlush - bytesBefore)
            connection.noteReceived(packets: count, bytes: bytesSinceFlush - bytesBefore)
            if receiver.endOfStreamSeen { close(connection) }
        case .wouldBlock:
            break
        case .endOfStream:
            close(connection)
        case .failed(let error):
            logger.warning(
                "receiving failed, connection closed",
                metadata: [LogKey.error: "\(error)", LogKey.session: "\(connection.id.slot)"])
            close(connection)
        }
    }

    private mutating func receivePacket(
        _ packet: Span<UInt8>, _ attestation: PacketAttestation, from connection: Connection,
        isOpenerAlive: Bool
    ) {
        if attestation.descriptorsClosed > 0 {
            broker.descriptorsReceived(attestation.descriptorsClosed)
        }
        if attestation.dataTruncated {
            broker.oversizedPacketReceived(
                connection.id, nowNanoseconds: nowNanoseconds, into: &effects)
            return
        }
        if attestation.isEmpty {
            broker.emptyPacketReceived(connection.id)
            return
        }
        let identity = connection.identity(of: attestation, isOpenerAlive: isOpenerAlive)
        bytesSinceFlush += packet.count
        broker.packetReceived(
            connection.id, packet, from: identity, nowNanoseconds: nowNanoseconds,
            into: &effects)
    }

    /// Input that has not been flushed to its receivers yet.
    mutating func countInput(_ bytes: Int) { bytesSinceFlush += bytes }

    // MARK: Time

    private mutating func passTime() {
        if let again = acceptAgainNanoseconds, again <= nowNanoseconds {
            acceptAgainNanoseconds = nil
            enableAccepting()
        }
        if broker.nextDeadlineNanoseconds <= nowNanoseconds {
            broker.timePassed(
                nowNanoseconds: nowNanoseconds, wallNanoseconds: Clock.realtimeNanoseconds(),
                into: &effects)
        }
        passLinkTime()
        noticeLog.timePassed(nowNanoseconds: nowNanoseconds)
    }

    /// Rounded up, so that a deadline has passed when the wait ends.
    private func waitMilliseconds() -> Int32 {
        let next = min(
            broker.nextDeadlineNanoseconds, acceptAgainNanoseconds ?? .max,
            links.nextDeadlineNanoseconds)
        let now = Clock.monotonicNanoseconds()
        guard next > now else { return 0 }
        return Int32(clamping: (next - now + 999_999) / 1_000_000)
    }

    // MARK: Accepting

    private mutating func acceptConnections() {
        for _ in 0..<Self.acceptsPerTurn {
            switch listener.accept() {
            case .connection(let descriptor):
                open(descriptor)
            case .aborted:
                continue
            case .wouldBlock:
                return
            case .descriptorsExhausted(let error):
                restAccepting(error)
                return
            case .failed(let error):
                restAccepting(error)
                return
            }
        }
    }

    /// The waiting connection keeps the listener readable: without a rest this would spin.
    private mutating func restAccepting(_ error: KernelError) {
        noticeLog.logAcceptFailure(error, nowNanoseconds: nowNanoseconds)
        acceptAgainNanoseconds = nowNanoseconds + Self.acceptRestNanoseconds
        do throws(KernelError) {
            try setAccepting(false)
        } catch {
            logger.error("cannot rest accepting", metadata: [LogKey.error: "\(error)"])
        }
    }

    private mutating func enableAccepting() {
        guard !broker.isShuttingDown else { return }
        do throws(KernelError) {
            try setAccepting(true)
        } catch {
            acceptAgainNanoseconds = nowNanoseconds + Self.acceptRestNanoseconds
        }
    }

    private mutating func setAccepting(_ accepts: Bool) throws(KernelError) {
        guard accepts != isAccepting else { return }
        if accepts {
            try epoll.add(
                listener.descriptor, token: Self.listenerToken, interest: .readable)
        } else {
            try epoll.remove(listener.descriptor)
        }
        isAccepting = accepts
    }

    private mutating func open(_ descriptor: consuming OwnedDescriptor) {
        guard SocketOptions.recordsCredentials(descriptor) else {
            logger.error("a connection without SO_PASSCRED was closed")
            return
        }
        let process = ProcessDescriptor.ofPeer(of: descriptor)
        let (inode, namespace) =
            switch process {
            case .some(let process): (process.inode ?? 0, process.userNamespace())
            case .none: (0, .unknown)
            }
        let peer: Peer
        do throws(KernelError) {
            try SocketOptions.enableReceiveTimestamps(descriptor)
            try SocketOptions.setSendBuffer(descriptor, bytes: Connection.sendBufferBytes)
            peer = Peer(
                try PeerCredentials.read(descriptor), process: inode, namespace: namespace)
        } catch {
            logger.warning(
                "a connection could not be set up", metadata: [LogKey.error: "\(error)"])
            return
        }
        switch broker.connectionOpened(peer, nowNanoseconds: nowNanoseconds, into: &effects) {
        case .refused(let reason, let explanation):
            var packet = PacketBuffer(capacityBytes: Self.farewellBytes)
            packet.appendDisconnect(reason: reason, explanation: explanation)
            packet.seal()
            _ = sendPacket(to: descriptor, packet.span)
        case .accepted(let id):
            let connection = Connection(
                id: id, descriptor: descriptor, process: process, opener: peer.record)
            let slot = Int(id.slot)
            while connections.count <= slot { connections.append(nil) }
            connections[slot] = connection
            watch(connection, .readable)
        }
    }

    // MARK: Ending

    private mutating func beginShutdown() {
        guard !broker.isShuttingDown else { return }
        logger.info("stopping", metadata: [LogKey.sessions: "\(broker.sessionCount)"])
        do throws(KernelError) {
            try setAccepting(false)
        } catch {
            logger.error("cannot stop accepting", metadata: [LogKey.error: "\(error)"])
        }
        do throws(SocketPathError) {
            try listener.removePath()
        } catch {
            logger.warning("socket not removed", metadata: [LogKey.error: "\(error)"])
        }
        stopLinkListeners()
        broker.shutDown(nowNanoseconds: nowNanoseconds, into: &effects)
    }

    mutating func close(_ connection: Connection) {
        guard self.connection(connection.token) === connection else { return }
        watch(connection, nil)
        connections[Int(connection.id.slot)] = nil
        broker.connectionClosed(connection.id, into: &effects)
        // A descriptor is free again.
        if acceptAgainNanoseconds != nil { acceptAgainNanoseconds = nowNanoseconds }
    }

    // MARK: Effects

    /// Does what the core has asked for, until it asks for nothing more.
    private mutating func performEffects() {
        bytesSinceFlush = 0
        while !effects.isEmpty {
            var pending = Effects()
            swap(&pending, &effects)
            perform(pending)
            noticeLog.log(pending.notices, dropped: pending.noticesDropped)
            note(pending.linkNotices)
            // Keep the buffers that the common turn has grown.
            if effects.isEmpty {
                pending.clear()
                swap(&pending, &effects)
            }
        }
    }

    private mutating func perform(_ pending: borrowing Effects) {
        for request in pending.statusRequests {
            let document = StatusDocument.encode(
                broker.snapshot(nowNanoseconds: nowNanoseconds), rules: rulesStatus,
                linkFile: linkFileStatus,
                links: links.shellStatus(nowNanoseconds: nowNanoseconds))
            broker.answerStatus(
                request, document: document.span, nowNanoseconds: nowNanoseconds,
                into: &effects)
        }
        for request in pending.adminRequests { administer(request) }
        for id in pending.dirty {
            if let connection = connection(id) { send(to: connection) }
        }
        for id in pending.pausing {
            if let connection = connection(id) { setPaused(connection, true) }
            setLinkPaused(id, true)
        }
        for id in pending.resuming {
            if let connection = connection(id) { setPaused(connection, false) }
            setLinkPaused(id, false)
        }
        for id in pending.linksReady { flushLink(id) }
        for id in pending.linksClosing { endLink(id) }
        for id in pending.closing {
            if let connection = connection(id) { close(connection) }
        }
        if pending.bytesFreed >= Self.bytesWorthReturning { CurrentProcess.returnFreeMemory() }
    }

    private mutating func setPaused(_ connection: Connection, _ isPaused: Bool) {
        connection.isPaused = isPaused
        updateInterest(of: connection)
    }

    // MARK: Writing

    private mutating func resumeSending(_ connection: Connection) {
        connection.isWriteBlocked = false
        broker.outboundWritable(connection.id)
        send(to: connection)
        updateInterest(of: connection)
    }

    /// Sends what is queued until the kernel takes no more.
    private mutating func send(to connection: Connection) {
        guard !connection.isWriteBlocked, !connection.isPeerGone else { return }
        while true {
            let count = broker.prepareOutbound(connection.id)
            if count == 0 { return }
            let outcome = sendPackets(
                to: connection.descriptor, broker.outboundPacket(0), broker.outboundPacket(1),
                broker.outboundPacket(2), broker.outboundPacket(3), count: count)
            switch outcome {
            case .sent(let sent):
                guard broker.outboundSent(connection.id, count: sent, into: &effects) else {
                    return
                }
            case .wouldBlock:
                if broker.isEnding(connection.id), connection.makeRoomForFarewell() { continue }
                connection.isWriteBlocked = true
                broker.outboundBlocked(connection.id)
                updateInterest(of: connection)
                return
            case .peerGone:
                peerIsGone(connection)
                return
            case .tooLarge, .failed:
                logger.warning(
                    "sending failed, connection closed",
                    metadata: [LogKey.error: "\(outcome)", LogKey.session: "\(connection.id)"])
                close(connection)
                return
            }
        }
    }

    /// Nobody reads there any more. What the peer sent before it went is still to be read.
    private mutating func peerIsGone(_ connection: Connection) {
        connection.isPeerGone = true
        broker.outboundBlocked(connection.id)
        if broker.isEnding(connection.id) { close(connection) }
    }

    // MARK: Watching

    private func connection(_ token: UInt64) -> Connection? {
        connection(
            SessionID(
                slot: Int32(truncatingIfNeeded: token),
                generation: UInt32(truncatingIfNeeded: token >> 32)))
    }

    private func connection(_ id: SessionID) -> Connection? {
        let slot = Int(id.slot)
        guard slot >= 0, slot < connections.count, let connection = connections[slot],
            connection.id == id
        else { return nil }
        return connection
    }

    private mutating func updateInterest(of connection: Connection) {
        var interest: Epoll.Interest = []
        if !connection.isPaused { interest.insert(.readable) }
        if connection.isWriteBlocked { interest.insert(.writable) }
        watch(connection, interest.isEmpty ? nil : interest)
    }

    /// A socket without interest is taken out of epoll: a hang-up would be reported for ever.
    private mutating func watch(_ connection: Connection, _ interest: Epoll.Interest?) {
        guard interest != connection.interest else { return }
        do throws(KernelError) {
            switch (connection.interest, interest) {
            case (nil, let new?):
                try epoll.add(connection.descriptor, token: connection.token, interest: new)
            case (_?, let new?):
                try epoll.modify(connection.descriptor, token: connection.token, interest: new)
            case (_, nil):
                try epoll.remove(connection.descriptor)
            }
            connection.interest = interest
        } catch {
            logger.error("epoll refused a connection", metadata: [LogKey.error: "\(error)"])
        }
    }
}

extension Connection {
    /// What epoll reports this connection by: slot and generation, so that an event for a closed
    /// and reused slot is recognised.
    var token: UInt64 {
        UInt64(UInt32(bitPattern: id.slot)) | UInt64(id.generation) << 32
    }
}

extension Peer {
    init(
        _ credentials: PeerCredentials, process: UInt64,
        namespace: ProcessDescriptor.UserNamespace
    ) {
        let domain: SenderRecord.Domain =
            switch namespace {
            case .same: .own
            case .other(_, let ownerUID): .other(ownerUID: ownerUID)
            case .unknown: .unknown
            }
        self.init(
            record: SenderRecord.Opener(
                pid: credentials.pid, uid: credentials.uid, gid: credentials.gid,
                process: process),
            groups: credentials.groups, domain: domain)
    }
}
