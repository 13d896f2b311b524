import LinuxIO
import SystemPackage

/// Two processes that write to one connection at the same time.
extension Stage {
    /// On a stream: another process's bytes get into the middle of a message.
    func tearsFrame() throws -> Observation {
        var observation = Observation()
        let path = newPath()
        let listener = try listen(path, .stream)
        let actor = try start(
            ActorOrder(.tear, path, type: .stream, user: nil, other: anotherUser))
        let words = try read(actor, until: "partial", into: &observation)
        let connection = try accept(listener, into: &observation)
        guard let first = words.first.flatMap({ Int($0) }) else {
            throw ScenarioBroken(reason: "no count in 'partial'")
        }
        var pieces = TornPieces(observation.reports["opener"]?.real)
        try pieces.read(first, from: connection)
        actor.tell("")
        try read(actor, until: "torn", into: &observation)
        actor.tell("")
        try pieces.read(TornFrame.bytes - first + TornFrame.other.utf8.count, from: connection)
        actor.endInput()
        actor.wait()
        observation.note(pieces.intruder)
        observation.expect(
            pieces.order == [.own, .intruder, .own],
            "the pieces of the frame came as \(pieces.order.map(\.rawValue))")
        observation.expect(!pieces.mixed, "one piece holds bytes of two processes")
        return observation
    }

    /// On SOCK_SEQPACKET: packets of both arrive, each whole and each with its own sender.
    func interleavesPackets() throws -> Observation {
        var observation = Observation()
        let path = newPath()
        let listener = try listen(path)
        let actor = try start(ActorOrder(.interleave, path, other: anotherUser))
        let connection = try accept(listener, into: &observation)
        var received = Received()
        var senders: [UInt8: Set<Int32>] = [:]
        var mixed = 0
        for _ in 0..<(2 * Interleaving.packets) {
            guard let packet = try received.next(from: connection) else { break }
            let first = packet.text[0]
            let isWhole = packet.text.count == Interleaving.packetBytes
            if !isWhole || packet.text.contains(where: { $0 != first }) { mixed += 1 }
            senders[first, default: []].insert(packet.identity?.pid ?? 0)
            if first == UInt8(ascii: "B") { observation.note(packet) }
        }
        try read(actor, until: "done", into: &observation)
        if observation.truth == nil { try read(actor, until: "writer", into: &observation) }
        actor.endInput()
        actor.wait()
        observation.expect(mixed == 0, "\(mixed) packets are not whole")
        let opener = observation.reports["opener"]?.real.pid ?? 0
        let writer = observation.truth?.pid ?? 0
        let isAttributed =
            senders == [UInt8(ascii: "A"): [opener], UInt8(ascii: "B"): [writer]]
        observation.expect(isAttributed, "packets carry another sender than their content")
        return observation
    }
}

/// The pieces of one message as they come out of a stream.
private struct TornPieces: ~Copyable {
    enum Owner: String {
        case own
        case intruder
    }

    private(set) var order: [Owner] = []
    private(set) var intruder: Received.Piece?
    private(set) var mixed = false
    private let owner: Identity?
    private var received = Received()

    init(_ owner: Identity?) {
        self.owner = owner
    }

    mutating func read(_ count: Int, from connection: borrowing OwnedDescriptor) throws {
        var left = count
        while left > 0 {
            guard let piece = try received.next(from: connection) else {
                throw ScenarioBroken(reason: "the stream ended \(left) bytes early")
            }
            left -= piece.text.count
            let isOwn = piece.identity?.pid == owner?.pid
            let letter = isOwn ? UInt8(ascii: "A") : UInt8(ascii: "B")
            if piece.text.contains(where: { $0 != letter }) { mixed = true }
            if !isOwn { intruder = piece }
            let kind = isOwn ? Owner.own : .intruder
            if order.last != kind { order.append(kind) }
        }
    }
}
