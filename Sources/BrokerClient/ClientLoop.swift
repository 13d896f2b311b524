internal import BrokerWire
internal import LinuxIO
internal import SystemPackage

/// The client's thread: connects, greets, reads the socket, sends what others could not, and
/// connects again. Everything here belongs to that thread.
struct ClientLoop: ~Copyable {
    private enum Token {
        static let wake: UInt64 = 0
        static let socket: UInt64 = 1
    }

    /// How far a turn of reading got.
    private enum Reading {
        case goesOn(isMoreLikely: Bool)
        case drained
        case ended(BrokerClientError)
    }

    /// A turn reads at most so many batches before it looks at what is to be sent.
    private static let batchesPerTurn = 8
    /// How long a closing client tries to get rid of what is pending.
    private static let closeNanoseconds: UInt64 = 2_000_000_000
    private static let sendBufferBytes = 1_048_576
    private static let backlogRetryNanoseconds: UInt64 = 10_000_000
    /// What is read at most while a subscription holds more than it may: a broker that is no
    /// enemy leaves less than this in the kernel when it hangs up.
    private static let pastGateBytesMax = 4 * 1_048_576
    private static let packetOverheadBytes = 256

    private let core: ClientCore
    private var epoll: Epoll
    private var receiver: PacketReceiver
    private var socket: Socket?
    private var inbound: Inbound?
    private var broker: PeerCredentials?
    private var interest: Epoll.Interest = []
    private var closeDeadline: UInt64?
    private var window: PollWindow
    /// When to look again at what gathers in the outbox.
    private var gatherDeadline: UInt64?
    /// Why nothing can be sent any more: what the broker had said before is still to be read.
    private var breakage: Outbox.Breakage?
    /// What was read since the gate was closed, in this session and those before.
    private var pastGateBytes = 0

    init(_ core: ClientCore) throws(KernelError) {
        self.core = core
        window = PollWindow(nanosecondsMax: core.configuration.pollMax.nanoseconds)
        let epoll = try Epoll(eventsMax: 4)
        try epoll.add(core.wake.event.descriptor, token: Token.wake, interest: .readable)
        self.epoll = epoll
        receiver = PacketReceiver(slots: 8, packetBytesMax: Limits.packetBytesMax)
    }

    /// Returns why there will be no further session.
    mutating func run() -> BrokerClientError {
        var backOff = BackOff(core.configuration.reconnect)
        var isFirst = true
        while true {
            let cause: BrokerClientError
            do throws(BrokerClientError) {
                try connect()
                cause = serve()
            } catch {
                cause = error
            }
            let wasOnline = core.outbox.withLock { $0.isOnline }
            if wasOnline {
                backOff.reset()
                isFirst = false
            }
            hangUp(cause)
            if core.outbox.withLock({ $0.isClosing }) { return .closed }
            guard !isFirst, !cause.isFinal, let delay = backOff.next() else { return cause }
            if wasOnline { core.sessionLost(cause) }
            guard pause(nanoseconds: delay) else { return .closed }
        }
    }
}

// MARK: Connecting

extension ClientLoop {
    /// - Throws: `.brokerUnavailable`, `.untrustedBroker`, `.timedOut`, `.disconnected`,
    ///   `.malformedPacket`, `.systemFailure`; `.closed` if the client was closed meanwhile.
    private mutating func connect() throws(BrokerClientError) {
        let deadline = Clock.monotonicNanoseconds() + core.configuration.connectTimeout.nanoseconds
        let path = core.configuration.socketPath
        let socket = Socket(try open(path, deadline: deadline))
        try authenticate(socket, path)
        self.socket = socket
        let inbound = Inbound(core)
        self.inbound = inbound
        do throws(KernelError) {
            try SocketOptions.setSendBuffer(socket.descriptor, bytes: Self.sendBufferBytes)
            try epoll.add(socket.descriptor, token: Token.socket, interest: .readable)
        } catch {
            throw BrokerClientError(.systemFailure, "\(path): \(error)", underlying: error)
        }
        interest = .readable
        sendHello(socket)
        while !inbound.isGreeted {
            let left = deadline.saturatingSubtract(Clock.monotonicNanoseconds())
            if left == 0 {
                throw BrokerClientError(.timedOut, "\(path): the broker does not answer")
            }
            _ = epoll.wait(timeoutNanoseconds: left)
            core.wake.drain()
            if core.outbox.withLock({ $0.isClosing }) { throw .closed }
            if case .ended(let error) = read() { throw error }
        }
    }

    /// A full backlog is EAGAIN: the broker is busy, and there is nothing to poll for.
    private mutating func open(
        _ path: String, deadline: UInt64
    ) throws(BrokerClientError) -> OwnedDescriptor {
        while true {
            do throws(KernelError) {
                return try connectSeqpacket(path: path)
            } catch {
                let isBusy = error.errno == .wouldBlock
                if !isBusy || Clock.monotonicNanoseconds() >= deadline {
                    throw .unavailable(path, error)
                }
            }
            guard pause(nanoseconds: Self.backlogRetryNanoseconds) else { throw .closed }
        }
    }

    private mutating func authenticate(
        _ socket: Socket, _ path: String
    ) throws(BrokerClientError) {
        do throws(KernelError) {
            broker = try PeerCredentials.read(socket.descriptor)
        } catch {
            throw BrokerClientError(.systemFailure, "\(path): \(error)", underlying: error)
        }
        guard let uid = broker?.uid, let trusted = core.configuration.trustedBrokerUIDs,
            !trusted.contains(uid)
        else { return }
        let names = trusted.sorted().map(String.init).joined(separator: ", ")
        throw BrokerClientError(
            .untrustedBroker(uid: uid),
            "\(path): the broker runs as uid \(uid), trusted are \(names); "
                + "if that is right, add it to trustedBrokerUIDs")
    }

    /// The socket is new and its buffer empty; a peer that is gone is found by reading.
    private func sendHello(_ socket: Socket) {
        var packet = PacketBuffer(capacityBytes: 256)
        packet.appendHello(
            versionMin: ClientCore.protocolVersion, versionMax: ClientCore.protocolVersion,
            name: core.configuration.clientName)
        packet.seal()
        _ = sendPacket(to: socket.descriptor, packet.span)
    }

    private func welcomed(_ welcome: WelcomeFrame) throws(BrokerClientError) {
        guard let socket, let broker else { preconditionFailure("read without a socket") }
        let socketPacketBytesMax: Int
        do throws(KernelError) {
            socketPacketBytesMax = try SocketOptions.maximumPacketBytes(socket.descriptor)
        } catch {
            throw BrokerClientError(.systemFailure, "\(error)", underlying: error)
        }
        let session = try BrokerSession(
            welcome, broker: broker, socketPacketBytesMax: socketPacketBytesMax)
        core.sessionBegan(session, socket)
    }

    /// Tells the broker what was wrong with it, if that is why, and closes the socket.
    private mutating func hangUp(_ cause: BrokerClientError) {
        guard let socket = self.socket.take() else { return }
        if let reason = cause.farewell {
            var packet = PacketBuffer(capacityBytes: 1024)
            packet.appendDisconnect(reason: reason, explanation: cause.message)
            packet.seal()
            _ = sendPacket(to: socket.descriptor, packet.span)
        }
        do throws(KernelError) {
            try epoll.remove(socket.descriptor)
        } catch {
            // ENOENT: it was never added, since connecting failed before.
        }
        inbound = nil
        breakage = nil
    }

    /// - Returns: false if the client was closed meanwhile.
    private mutating func pause(nanoseconds: UInt64) -> Bool {
        let end = Clock.monotonicNanoseconds() + nanoseconds
        while true {
            if core.outbox.withLock({ $0.isClosing }) { return false }
            let left = end.saturatingSubtract(Clock.monotonicNanoseconds())
            if left == 0 { return true }
            if epoll.wait(timeoutNanoseconds: left) > 0 { core.wake.drain() }
        }
    }
}

// MARK: Serving

extension ClientLoop {
    /// Runs the session until it ends, and returns why.
    private mutating func serve() -> BrokerClientError {
        while true {
            switch drain() {
            case .everything:
                if closeDeadline != nil { return .closed }
                gatherDeadline = nil
                watch(writable: false)
            case .gathering(let untilNanoseconds):
                gatherDeadline = untilNanoseconds
                watch(writable: false)
            case .blocked:
                gatherDeadline = nil
                watch(writable: true)
            case .broken(let breakage):
                gatherDeadline = nil
                readRest(breakage)
            }
            let count = epoll.wait(timeoutNanoseconds: waitNanoseconds, after: &window)
            var readiness: Epoll.Readiness = []
            for index in 0..<count {
                if epoll.token(at: index) == Token.wake {
                    core.wake.drain()
                } else {
                    readiness.formUnion(epoll.readiness(at: index))
                }
            }
            // What a peer that has hung up left behind is read even if we are full.
            let hasHungUp = !readiness.isDisjoint(with: [.hangUp, .error])
            if hasHungUp || (readiness.contains(.readable) && mayRead) {
                if let error = readTurn() { return error }
            }
            if let closeDeadline, Clock.monotonicNanoseconds() >= closeDeadline { return .closed }
        }
    }

    private mutating func drain() -> Outbox.Drained {
        let (drained, ready, isClosing) = core.outbox.withLock { outbox in
            (outbox.drain(), outbox.takeReady(), outbox.isClosing)
        }
        ready.resolve()
        if isClosing, closeDeadline == nil {
            closeDeadline = Clock.monotonicNanoseconds() + Self.closeNanoseconds
        }
        return drained
    }

    private var waitNanoseconds: UInt64? {
        let deadline = min(closeDeadline ?? .max, gatherDeadline ?? .max)
        if deadline == .max { return nil }
        return deadline.saturatingSubtract(Clock.monotonicNanoseconds())
    }

    private var mayRead: Bool { core.gate.isOpen || breakage != nil }

    private mutating func watch(writable: Bool) {
        var wanted: Epoll.Interest = []
        if mayRead { wanted.insert(.readable) }
        if writable { wanted.insert(.writable) }
        guard wanted != interest, let socket else { return }
        do throws(KernelError) {
            try epoll.modify(socket.descriptor, token: Token.socket, interest: wanted)
        } catch {
            preconditionFailure("a watched socket can be watched otherwise: \(error)")
        }
        interest = wanted
    }

    /// Reads a bounded number of batches.
    private mutating func readTurn() -> BrokerClientError? {
        for _ in 0..<Self.batchesPerTurn {
            switch read() {
            case .goesOn(let isMoreLikely):
                // What comes from now on is reported again.
                if !isMoreLikely || !core.gate.isOpen { return nil }
            case .drained: return nil
            case .ended(let error): return error
            }
        }
        return nil
    }

    /// Nothing can be sent any more. What the broker said before it went is still there; one
    /// that has not gone may say no more, so that the rest has an end.
    private mutating func readRest(_ breakage: Outbox.Breakage) {
        if self.breakage == nil, let socket {
            do throws(KernelError) {
                try shutdownRead(socket.descriptor)
            } catch {
                preconditionFailure("a connected socket can be shut down: \(error)")
            }
            self.breakage = breakage
        }
        watch(writable: false)
    }

    /// Why there is nothing more to read.
    private var endOfReading: BrokerClientError {
        guard case .failed(let error) = breakage else { return .connectionLost }
        return BrokerClientError(
            .systemFailure, "sending to the broker failed: \(error)", underlying: error)
    }

    private mutating func read() -> Reading {
        guard let socket else { preconditionFailure("read without a socket") }
        let isFull = !core.gate.isOpen
        if !isFull { pastGateBytes = 0 }
        if pastGateBytes > Self.pastGateBytesMax { return .ended(.unreadLeft) }
        switch receiver.receive(from: socket.descriptor) {
        case .packets(let count):
            if isFull { pastGateBytes += receiver.byteCount + count * Self.packetOverheadBytes }
            for index in 0..<count {
                do throws(BrokerClientError) {
                    try packetReceived(at: index)
                } catch {
                    return .ended(error)
                }
            }
            if receiver.endOfStreamSeen { return .ended(endOfReading) }
            return .goesOn(isMoreLikely: count == receiver.slots)
        case .wouldBlock:
            return .drained
        case .endOfStream:
            return .ended(endOfReading)
        case .failed(let error):
            return .ended(
                BrokerClientError(
                    .systemFailure, "reading from the broker failed: \(error)",
                    underlying: error))
        }
    }

    private func packetReceived(at index: Int) throws(BrokerClientError) {
        guard let inbound else { preconditionFailure("read without a session") }
        if receiver.attestation(at: index).dataTruncated {
            throw .protocolViolation(
                "a packet of more than \(Limits.packetBytesMax) bytes", .packetTooLarge)
        }
        if let welcome = try inbound.packetReceived(receiver.bytes(at: index)) {
            try welcomed(welcome)
            inbound.sessionBegan()
        }
    }
}
