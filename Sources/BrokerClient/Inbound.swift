internal import BrokerWire
internal import LinuxIO

/// What one session reads: decodes packets, hands deliveries to subscriptions and answers to
/// those who asked. Belongs to the client's thread; a class, so that it can change while it
/// looks at the receiver's memory.
final class Inbound {
    private let core: ClientCore
    private var decoder = PacketDecoder()
    private var router: DeliveryRouter
    /// PINGs before WELCOME: the protocol has no room for answers yet.
    private var earlyPings: [UInt64] = []
    private static let earlyPingsMax = 16

    init(_ core: ClientCore) {
        self.core = core
        router = DeliveryRouter(core)
    }

    var isGreeted: Bool { decoder.isGreeted }

    /// - Returns: WELCOME, if it is in this packet.
    /// - Throws: `.malformedPacket`, `.disconnected`: the session is over.
    func packetReceived(_ packet: Span<UInt8>) throws(BrokerClientError) -> WelcomeFrame? {
        try decoder.decode(packet)
        router.deliver(packet.extracting(first: decoder.checkedBytes), decoder.deliveries)
        var welcome: WelcomeFrame?
        for event in decoder.events {
            if case .welcome(let frame) = event { welcome = frame } else { try handle(event) }
        }
        return welcome
    }

    /// To be called when WELCOME has been dealt with.
    func sessionBegan() {
        for nonce in earlyPings { core.outbox.withLock { $0.appendPong(nonce: nonce) } }
        earlyPings = []
    }

    private func handle(_ event: SessionEvent) throws(BrokerClientError) {
        switch event {
        case .welcome:
            break  // the loop's, which knows the socket
        case .reply(let reply):
            let publishCount = core.outbox.withLock { $0.publishCount }
            let action = try core.ledger.withLock { (ledger) throws(BrokerClientError) in
                try ledger.replyReceived(reply, publishCount: publishCount)
            }
            core.perform(action)
            router.forget()
        case .pingReceived(let nonce):
            pingReceived(nonce)
        case .pongReceived(let nonce):
            let waiter = try core.ledger.withLock {
                (ledger) throws(BrokerClientError) in try ledger.pongReceived(nonce: nonce)
            }
            waiter.resolve(.success(Clock.monotonicNanoseconds()))
        case .disconnect(let frame):
            throw .disconnected(frame.reason, frame.explanation)
        case .ended(let frame):
            core.perform(core.ledger.withLock { $0.subscriptionEnded(frame) })
            router.forget()
        case .document(let type, let token, let fragment, let hasMore):
            let action = try core.ledger.withLock { (ledger) throws(BrokerClientError) in
                try ledger.fragmentReceived(
                    type, token: token, fragment: fragment, hasMore: hasMore)
            }
            core.perform(action)
        }
    }

    /// Answered with the next drain, which follows every turn of reading.
    private func pingReceived(_ nonce: UInt64) {
        core.outbox.withLock { outbox in
            if outbox.isOnline {
                outbox.appendPong(nonce: nonce)
            } else if earlyPings.count < Self.earlyPingsMax {
                earlyPings.append(nonce)
            }
        }
    }
}
