import BasicContainers
import BrokerConfig
import BrokerCore
import BrokerWire
import LinuxIO
import Logging

/// The event loop: one thread, one epoll, one core. Whatever is ready waits for its turn in a
/// `FairQueue`; a turn is short, whatever somebody sends, and is charged to the opener's user by
/// the time it took. Between turns, every few of them, the loop looks who else has come.
///
/// Connections and the listener are watched edge triggered: what was left unread is in the queue.
struct Reactor: ~Copyable {
    private static let listenerToken = UInt64.max
    private static let wakeUpToken = UInt64.max - 1
    private static let eventsMax = 256
    /// How long turns may follow each other before the loop looks who else is ready.
    private static let lookNanoseconds: UInt64 = 10_000
    /// The same, while there is no input that others could come before.
    private static let outputNanosecondsPerLook: UInt64 = 50_000
    /// Input of a user after which what it has to be sent is sent, even if there is more input.
    private static let inputNanosecondsPerOutput: UInt64 = 100_000
    /// Accepting is charged to nobody's account, as if it were a user's.
    private static let acceptUID = SenderRecord.noID
    /// Less than this is left to the C library, which may need it again.
    private static let bytesWorthReturning = 1_048_576
    /// A new connection brings work with it: accepting gets this fraction of what a user gets, so
    /// that those who are there already are worked off first.
    private static let acceptWeight: UInt64 = 8
    /// Room for a DISCONNECT with the longest explanation.
    private static let farewellBytes = 2 * Limits.explanationBytesMax
    /// How long accepting rests when descriptors have run out.
    static let acceptRestNanoseconds: UInt64 = 100_000_000

    var broker: Broker
    var effects = Effects()
    var connections: [Connection?] = []
    let logger: Logger
    var noticeLog: NoticeLog

    var epoll: Epoll
    var links: LinkStreams
    private let listener: SeqpacketListener
    private let control: ReactorControl
    private let userNamespace = ProcessDescriptor.OwnUserNamespace()
    var nowNanoseconds: UInt64
    /// Nil: there is no file that could change.
    let keeper: ConfigurationKeeper?
    var rulesStatus: RulesStatus
    var linkFileStatus: LinkFileStatus?
    var service: ServiceReport
    var turns: FairQueue
    private var lookedNanoseconds: UInt64 = 0
    private var window: PollWindow
    /// Memory for packets, of those who finish within a turn.
    var idleBatches = UniqueArray<ReceivedBatch>()
    private var isAccepting = true
    private var isAcceptQueued = false
    private var acceptAgainNanoseconds: UInt64?

    init(
        listener: consuming SeqpacketListener, control: ReactorControl,
        broker configuration: BrokerConfiguration, inForce: ConfigurationInForce,
        logger: Logger, links: consuming LinkStreams, pace: Pace, service: ServiceReport
    ) throws(KernelError) {
        let epoll = try Epoll(eventsMax: Self.eventsMax)
        try epoll.add(
            control.wakeUp.descriptor, token: Self.wakeUpToken, interest: .readable)
        try epoll.add(listener.descriptor, token: Self.listenerToken, interest: [.readable, .edge])
        self.epoll = epoll
        self.listener = listener
        self.control = control
        window = PollWindow(nanosecondsMax: pace.pollNanosecondsMax)
        turns = FairQueue(
            inputCostMax: Self.inputNanosecondsPerOutput,
            busyPercentMax: pace.busyPercentMax)
        self.logger = logger
        self.service = service
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
        watchLinkListeners()
        service.began(rulesStatus, nowNanoseconds: nowNanoseconds)
        while !broker.isShuttingDown || broker.sessionCount > 0 {
            if mustLook { look() }
            takeTurn()
        }
        closeAllLinks()
        logger.info("broker stopped")
    }

    /// Who comes while nothing but output waits, waits for some of it: most often it is the
    /// answer to what has just been received.
    private var mustLook: Bool {
        if turns.readyNanoseconds(nowNanoseconds: nowNanoseconds) > nowNanoseconds { return true }
        let since = nowNanoseconds - lookedNanoseconds
        return since >= (turns.hasInput ? Self.lookNanoseconds : Self.outputNanosecondsPerLook)
    }

    /// Puts who is ready in line; waits for somebody if nobody is.
    private mutating func look() {
        let ready = turns.readyNanoseconds(nowNanoseconds: nowNanoseconds)
        // While those who wait are throttled, the time that they would have had is spent on
        // looking for the others: their answers come sooner from a processor that is awake.
        let isWaking = ready <= nowNanoseconds || ready != .max && window.nanosecondsMax > 0
        let count =
            isWaking
            ? epoll.wait(timeoutMilliseconds: 0)
            : epoll.wait(timeoutNanoseconds: waitNanoseconds(ready: ready), after: &window)
        nowNanoseconds = Clock.monotonicNanoseconds()
        for index in 0..<count { dispatch(epoll.token(at: index), epoll.readiness(at: index)) }
        passTime()
        performEffects()
        lookedNanoseconds = nowNanoseconds
    }

    private mutating func takeTurn() {
        guard let turn = turns.next(nowNanoseconds: nowNanoseconds) else { return }
        let accepted = broker.statistics.messagesAccepted
        var weight: UInt64 = 1
        switch turn {
        case .accept:
            weight = Self.acceptWeight
            isAcceptQueued = false
            acceptConnection()
        case .receive(let id):
            if let connection = connection(id) { receive(from: connection) }
        case .send(let id):
            if let connection = connection(id) {
                connection.isOutputQueued = false
                send(to: connection)
            }
        }
        performEffects()
        let end = Clock.monotonicNanoseconds()
        turns.charge(
            end - nowNanoseconds, weight: weight,
            spoke: broker.statistics.messagesAccepted != accepted, nowNanoseconds: end)
        nowNanoseconds = end
    }

    private mutating func dispatch(_ token: UInt64, _ readiness: Epoll.Readiness) {
        switch token {
        case Self.listenerToken:
            queueAccepting()
        case Self.wakeUpToken:
            control.wakeUp.drain()
            for outcome in control.takeReloads() { configurationRead(outcome) }
            for answer in links.resolver.takeAnswers() { linkLookedUp(answer) }
            if control.isStopping { beginShutdown() }
        case let token where token & LinkToken.stream != 0:
            dispatchLink(token, readiness)
        default:
            guard let connection = connection(token) else { return }
            if !readiness.isDisjoint(with: [.hangUp, .error]) { connection.hasHungUp = true }
            if readiness.contains(.writable) { resumeSending(connection) }
            if !readiness.isDisjoint(with: [.readable, .hangUp, .error]) {
                connection.mayHaveInput = true
                queueInput(of: connection)
            }
        }
    }

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
        service.timePassed(nowNanoseconds: nowNanoseconds)
        noticeLog.timePassed(nowNanoseconds: nowNanoseconds)
    }

    private func waitNanoseconds(ready: UInt64) -> UInt64? {
        let next = min(
            ready, broker.nextDeadlineNanoseconds, acceptAgainNanoseconds ?? .max,
            links.nextDeadlineNanoseconds, service.nextNanoseconds)
        if next == .max { return nil }
        return next > nowNanoseconds ? next - nowNanoseconds : 0
    }

    // MARK: Accepting

    private mutating func queueAccepting() {
        guard isAccepting, !isAcceptQueued else { return }
        isAcceptQueued = true
        turns.append(.accept, to: .input, of: Self.acceptUID)
    }

    /// Takes one connection: more may wait.
    private mutating func acceptConnection() {
        guard isAccepting else { return }
        switch listener.accept() {
        case .connection(let descriptor):
            open(descriptor)
            queueAccepting()
        case .aborted:
            queueAccepting()
        case .wouldBlock:
            break
        case .descriptorsExhausted(let error):
            restAccepting(error)
        case .failed(let error):
            restAccepting(error)
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
            queueAccepting()
        } catch {
            acceptAgainNanoseconds = nowNanoseconds + Self.acceptRestNanoseconds
        }
    }

    private mutating func setAccepting(_ accepts: Bool) throws(KernelError) {
        guard accepts != isAccepting else { return }
        if accepts {
            try epoll.add(
                listener.descriptor, token: Self.listenerToken, interest: [.readable, .edge])
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
        do throws(KernelError) {
            let credentials = try PeerCredentials.read(descriptor)
            // A refusal should be cheap: whoever comes too often comes again.
            let process =
                broker.refusesConnection(of: credentials.uid)
                ? nil : ProcessDescriptor.ofPeer(of: descriptor)
            let (inode, namespace) =
                switch process {
                case .some(let process):
                    (process.inode ?? 0, process.userNamespace(seenFrom: userNamespace))
                case .none: (0, ProcessDescriptor.UserNamespace.unknown)
                }
            let peer = Peer(credentials, process: inode, namespace: namespace)
            switch broker.connectionOpened(
                peer, nowNanoseconds: nowNanoseconds, into: &effects)
            {
            case .refused(let reason, let explanation):
                refuse(descriptor, reason, explanation)
            case .accepted(let id):
                let connection = Connection(
                    id: id, descriptor: descriptor, process: process, opener: peer.record)
                try serve(connection)
            }
        } catch {
            logger.warning(
                "a connection could not be set up", metadata: [LogKey.error: "\(error)"])
        }
    }

    private func refuse(
        _ descriptor: borrowing OwnedDescriptor, _ reason: ReasonCode, _ explanation: String
    ) {
        var packet = PacketBuffer(capacityBytes: Self.farewellBytes)
        packet.appendDisconnect(reason: reason, explanation: explanation)
        packet.seal()
        _ = sendPacket(to: descriptor, packet.span)
    }

    private mutating func serve(_ connection: Connection) throws(KernelError) {
        let slot = Int(connection.id.slot)
        while connections.count <= slot { connections.append(nil) }
        connections[slot] = connection
        do throws(KernelError) {
            try SocketOptions.enableReceiveTimestamps(connection.descriptor)
            try SocketOptions.setSendBuffer(
                connection.descriptor, bytes: Connection.sendBufferBytes)
        } catch {
            close(connection)
            throw error
        }
        watch(connection, [.readable, .edge])
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
        stopLinks()
        broker.shutDown(nowNanoseconds: nowNanoseconds, into: &effects)
        service.ending()
    }

    mutating func close(_ connection: Connection) {
        guard self.connection(connection.token) === connection else { return }
        watch(connection, nil)
        connections[Int(connection.id.slot)] = nil
        forgetInput(of: connection)
        broker.connectionClosed(connection.id, into: &effects)
        // A descriptor is free again.
        if acceptAgainNanoseconds != nil { acceptAgainNanoseconds = nowNanoseconds }
    }

    // MARK: Effects

    /// Does what the core has asked for, until it asks for nothing more.
    private mutating func performEffects() {
        while !effects.isEmpty {
            var pending = Effects()
            swap(&pending, &effects)
            perform(pending)
            noticeLog.log(pending.notices, dropped: pending.noticesDropped)
            for id in pending.linksEstablished { linkEstablished(id) }
            note(pending.linkNotices)
            // Keep the buffers that the common turn has grown.
            if effects.isEmpty {
                pending.clear()
                swap(&pending, &effects)
            }
        }
    }

    private mutating func perform(_ pending: borrowing Effects) {
        answerStatus(pending.statusRequests)
        for request in pending.adminRequests { administer(request) }
        for id in pending.dirty {
            if let connection = connection(id) { queueOutput(of: connection) }
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

    /// However many ask in one turn, the document is written once.
    private mutating func answerStatus(_ requests: [Effects.StatusRequest]) {
        guard !requests.isEmpty else { return }
        let document = StatusDocument.encode(
            broker.snapshot(nowNanoseconds: nowNanoseconds), turns: turns, rules: rulesStatus,
            linkFile: linkFileStatusNow, links: links.shellStatus(nowNanoseconds: nowNanoseconds))
        for request in requests {
            broker.answerStatus(
                request, document: document.span, nowNanoseconds: nowNanoseconds,
                into: &effects)
        }
    }

    private mutating func setPaused(_ connection: Connection, _ isPaused: Bool) {
        connection.isPaused = isPaused
        if !isPaused {
            queueInput(of: connection)
        } else if connection.hasHungUp, broker.isEnding(connection.id) {
            close(connection)
        }
    }

    // MARK: Writing

    private mutating func queueOutput(of connection: Connection) {
        guard !connection.isOutputQueued else { return }
        connection.isOutputQueued = true
        turns.append(.send(connection.id), to: .output, of: connection.openerUID)
    }

    private mutating func resumeSending(_ connection: Connection) {
        connection.isWriteBlocked = false
        broker.outboundWritable(connection.id)
        updateInterest(of: connection)
        queueOutput(of: connection)
    }

    /// Sends some of what is queued, if the kernel takes it.
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
                if broker.outboundSent(connection.id, count: sent, into: &effects) {
                    queueOutput(of: connection)
                }
                return
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

    func connection(_ id: SessionID) -> Connection? {
        let slot = Int(id.slot)
        guard slot >= 0, slot < connections.count, let connection = connections[slot],
            connection.id == id
        else { return nil }
        return connection
    }

    private mutating func updateInterest(of connection: Connection) {
        watch(
            connection,
            connection.isWriteBlocked ? [.readable, .writable, .edge] : [.readable, .edge])
    }

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
