import BrokerSigning
import TestSupport
import Testing

/// Two sessions that talk to each other in memory, over a wire that tests can reach into.
struct TLSPair {
    enum Way: Sendable, CaseIterable {
        case toListener, toConnector
    }

    let connector: TLSSession
    let listener: TLSSession
    /// Most bytes that the wire carries at a time.
    var bytesAtATime = Int.max
    /// Everything that went over the wire, as it arrived.
    private(set) var carried: [Way: [UInt8]] = [.toListener: [], .toConnector: []]
    /// Changes a byte, given the way and where it stands; nil cuts the wire there.
    var alter: (Way, Int, UInt8) -> UInt8? = { $2 }
    private var isCut: Set<Way> = []

    static let identity = "broker-link/1/edge/hub/9f3c6a51e07d2b84"

    static func key(_ byte: UInt8) throws -> SecretBytes {
        try SecretBytes(copying: [UInt8](repeating: byte, count: SecretBytes.byteCount).span)
    }

    init(_ connector: TLSSession, _ listener: TLSSession) {
        self.connector = connector
        self.listener = listener
    }

    /// Both by pre-shared key.
    ///
    /// - Parameter keys: of the connector and of the listener, by the byte that they are made of.
    init(
        keys: (UInt8, UInt8) = (1, 1), known: String = TLSPair.identity,
        recordsPerKeyMax: Int = 1 << 22
    ) throws {
        connector = try TLSSession(
            try .presharedKey(), isConnector: true,
            proof: .presharedKey(offer: Self.identity) { _ in try? Self.key(keys.0) },
            recordsPerKeyMax: recordsPerKeyMax)
        listener = try Self.keyListener(keys.1, known: known, recordsPerKeyMax)
    }

    static func keyListener(
        _ byte: UInt8 = 1, known: String = identity, _ recordsPerKeyMax: Int = 1 << 22
    ) throws -> TLSSession {
        try TLSSession(
            try .presharedKey(), isConnector: false,
            proof: .presharedKey(offer: nil) { $0 == known ? try? Self.key(byte) : nil },
            recordsPerKeyMax: recordsPerKeyMax)
    }

    /// Lets records go both ways until nothing moves any more.
    mutating func run() {
        while carry(.toListener) + carry(.toConnector) > 0 {}
    }

    /// What one side has sent arrives at the other, as far as there is room.
    ///
    /// - Returns: bytes that were carried.
    private mutating func carry(_ way: Way) -> Int {
        let (source, destination) =
            way == .toListener ? (connector, listener) : (listener, connector)
        var total = 0
        while source.outputBytes > 0, destination.canReceive, !isCut.contains(way) {
            var bytes: [UInt8] = []
            let limit = bytesAtATime
            source.send { records in
                bytes = (0..<min(records.count, limit)).map { records[$0] }
                return (bytes.count, ())
            }
            total += bytes.count
            deliver(bytes, way, to: destination)
        }
        return total
    }

    /// What does not fit is lost: senders here look for room first, and bring little at a time.
    private mutating func deliver(_ sent: [UInt8], _ way: Way, to destination: TLSSession) {
        let start = carried[way, default: []].count
        var arriving: [UInt8] = []
        for (index, byte) in sent.enumerated() {
            guard let altered = alter(way, start + index, byte) else {
                isCut.insert(way)
                break
            }
            arriving.append(altered)
        }
        carried[way, default: []] += arriving
        Self.feed(arriving, to: destination)
    }

    /// - Returns: how many bytes there was room for.
    @discardableResult
    static func feed(_ bytes: [UInt8], to session: TLSSession) -> Int {
        var offset = 0
        while offset < bytes.count {
            let taken: Int? = session.receive { room in
                let count = min(room.count, bytes.count - offset)
                for index in 0..<count { room[index] = bytes[offset + index] }
                return (count, count)
            }
            guard let taken else { break }
            offset += taken
        }
        return offset
    }

    /// What has arrived, at most so much.
    static func read(_ session: TLSSession, bytesMax: Int = 1_048_576) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: bytesMax)
        var room = bytes.mutableSpan
        let count = session.read(into: &room)
        return Array(bytes.prefix(count))
    }

    /// Sends bytes from one to the other, in as many steps as their buffers ask for.
    mutating func transfer(_ bytes: [UInt8], _ way: Way) -> [UInt8] {
        let (source, destination) =
            way == .toListener ? (connector, listener) : (listener, connector)
        var offset = 0
        var arrived: [UInt8] = []
        while true {
            let taken = source.write(bytes.span.extracting(offset...))
            offset += taken
            let carried = carry(way)
            let read = Self.read(destination)
            arrived += read
            if taken + carried + read.count == 0 { return arrived }
        }
    }

    /// Why a session has failed, if it has.
    static func failure(_ session: TLSSession) -> TLSFailure? {
        if case .failed(let failure) = session.state { failure } else { nil }
    }
}
