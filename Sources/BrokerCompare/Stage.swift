import LinuxIO
import SystemPackage

/// Where a scenario is played: a directory for its sockets, the user it is played by, and the
/// processes that it starts.
final class Stage {
    /// Nobody's uids, which the processes take that must not be root. The numbers only have to
    /// be told apart.
    static let firstUser: UInt32 = 40001
    static let secondUser: UInt32 = 40002
    /// How long anything may take that takes no time.
    static let patienceMilliseconds: Int32 = 10_000

    /// Whether it may take any id. Root of another user namespace than the first may not.
    let isRoot: Bool
    /// Told every line that a process prints.
    private let transcript: (String) -> Void
    private let folder: TemporaryFolder
    private var sockets = 0

    init(isRoot: Bool, transcript: @escaping (String) -> Void) throws {
        self.isRoot = isRoot
        self.transcript = transcript
        folder = try TemporaryFolder(prefix: "broker-compare")
    }

    var folderPath: String { folder.path }

    func tell(_ line: String) {
        transcript(line)
    }

    /// A new path for a socket.
    func newPath() -> String {
        sockets += 1
        return "\(folder.path)/socket\(sockets)"
    }

    func listen(
        _ path: String, _ type: Actor.SocketType = .seqpacket, records: Bool = true
    ) throws -> LocalListener {
        try LocalListener(path: path, type: type, records: records)
    }

    /// Starts this program in one role.
    func start(_ order: ActorOrder) throws -> ActorProcess {
        let arguments = order.arguments
        guard let channel = order.channel else {
            return try ActorProcess(path: ActorProcess.ownProgram, arguments: arguments)
        }
        return try ActorProcess(
            path: ActorProcess.ownProgram, arguments: arguments, extra: channel.descriptor)
    }

    /// Reads what a process prints up to the line that begins with this word, and returns the
    /// words behind it.
    @discardableResult
    func read(
        _ actor: ActorProcess, until word: String, into observation: inout Observation
    ) throws -> [String] {
        while let line = try actor.line(timeoutMilliseconds: Self.patienceMilliseconds) {
            transcript(line)
            let words = line.split(separator: " ").map { String($0) }
            if let report = ActorReport(line: line) {
                observation.reports[report.word] = report
            }
            switch words.first {
            case word: return Array(words.dropFirst())
            case "cannot": throw ScenarioSkipped(reason: String(line.dropFirst(7)))
            case "failed": throw ScenarioBroken(reason: String(line.dropFirst(7)))
            default: continue
            }
        }
        throw ScenarioBroken(reason: "a process ended before it said '\(word)'")
    }

    /// The next line that begins with one of these words.
    func read(
        _ actor: ActorProcess, untilOneOf words: [String], _ observation: inout Observation
    ) throws -> String {
        while let line = try actor.line(timeoutMilliseconds: Self.patienceMilliseconds) {
            transcript(line)
            if let report = ActorReport(line: line) { observation.reports[report.word] = report }
            if words.contains(where: { line.hasPrefix($0) }) { return line }
        }
        throw ScenarioBroken(reason: "a process ended before it said '\(words[0])'")
    }

    /// Takes the connection that waits, and notes who opened it.
    func accept(
        _ listener: borrowing LocalListener, into observation: inout Observation
    ) throws -> OwnedDescriptor {
        let accepted = try listener.accept(timeoutMilliseconds: Self.patienceMilliseconds)
        guard let connection = accepted else {
            throw ScenarioBroken(reason: "nobody connected")
        }
        let opener = try PeerCredentials.read(connection)
        observation.connection = Identity(pid: opener.pid, uid: opener.uid, gid: opener.gid)
        observation.openerProcess = ProcessDescriptor.ofPeer(of: connection)?.inode
        return connection
    }
}

/// A socket between two processes that we start, kept until both have it.
final class Channel {
    let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }

    static func pair() throws -> (Channel, Channel) {
        var pair = try SeqpacketPair()
        guard let first = pair.first.take(), let second = pair.second.take() else {
            preconditionFailure("a pair has two ends")
        }
        try Actor.makeBlocking(first)
        try Actor.makeBlocking(second)
        return (Channel(first), Channel(second))
    }
}

/// Packets, or pieces of a stream, as they were received.
struct Received: ~Copyable {
    struct Piece {
        let text: [UInt8]
        let attestation: PacketAttestation

        /// Nil if there were no credentials at all.
        var identity: Identity? {
            switch attestation.credentials {
            case .recorded(let ids): Identity(ids)
            case .unrecorded: .unrecorded
            case .missing, .malformed: nil
            }
        }
    }

    private var receiver = PacketReceiver(slots: 1, packetBytesMax: 1 << 20)

    /// The next packet or piece; nil at the end of the connection.
    ///
    /// - Throws: `ScenarioBroken` when nothing comes.
    mutating func next(from connection: borrowing OwnedDescriptor) throws -> Piece? {
        while true {
            switch receiver.receive(from: connection) {
            case .packets:
                let bytes = receiver.bytes(at: 0)
                let text = bytes.indices.map { bytes[$0] }
                let attestation = receiver.attestation(at: 0)
                // The end of a stream comes with credentials of nobody.
                return text.isEmpty ? nil : Piece(text: text, attestation: attestation)
            case .endOfStream: return nil
            case .failed(let error): throw error
            case .wouldBlock:
                let patience = Stage.patienceMilliseconds
                guard try waitUntilReadable(connection, timeoutMilliseconds: patience) else {
                    throw ScenarioBroken(reason: "nothing arrived")
                }
            }
        }
    }
}
