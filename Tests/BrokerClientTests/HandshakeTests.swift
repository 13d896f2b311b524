import BrokerClient
import BrokerWire
import LinuxIO
import Testing

@Suite struct HandshakeTests {
    @Test func `the client says its name and learns who it is to the broker`() async throws {
        let broker = try FakeBroker()
        var configuration = BrokerClient.Configuration(socketPath: broker.path)
        configuration.clientName = "thermometer"
        let connecting = Task { [configuration] in try await BrokerClient.connect(configuration) }
        let session = try await broker.accept()
        #expect(try await session.receiveFrame() == .hello(name: "thermometer"))
        try session.send { $0.appendWelcome(.example) }
        let client = try await connecting.value

        #expect(client.session.identity == .example(uid: 1001))
        #expect(client.session.number == 12)
        #expect(client.session.instance == 99)
        #expect(client.session.brokerName == "harbour")
        #expect(client.session.brokerVersion == "1.2.3")
        #expect(client.session.broker.pid == CurrentProcess.pid)
        #expect(client.session.broker.uid == CurrentProcess.effectiveUserID)
        #expect(client.session.limits.messageBytesMax <= 261_632)
    }

    @Test func `a broker of an untrusted uid is refused before HELLO`() async throws {
        let broker = try FakeBroker()
        var configuration = BrokerClient.Configuration(socketPath: broker.path)
        configuration.trustedBrokerUIDs = [4_000_000]
        let code = await codeOfFailure { () throws(BrokerClientError) in
            try await BrokerClient.connect(configuration)
        }
        #expect(code == .untrustedBroker(uid: CurrentProcess.effectiveUserID))
        let session = try await broker.accept()
        #expect(try await session.receive().isEnd)
    }

    @Test func `any broker is trusted if the configuration says so`() async throws {
        let broker = try FakeBroker()
        let (client, _) = try await broker.connect { $0.trustedBrokerUIDs = nil }
        #expect(client.session.brokerName == "harbour")
    }

    @Test func `without a broker the error names the socket`() async throws {
        let path = FakeBroker.freshPath()
        do {
            _ = try await BrokerClient.connect(BrokerClient.Configuration(socketPath: path))
            Issue.record("connected to nobody")
        } catch {
            #expect(error.code == .brokerUnavailable)
            #expect(error.message.contains(path))
            #expect(error.underlying?.description.contains("ENOENT") == true)
        }
    }

    @Test func `a broker that does not answer is given up`() async throws {
        let broker = try FakeBroker()
        var configuration = BrokerClient.Configuration(socketPath: broker.path)
        configuration.connectTimeout = .milliseconds(20)
        let code = await codeOfFailure { () throws(BrokerClientError) in
            try await BrokerClient.connect(configuration)
        }
        #expect(code == .timedOut)
    }

    @Test func `the broker's reason to turn a client away is passed on`() async throws {
        let broker = try FakeBroker()
        let configuration = BrokerClient.Configuration(socketPath: broker.path)
        let connecting = Task { try await BrokerClient.connect(configuration) }
        let session = try await broker.accept()
        _ = try await session.receive()
        try session.send { $0.appendDisconnect(reason: .quotaExceeded, explanation: "too many") }
        session.close()
        let error = await #expect(throws: BrokerClientError.self) { try await connecting.value }
        #expect(error?.code == .disconnected(.quotaExceeded))
        #expect(error?.message.contains("too many") == true)
    }

    @Test func `a version that was not offered is a protocol error`() async throws {
        let broker = try FakeBroker()
        let configuration = BrokerClient.Configuration(socketPath: broker.path)
        let connecting = Task { try await BrokerClient.connect(configuration) }
        let session = try await broker.welcome { $0.version = 2 }
        let error = await #expect(throws: BrokerClientError.self) { try await connecting.value }
        #expect(error?.code == .malformedPacket)
        #expect(try await session.receiveFrame() == .disconnect(.protocolError))
    }

    @Test func `a PING before WELCOME is answered afterwards`() async throws {
        let broker = try FakeBroker()
        let configuration = BrokerClient.Configuration(socketPath: broker.path)
        let connecting = Task { try await BrokerClient.connect(configuration) }
        let session = try await broker.accept()
        _ = try await session.receive()
        try session.send { packet in
            packet.appendPing(nonce: 5)
            packet.appendWelcome(.example)
            packet.appendPing(nonce: 6)
        }
        let client = try await connecting.value
        #expect(try await session.receiveFrames(2) == [.pong(5), .pong(6)])
        await client.close()
    }

    @Test func `a client name with control characters is refused at once`() async throws {
        let configuration = BrokerClient.Configuration(socketPath: "/", clientName: "a\nb")
        let code = await codeOfFailure { () throws(BrokerClientError) in
            try await BrokerClient.connect(configuration)
        }
        #expect(code == .invalidArgument)
    }

    @Test func `the socket path comes from the environment`() {
        let uid = CurrentProcess.effectiveUserID
        let path = BrokerClient.Configuration.defaultSocketPath
        #expect(path(["BROKER_SOCKET": "/a/b"]) == "/a/b")
        let fallback = uid == 0 ? "/run/broker/broker.sock" : "/x/broker.sock"
        #expect(path(["BROKER_SOCKET": "", "XDG_RUNTIME_DIR": "/x"]) == fallback)
    }
}
