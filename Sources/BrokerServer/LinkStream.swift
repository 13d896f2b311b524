import BrokerConfig
import BrokerCore
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
    var input = StreamBuffer(capacityBytes: LinkStream.unprovenBytesMax)
    var output = LinkOutput()
    var interest: Epoll.Interest?
    var isConnecting: Bool
    /// When a dial that nobody has answered is given up: the kernel would wait for two minutes.
    var dialDeadlineNanoseconds: UInt64 = .max
    var isWriteBlocked = false
    /// A full queue holds the link back: nothing is read.
    var isPaused = false

    init(
        slot: Int, generation: UInt32, descriptor: consuming OwnedDescriptor, dialed: String?
    ) {
        self.slot = slot
        self.generation = generation
        self.descriptor = descriptor
        self.dialed = dialed
        isConnecting = dialed != nil
    }

    /// What epoll reports it by. Bit 31 tells it from the tokens of sessions.
    var token: UInt64 { UInt64(slot) | LinkToken.stream | UInt64(generation) << 32 }
}

enum LinkToken {
    static let stream: UInt64 = 0x8000_0000
    static let listener: UInt64 = 0x4000_0000
}

/// When to try again to reach a peer: later each time, and not all brokers at the same moment.
struct DialBackOff {
    private static let firstNanoseconds: UInt64 = 100_000_000
    private static let lastNanoseconds: UInt64 = 10_000_000_000

    private var delayNanoseconds = DialBackOff.firstNanoseconds
    private(set) var nextNanoseconds: UInt64 = 0

    mutating func failed(nowNanoseconds: UInt64) {
        let jittered = UInt64.random(in: delayNanoseconds / 2...delayNanoseconds)
        nextNanoseconds = nowNanoseconds + jittered
        delayNanoseconds = min(delayNanoseconds * 2, Self.lastNanoseconds)
    }

    mutating func succeeded() {
        delayNanoseconds = Self.firstNanoseconds
    }
}

/// The links of this server: listeners, streams, and when to dial.
struct LinkStreams: ~Copyable {
    static let reloadNanoseconds: UInt64 = 1_000_000_000

    private(set) var settings: [LinkSettings] = []
    let keys = LinkKeys()
    /// By their number in tokens.
    var listeners: [LinkListener?] = []
    var streams: [LinkStream?] = []
    var slots: [LinkConnectionID: Int] = [:]
    var backOffs: [String: DialBackOff] = [:]
    /// By peer, for status.
    var progress: [String: LinkProgress] = [:]
    /// Links with a stream of ours that has not ended.
    var dialing: Set<String> = []
    var nextGeneration: UInt32 = 1
    var nextReloadNanoseconds: UInt64 = 0

    init() {}

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
            backOffs[link.peer] = kept ?? DialBackOff()
        }
        dialing.formIntersection(backOffs.keys)
        self.settings = settings
    }

    /// The number of the listener at an address.
    func listener(at address: StreamAddress) -> Int? {
        listeners.firstIndex { $0?.address == address }
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

    /// When something is due: a dial, or a look at the key files.
    var nextDeadlineNanoseconds: UInt64 {
        guard !settings.isEmpty else { return .max }
        var next = nextReloadNanoseconds
        for (peer, backOff) in backOffs where !dialing.contains(peer) {
            next = min(next, backOff.nextNanoseconds)
        }
        return next
    }
}

/// A listening socket for links.
final class LinkListener {
    let address: StreamAddress
    let listener: StreamListener

    init(address: StreamAddress, backlog: Int32) throws(StreamError) {
        self.address = address
        listener = try StreamListener(address, backlog: backlog)
    }
}
