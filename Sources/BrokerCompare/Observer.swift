package import LinuxIO
import SystemPackage

/// Listens on a path and tells of every connection and every message who is behind it: for
/// clients of any kind, which need not know of a broker.
package struct Observer: ~Copyable {
    /// What there is to tell.
    package enum Event: Sendable {
        case connected(connection: Int, opener: Identity)
        case message(connection: Int, Message)
        case closed(connection: Int)
        /// A connection or message that cannot be read.
        case trouble(connection: Int, String)
    }

    /// A packet, or a piece of a stream.
    package struct Message: Sendable {
        package let bytes: [UInt8]
        package let opener: Identity
        /// Nil: no credentials came with it, or not one whole set.
        package let sender: Identity?
        /// The kernel did not record who sent it: the ids are nobody's.
        package let isUnrecorded: Bool
        /// The inode number of the sender's process descriptor.
        package let process: UInt64?
        /// Whether that process opened the connection; nil: the kernel does not tell.
        package let isOpener: Bool?

        /// Names of the ids that connection and message do not share.
        package var differences: [String] {
            guard let sender else { return ["credentials"] }
            var names: [String] = []
            if sender.pid != opener.pid { names.append("process id") }
            if sender.uid != opener.uid { names.append("user id") }
            if sender.gid != opener.gid { names.append("group id") }
            if names.isEmpty, isOpener == false { names.append("process") }
            return names
        }
    }

    /// What to do after an event.
    package enum Answer: Sendable {
        case goOn
        case stop
    }

    private struct Connection: ~Copyable {
        let number: Int
        let descriptor: OwnedDescriptor
        let opener: Identity
        let process: UInt64?
    }

    private let listener: LocalListener
    private let type: Actor.SocketType
    private var epoll: Epoll
    private var connections: [UInt64: ConnectionBox] = [:]
    private var connectionsSeen = 0
    private var receiver = PacketReceiver(slots: 1, packetBytesMax: 1 << 18)

    /// Dictionaries hold no noncopyable values.
    private final class ConnectionBox {
        let connection: Connection

        init(_ connection: consuming Connection) {
            self.connection = connection
        }
    }

    private static let listenerToken: UInt64 = 0
    private static let stopToken: UInt64 = .max

    package init(
        path: String, type: Actor.SocketType
    ) throws {
        let epoll = try Epoll(eventsMax: 16)
        let listener = try LocalListener(path: path, type: type, records: true)
        self.type = type
        self.epoll = epoll
        self.listener = listener
    }

    /// Tells events until one is answered with `.stop`, or `stop` becomes readable. Removes the
    /// path then.
    package mutating func run(
        until stop: borrowing EventFD, _ tell: (Event) -> Answer
    ) throws {
        try epoll.add(listener.descriptor, token: Self.listenerToken, interest: .readable)
        try epoll.add(stop.descriptor, token: Self.stopToken, interest: .readable)
        defer { listener.removePath() }
        while true {
            let count = epoll.wait(timeoutMilliseconds: -1)
            for index in 0..<count {
                let token = epoll.token(at: index)
                if token == Self.stopToken { return }
                let answer =
                    token == Self.listenerToken
                    ? try accept(tell) : try receive(token, tell)
                if case .stop = answer { return }
            }
        }
    }

    private mutating func accept(_ tell: (Event) -> Answer) throws -> Answer {
        guard let accepted = try listener.accept(timeoutMilliseconds: 0) else { return .goOn }
        connectionsSeen += 1
        let number = connectionsSeen
        let credentials = try PeerCredentials.read(accepted)
        let opener = Identity(
            pid: credentials.pid, uid: credentials.uid, gid: credentials.gid)
        let process = ProcessDescriptor.ofPeer(of: accepted)?.inode
        try epoll.add(accepted, token: UInt64(number), interest: .readable)
        let connection = Connection(
            number: number, descriptor: accepted, opener: opener, process: process)
        connections[UInt64(number)] = ConnectionBox(connection)
        return tell(.connected(connection: number, opener: opener))
    }

    /// One packet or piece; level-triggered events bring us back for the next.
    private mutating func receive(
        _ token: UInt64, _ tell: (Event) -> Answer
    ) throws -> Answer {
        guard let box = connections[token] else { return .goOn }
        let number = box.connection.number
        let outcome = receiver.receive(from: box.connection.descriptor)
        switch outcome {
        case .wouldBlock:
            return .goOn
        case .failed(let error):
            try forget(token)
            return tell(.trouble(connection: number, "\(error)"))
        case .endOfStream:
            try forget(token)
            return tell(.closed(connection: number))
        case .packets:
            let content = latestBytes()
            // The end of a stream comes with credentials of nobody.
            if content.isEmpty, type == .stream {
                try forget(token)
                return tell(.closed(connection: number))
            }
            let message = message(content, receiver.attestation(at: 0), box.connection)
            return tell(.message(connection: number, message))
        }
    }

    private func latestBytes() -> [UInt8] {
        let bytes = receiver.bytes(at: 0)
        return bytes.indices.map { bytes[$0] }
    }

    private func message(
        _ bytes: [UInt8], _ attestation: PacketAttestation, _ connection: borrowing Connection
    ) -> Message {
        var sender: Identity?
        var isUnrecorded = false
        switch attestation.credentials {
        case .recorded(let ids):
            sender = Identity(ids)
        case .unrecorded:
            sender = .unrecorded
            isUnrecorded = true
        case .missing, .malformed:
            break
        }
        var isOpener: Bool?
        if let process = attestation.senderProcessInode, let opener = connection.process {
            isOpener = process == opener
        }
        return Message(
            bytes: bytes, opener: connection.opener, sender: sender,
            isUnrecorded: isUnrecorded, process: attestation.senderProcessInode,
            isOpener: isOpener)
    }

    private mutating func forget(_ token: UInt64) throws {
        guard let box = connections.removeValue(forKey: token) else { return }
        try epoll.remove(box.connection.descriptor)
    }
}
