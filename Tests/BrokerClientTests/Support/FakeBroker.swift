import BrokerClient
import BrokerWire
import LinuxIO

/// A broker that does what a test tells it, packet by packet, on a real socket.
final class FakeBroker: Sendable {
    let path: String
    private let listener: Lock<SeqpacketListener?>

    init(path: String = FakeBroker.freshPath()) throws {
        self.path = path
        listener = Lock(
            try SeqpacketListener(path: path, mode: 0o600, groupID: nil, backlog: 16))
    }

    deinit { stop() }

    static func freshPath() -> String {
        let number = UInt64.random(in: 0...UInt64.max)
        return "/tmp/broker-client-\(CurrentProcess.pid)-\(String(number, radix: 36))"
    }

    /// Nobody listens any more, and the path is free for another one.
    func stop() {
        let listener = listener.withLock { $0.take() }
        if let listener { _ = try? listener.removePath() }
    }

    /// The next connection, before it has said anything.
    func accept() async throws -> FakeSession {
        try await eventually("a connection") {
            try self.listener.withLock { listener -> FakeSession? in
                guard listener != nil else { throw TestFailure("the fake broker is stopped") }
                guard let outcome = listener?.accept() else { return nil }
                switch consume outcome {
                case .connection(let descriptor): return FakeSession(descriptor)
                case .wouldBlock: return nil
                case .aborted: return nil
                case .descriptorsExhausted(let error): throw error
                case .failed(let error): throw error
                }
            }
        }
    }

    /// The next connection, with its HELLO answered.
    func welcome(_ change: (inout WelcomeFrame) -> Void = { _ in }) async throws -> FakeSession {
        let session = try await accept()
        let hello = try await session.receive()
        guard case .hello = hello.frames.first else { throw TestFailure("no HELLO: \(hello)") }
        var welcome = WelcomeFrame.example
        change(&welcome)
        try session.send { $0.appendWelcome(welcome) }
        return session
    }

    /// A client of this broker, and the broker's end of it.
    func connect(
        _ change: (inout BrokerClient.Configuration) -> Void = { _ in }
    ) async throws -> (client: BrokerClient, session: FakeSession) {
        var configuration = BrokerClient.Configuration(socketPath: path, clientName: "tests")
        configuration.reconnect = .never
        change(&configuration)
        let connecting = Task { [configuration] in try await BrokerClient.connect(configuration) }
        let session = try await welcome()
        return (try await connecting.value, session)
    }
}

/// The broker's end of one connection.
final class FakeSession: Sendable {
    private struct State: ~Copyable {
        var descriptor: OwnedDescriptor?
        var receiver = PacketReceiver(slots: 1, packetBytesMax: Limits.packetBytesMax)
    }

    private let state: Lock<State>

    init(_ descriptor: consuming OwnedDescriptor) {
        state = Lock(State(descriptor: descriptor))
    }

    /// A packet that is there already.
    func receiveNow() throws -> ClientPacket? {
        try state.withLock { state in
            guard let descriptor = state.descriptor.take() else {
                throw TestFailure("the session is closed")
            }
            let outcome = state.receiver.receive(from: descriptor)
            state.descriptor = consume descriptor
            switch outcome {
            case .packets: return try ClientPacket(state.receiver.bytes(at: 0))
            case .wouldBlock: return nil
            case .endOfStream: return ClientPacket(frames: [], isEnd: true)
            case .failed(let error): throw error
            }
        }
    }

    func receive() async throws -> ClientPacket {
        try await eventually("a packet of the client") { try self.receiveNow() }
    }

    /// The next frames of the client, of as many packets as that takes.
    func receiveFrames(_ count: Int) async throws -> [ClientFrame] {
        var frames: [ClientFrame] = []
        while frames.count < count {
            let packet = try await receive()
            if packet.isEnd { throw TestFailure("the client hung up after \(frames)") }
            frames += packet.frames
        }
        return frames
    }

    func receiveFrame() async throws -> ClientFrame {
        let frames = try await receiveFrames(1)
        guard frames.count == 1 else { throw TestFailure("one frame was expected: \(frames)") }
        return frames[0]
    }

    /// Takes a SUBSCRIBE and says yes.
    func acceptSubscription() async throws -> SubscribeFrame {
        guard case .subscribe(let frame) = try await receiveFrame() else {
            throw TestFailure("no SUBSCRIBE")
        }
        try send {
            $0.appendReply(ReplyFrame(token: frame.token, reason: .success, request: .subscribe))
        }
        return frame
    }

    func send(_ build: (inout PacketBuffer) -> Void) throws {
        var packet = PacketBuffer(capacityBytes: Limits.packetBytesMax)
        build(&packet)
        packet.seal()
        guard try send(bytes: packet.span) else { throw TestFailure("the client does not read") }
    }

    /// Sends a packet that is none, and a descriptor with it.
    func send(descriptor given: borrowing OwnedDescriptor) throws {
        try withDescriptor { try Actor.give(given, through: $0) }
    }

    /// Reads nothing from now on, and goes on sending.
    func stopReading() throws {
        try withDescriptor { try shutdownRead($0) }
    }

    private func withDescriptor<Value: Sendable>(
        _ body: (borrowing OwnedDescriptor) throws -> Value
    ) throws -> Value {
        try state.withLock { state in
            guard let descriptor = state.descriptor.take() else {
                throw TestFailure("the session is closed")
            }
            let result = Result { try body(descriptor) }
            state.descriptor = consume descriptor
            return try result.get()
        }
    }

    /// - Returns: false if the client reads nothing and the kernel takes no more.
    func send(bytes: Span<UInt8>) throws -> Bool {
        switch try withDescriptor({ sendPacket(to: $0, bytes) }) {
        case .sent: return true
        case .wouldBlock: return false
        case let outcome: throw TestFailure("cannot send: \(outcome)")
        }
    }

    func close() {
        state.withLock { $0.descriptor = nil }
    }
}
