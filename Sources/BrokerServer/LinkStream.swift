import BrokerConfig
import BrokerCore
import BrokerSigning
import BrokerWire
import LinuxIO

/// One byte stream to or from a peer broker. Confined to the reactor thread.
final class LinkStream {
    /// Before the handshake a peer can make us hold this much, afterwards a whole envelope.
    static let unprovenBytesMax = 65_536
    static let bytesMax = 2 * (Limits.packetBytesMax + Limits.batchBytesTarget)

    let slot: Int
    let generation: UInt32
    let descriptor: OwnedDescriptor
    /// The link that was dialed; nil on a listener's stream.
    let dialed: String?
    /// The core's handle; nil until a connect has succeeded.
    var connection: LinkConnectionID?
    /// Whom the peer can be: of a listener, the links that listen there.
    let candidates: [String]
    /// What the stream is protected by; nil: it carries records as they are.
    var tls: TLSSession?
    /// What was done about it.
    var tlsState = TLSSession.State.handshaking
    /// When the peer has to have answered, and where it can be tried if it does not.
    var attempt: DialAttempt?
    var input = StreamBuffer(capacityBytes: LinkStream.unprovenBytesMax)
    var output = LinkOutput()
    var interest: Epoll.Interest?
    var isConnecting: Bool
    var isWriteBlocked = false
    /// A full queue holds the link back: nothing is read.
    var isPaused = false

    /// - Parameter candidates: if it was not dialed.
    init(
        slot: Int, generation: UInt32, descriptor: consuming OwnedDescriptor, dialed: String?,
        candidates: [String]
    ) {
        self.slot = slot
        self.generation = generation
        self.descriptor = descriptor
        self.dialed = dialed
        self.candidates = dialed.map { [$0] } ?? candidates
        isConnecting = dialed != nil
    }

    /// What epoll reports it by. Bit 31 tells it from the tokens of sessions.
    var token: UInt64 { UInt64(slot) | LinkToken.stream | UInt64(generation) << 32 }
}

/// The bytes of a stream, through TLS where there is TLS.
extension LinkStream {
    /// Whether the peer has passed the handshake of the link.
    var isProven: Bool { input.capacityBytes == LinkStream.bytesMax }

    /// Whether what the core has to say can be sent.
    var isOpen: Bool { tls.map { $0.state == .established } ?? true }

    var canReceive: Bool { tls?.canReceive ?? !input.isFull }

    /// Whether something waits for the kernel to take it.
    var hasOutput: Bool { tls.map { $0.outputBytes > 0 } ?? !output.isEmpty }

    /// Reads what the kernel has, as far as there is room.
    func receive() -> StreamOutcome {
        guard let tls else { return input.receive(from: descriptor) }
        let outcome = tls.receive { room in
            let outcome = receiveStream(from: descriptor, into: &room)
            if case .moved(let count) = outcome { return (count, outcome) }
            return (0, outcome)
        }
        return outcome ?? .wouldBlock
    }

    /// Takes bytes out of TLS records.
    ///
    /// - Returns: how many; 0 without TLS.
    func decrypt() -> Int {
        guard let tls, !input.isFull else { return 0 }
        var moved = 0
        input.fill { room in
            moved = tls.read(into: &room)
            return moved
        }
        return moved
    }

    /// Puts bytes into TLS records, as many as there is room for.
    func encrypt() {
        guard let tls, !output.isEmpty else { return }
        output.sent(tls.write(output.pending))
    }

    /// Sends what waits, as far as the kernel takes it.
    func send() -> StreamOutcome {
        guard let tls else {
            let outcome = sendStream(to: descriptor, output.pending)
            if case .moved(let count) = outcome { output.sent(count) }
            return outcome
        }
        return tls.send { records in
            let outcome = sendStream(to: descriptor, records)
            if case .moved(let count) = outcome { return (count, outcome) }
            return (0, outcome)
        }
    }
}

enum LinkToken {
    static let stream: UInt64 = 0x8000_0000
    static let listener: UInt64 = 0x4000_0000
}

/// The links of this server: listeners, streams, and when to dial.
struct LinkStreams: ~Copyable {
    static let reloadNanoseconds: UInt64 = 1_000_000_000
    /// How often a peer is asked again to go over to a key that it did not have.
    static let rotationNanoseconds: UInt64 = 10_000_000_000

    private(set) var settings: [LinkSettings] = []
    let keys = LinkKeys()
    let contexts = LinkTLSContexts()
    let resolver: LinkResolver
    /// By their number in tokens.
    var listeners: [LinkListener?] = []
    var streams: [LinkStream?] = []
    var slots: [LinkConnectionID: Int] = [:]
    var backOffs: [String: RetryTimer] = [:]
    /// By peer, for status.
    var progress: [String: LinkProgress] = [:]
    /// Links with a stream of ours that has not ended.
    var dialing: Set<String> = []
    /// Names of peers that are being looked up.
    var lookUps: [String: LookUp] = [:]
    var nextGeneration: UInt32 = 1
    var nextReloadNanoseconds: UInt64 = 0
    var nextRotationNanoseconds: UInt64 = 0
    /// When the file of links is read again that could not be put into force; nil: it is, or what
    /// stands in it has to be mended first.
    var fileRetry: RetryTimer?
    /// The broker ends: nothing is due any more.
    var isStopping = false

    init(resolver: LinkResolver) {
        self.resolver = resolver
    }

    /// These are the links from now on. Those in `restarting` are dialed at once.
    mutating func replace(
        _ settings: [LinkSettings], restarting: Set<String>, nowNanoseconds: UInt64
    ) {
        let old = backOffs
        let oldProgress = progress
        progress = [:]
        for link in settings {
            progress[link.peer] =
                oldProgress[link.peer] ?? LinkProgress(nowNanoseconds: nowNanoseconds)
        }
        backOffs = [:]
        for link in settings where link.link.isConnector {
            let kept = restarting.contains(link.peer) ? nil : old[link.peer]
            backOffs[link.peer] = kept ?? RetryTimer()
        }
        for peer in lookUps.keys where restarting.contains(peer) || backOffs[peer] == nil {
            lookUps[peer] = nil
            dialing.remove(peer)
        }
        dialing.formIntersection(backOffs.keys)
        self.settings = settings
    }

    /// - Returns: the number of a new listener.
    mutating func add(_ listener: LinkListener) -> Int {
        if let free = listeners.firstIndex(where: { $0 == nil }) {
            listeners[free] = listener
            return free
        }
        listeners.append(listener)
        return listeners.count - 1
    }

    /// The number of the listener at an address.
    func listener(at address: StreamAddress) -> Int? {
        listeners.firstIndex { $0?.address == address }
    }

    /// The numbers of the listeners that other links would have no use for.
    func listenersUnused(by settings: [LinkSettings]) -> [Int] {
        listeners.indices.filter { index in
            guard let listener = listeners[index] else { return false }
            return !settings.contains {
                !$0.link.isConnector && $0.address == listener.address
            }
        }
    }

    func stream(_ token: UInt64) -> LinkStream? {
        let slot = Int(token & 0x3FFF_FFFF)
        guard slot < streams.count, let stream = streams[slot],
            stream.generation == UInt32(truncatingIfNeeded: token >> 32)
        else { return nil }
        return stream
    }

    func stream(of id: LinkConnectionID) -> LinkStream? {
        guard let slot = slots[id] else { return nil }
        return streams[slot]
    }

    /// When something is due: a dial, or a look at a file.
    var nextDeadlineNanoseconds: UInt64 {
        if isStopping { return .max }
        let retry = fileRetry?.nextNanoseconds ?? .max
        guard !settings.isEmpty else { return retry }
        var next = min(nextReloadNanoseconds, retry)
        for case .some(let listener) in listeners {
            next = min(next, listener.acceptAgainNanoseconds ?? .max)
        }
        for (peer, backOff) in backOffs where !dialing.contains(peer) {
            next = min(next, backOff.nextNanoseconds)
        }
        for lookUp in lookUps.values { next = min(next, lookUp.deadlineNanoseconds) }
        for case .some(let stream) in streams where stream.isConnecting {
            next = min(next, stream.attempt?.deadlineNanoseconds ?? .max)
        }
        return next
    }
}

/// A listening socket for links.
final class LinkListener {
    let address: StreamAddress
    let listener: StreamListener
    /// When it is looked at again; nil: it is watched.
    var acceptAgainNanoseconds: UInt64?

    /// - Parameter replaced: listeners that will be closed when this one is there: they may have
    ///   its port.
    init(
        address: StreamAddress, backlog: Int32, replacing replaced: [LinkListener] = []
    ) throws(StreamError) {
        self.address = address
        let sharing = replaced.filter { $0.address.hasPort(of: address) }
        for other in sharing { other.listener.setSharesPort(true) }
        defer { for other in sharing { other.listener.setSharesPort(false) } }
        listener = try StreamListener(
            address, backlog: backlog, sharesPort: !sharing.isEmpty)
    }
}
