import Foundation
import TestSupport
import Testing

/// Two real brokers with a link under TLS between them, and other implementations of TLS.
@Suite("Links under TLS", .serialized)
struct LinkTLSTests {
    /// Two brokers, `hub` that listens and `edge` that connects, in a directory of their own.
    private final class Pair {
        let directory: TemporaryDirectory
        let address: String
        private(set) var hub: BrokerUnderTest?
        private(set) var edge: BrokerUnderTest?

        init() throws {
            directory = try TemporaryDirectory()
            // Of the loopback network, so that no other test process has it.
            let pid = ProcessInfo.processInfo.processIdentifier
            address = "127.\(1 + pid >> 8 & 0x3F).\(pid & 0xFF).3:\(Self.ports.next())"
            let made = try ChildProcess([
                BrokerUnderTest.executable.path, "link", "keygen", "hub", "--out", keyPath,
            ])
            try #require(made.wait() == 0, "\(made.errorText)")
        }

        private static let ports = Ports()

        var keyPath: String { directory.path(of: "link.key") }

        func startHub(_ tls: String) throws -> BrokerUnderTest {
            let broker = try start("hub", peer: "edge", "listen = \"tcp://\(address)\"", tls)
            hub = broker
            return broker
        }

        func startEdge(_ tls: String) throws -> BrokerUnderTest {
            let broker = try start("edge", peer: "hub", "connect = \"tcp://\(address)\"", tls)
            edge = broker
            return broker
        }

        private func start(
            _ name: String, peer: String, _ place: String, _ tls: String
        ) throws -> BrokerUnderTest {
            let config = directory.path(of: "\(name).toml")
            let text = """
                [[link]]
                name = "\(peer)"
                \(place)
                key = "\(keyPath)"
                \(tls)

                """
            try text.write(toFile: config, atomically: true, encoding: .utf8)
            return try BrokerUnderTest(["--no-acl", "--name", name, "--config", config])
        }
    }

    /// Ports that were not used yet.
    private final class Ports: @unchecked Sendable {
        // Unchecked Sendable: the tests of this suite run one after the other.
        private var port = 7_447
        func next() -> Int {
            port += 1
            return port
        }
    }

    private func link(_ broker: BrokerUnderTest) throws -> [String: Any] {
        let links = try broker.status()["links"] as? [[String: Any]]
        return links?.first ?? [:]
    }

    private func waitUntilUp(_ broker: BrokerUnderTest) throws {
        let isUp = try broker.settles { try link($0)["state"] as? String == "up" }
        try #require(isUp, "\(broker.process.errorText)")
    }

    /// Waits until the status of the link tells of an error with these words.
    private func expectError(
        _ broker: BrokerUnderTest, _ words: String, location: SourceLocation = #_sourceLocation
    ) throws {
        let isTold = try broker.settles {
            (try link($0)["lastError"] as? String)?.contains(words) == true
        }
        let told = try link(broker)["lastError"] ?? "nothing"
        #expect(isTold, "\(told)", sourceLocation: location)
        #expect(broker.process.errorText.contains(words), sourceLocation: location)
        #expect(try link(broker)["state"] as? String == "down", sourceLocation: location)
    }

    /// A message from one broker to the other, and what its subscriber sees.
    private func expectDelivery(from source: BrokerUnderTest, to target: BrokerUnderTest) throws {
        let subscriber = try target.run(["sub", "over/tls", "-C", "1", "-W", "30"])
        let isWanted = try source.settles {
            (try link($0)["filters"] as? [String])?.contains("over/tls") == true
        }
        try #require(isWanted, "\(source.process.errorText)")
        #expect(try source.run(["pub", "over/tls", "hello", "--ack"]).wait() == 0)
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        #expect(subscriber.outputText.contains("over/tls: hello"))
    }

    // MARK: Pre-shared key

    @Test("With the link's key as pre-shared key messages go both ways, and status says how")
    func presharedKey() throws {
        let pair = try Pair()
        let hub = try pair.startHub("tls = \"psk\"")
        let edge = try pair.startEdge("tls = \"psk\"")
        try waitUntilUp(edge)
        try expectDelivery(from: edge, to: hub)
        try expectDelivery(from: hub, to: edge)
        for broker in [hub, edge] {
            let tls = try link(broker)["tls"] as? [String: String]
            #expect(tls?["form"] == "psk")
            #expect(tls?["cipher"] == "TLS_AES_128_GCM_SHA256")
            let text = try broker.run(["link", "status"])
            #expect(text.wait() == 0)
            #expect(text.outputText.contains("psk, TLS_AES_128_GCM_SHA256"))
            let list = try broker.run(["link", "list"])
            #expect(list.wait() == 0)
            #expect(list.outputText.contains("TLS") && list.outputText.contains("psk"))
        }
    }

    @Test("A key that was rotated on both sides is used by the next TLS handshake")
    func rotation() throws {
        let pair = try Pair()
        let hub = try pair.startHub("tls = \"psk\"")
        let edge = try pair.startEdge("tls = \"psk\"")
        try waitUntilUp(edge)
        let first = try link(edge)["keyID"] as? String
        for _ in 0..<2 {
            let rotated = try edge.run(["link", "rotate", "hub", "--file", pair.keyPath])
            #expect(rotated.wait() == 0, "\(rotated.errorText)")
        }
        let isRotated = try edge.settles {
            let link = try link($0)
            return link["state"] as? String == "up" && link["keyID"] as? String != first
        }
        #expect(isRotated, "\(edge.process.errorText)")
        edge.stop()
        let again = try pair.startEdge("tls = \"psk\"")
        try waitUntilUp(again)
        #expect(try link(again)["keyID"] as? String != first)
        try expectDelivery(from: again, to: hub)
    }

    @Test("One side with TLS and the other without: both say so and stay apart")
    func oneSided() throws {
        for (hubTLS, edgeTLS, hubSays, edgeSays) in [
            ("tls = \"psk\"", "", "the peer speaks without TLS", "the peer speaks without TLS"),
            ("", "tls = \"psk\"", "the other side speaks TLS", "the peer speaks without TLS"),
        ] {
            let pair = try Pair()
            let hub = try pair.startHub(hubTLS)
            let edge = try pair.startEdge(edgeTLS)
            try expectError(edge, edgeSays)
            try expectError(hub, hubSays)
        }
    }

    @Test("Another key under the same id is told from a key that nobody has")
    func otherKeys() throws {
        let pair = try Pair()
        let hub = try pair.startHub("tls = \"psk\"")
        // The hub keeps what it has read until the file changes; the edge has a file of its own.
        let text = try String(contentsOfFile: pair.keyPath, encoding: .utf8)
        let last = try #require(text.split(separator: "=").last?.first)
        let altered = text.replacing("secret=\(last)", with: "secret=\(last == "0" ? "1" : "0")")
        let other = pair.directory.path(of: "other.key")
        try #require(
            FileManager.default.createFile(
                atPath: other, contents: Data(altered.utf8), attributes: [.posixPermissions: 0o600])
        )
        let config = pair.directory.path(of: "other.toml")
        try """
        [[link]]
        name = "hub"
        connect = "tcp://\(pair.address)"
        key = "\(other)"
        tls = "psk"

        """.write(toFile: config, atomically: true, encoding: .utf8)
        let edge = try BrokerUnderTest(["--no-acl", "--name", "edge", "--config", config])
        try expectError(hub, "another link key under the same key id")
        try expectError(edge, "TLS alert")
        edge.stop()
        let stranger = try BrokerUnderTest(["--no-acl", "--name", "stranger", "--config", config])
        try expectError(hub, "broker-link/1/stranger/hub/")
        stranger.stop()
    }

    // MARK: Certificates

    private func lines(
        _ own: CertificateMaker.Files, _ authority: CertificateMaker.Files, peer: String? = nil
    ) -> String {
        """
        [link.tls]
        certificate = "\(own.certificate)"
        key = "\(own.key)"
        authority = "\(authority.certificate)"
        \(peer.map { "peer_name = \"\($0)\"" } ?? "")
        """
    }

    @Test(
        "With certificates messages go both ways; what does not fit is refused and told",
        .enabled(if: CertificateMaker.isAvailable, "needs the program openssl"))
    func certificates() throws {
        let maker = try CertificateMaker()
        let authority = try maker.authority("links")
        let hubFiles = try maker.certificate("hub", names: ["DNS:hub"], by: authority)
        let edgeFiles = try maker.certificate("edge", names: ["DNS:edge"], by: authority)
        let pair = try Pair()
        let hub = try pair.startHub(lines(hubFiles, authority, peer: "edge"))
        let edge = try pair.startEdge(lines(edgeFiles, authority, peer: "hub"))
        try waitUntilUp(edge)
        try expectDelivery(from: edge, to: hub)
        try expectDelivery(from: hub, to: edge)
        let tls = try link(hub)["tls"] as? [String: String]
        #expect(tls?["form"] == "certificate" && tls?["peer"] == "CN=edge")
        edge.stop()
        let old = try maker.certificate("old", names: ["DNS:edge"], by: authority, days: -1)
        let expired = try pair.startEdge(lines(old, authority))
        try expectError(hub, "has expired on")
        try expectError(expired, "certificate expired")
        #expect(expired.process.errorText.contains("it has expired on"))
        expired.stop()
        let other = try maker.certificate("other", names: ["DNS:other"], by: authority)
        let misnamed = try pair.startEdge(lines(other, authority))
        try expectError(hub, "is not for")
        misnamed.stop()
        let strange = try maker.authority("strange")
        let stranger = try maker.certificate("strange-edge", names: ["DNS:edge"], by: strange)
        let unknown = try pair.startEdge(lines(stranger, strange))
        try expectError(unknown, "is of no authority that we trust")
        unknown.stop()
    }

    @Test(
        "A renewed certificate is used for new connections, without a restart",
        .enabled(if: CertificateMaker.isAvailable, "needs the program openssl"))
    func renewal() throws {
        let maker = try CertificateMaker()
        let authority = try maker.authority("links")
        let hubFiles = try maker.certificate("hub", names: ["DNS:hub"], by: authority, days: -1)
        let edgeFiles = try maker.certificate("edge", names: ["DNS:edge"], by: authority)
        let pair = try Pair()
        let hub = try pair.startHub(lines(hubFiles, authority))
        let edge = try pair.startEdge(lines(edgeFiles, authority))
        try expectError(edge, "has expired on")
        _ = try maker.certificate("hub", names: ["DNS:hub"], by: authority)
        try waitUntilUp(edge)
        #expect(hub.process.errorText.contains("certificate of a link reloaded"))
    }

    @Test("A broker does not start with TLS files that it cannot use, and says which")
    func unusableFiles() throws {
        let pair = try Pair()
        let config = pair.directory.path(of: "hub.toml")
        try """
        [[link]]
        name = "edge"
        listen = "tcp://\(pair.address)"
        key = "\(pair.keyPath)"
        tls = { certificate = "/no/hub.pem", key = "/no/hub.key", authority = "/no/ca.pem" }

        """.write(toFile: config, atomically: true, encoding: .utf8)
        let broker = try ChildProcess([
            BrokerUnderTest.executable.path, "serve", "--no-acl", "--name", "hub", "--config",
            config, "--socket", pair.directory.path(of: "hub.sock"),
        ])
        #expect(broker.wait() == 1)
        #expect(broker.errorText.contains("/no/hub.pem: cannot be opened"))
    }

    // MARK: Other implementations

    private func client(_ arguments: [String], to pair: Pair) throws -> ChildProcess {
        let client = try ChildProcess(
            ["openssl", "s_client", "-connect", pair.address] + arguments)
        client.closeInput()
        _ = client.wait(seconds: 20)
        return client
    }

    @Test(
        "OpenSSL's client with the key that Python derives completes the handshake",
        .enabled(if: CertificateMaker.isAvailable, "needs the program openssl"))
    func otherClient() throws {
        let pair = try Pair()
        let hub = try pair.startHub("tls = \"psk\"")
        let derived = try ChildProcess([
            Actors.python, Actors.file("../../Protocol/reference/tls_key.py").path, pair.keyPath,
            "edge", "hub",
        ])
        #expect(derived.wait() == 0, "\(derived.errorText)")
        let words = derived.outputText.split(whereSeparator: \.isWhitespace).map(String.init)
        let (identity, key) = (try #require(words.first), try #require(words.last))
        let common = ["-alpn", "broker-link/1", "-psk_identity", identity]
        let good = try client(common + ["-psk", key, "-tls1_3"], to: pair)
        #expect(good.outputText.contains("Reused, TLSv1.3, Cipher is TLS_"))
        #expect(good.outputText.contains("ALPN protocol: broker-link/1"))
        #expect(!good.outputText.contains("New Session Ticket"))
        let wrong = String(key.reversed())
        let bad = try client(common + ["-psk", wrong, "-tls1_3"], to: pair)
        #expect(!bad.outputText.contains("Reused"))
        try expectError(hub, "another link key under the same key id")
        let old = try client(["-tls1_2"], to: pair)
        #expect(old.errorText.contains("alert protocol version"))
        try expectError(hub, "the peer offers no TLS 1.3")
        let keyless = try client(["-alpn", "broker-link/1"], to: pair)
        #expect(!keyless.outputText.contains("Cipher is TLS"))
        try expectError(hub, "the peer offers no pre-shared key")
        let silent = try client(["-psk_identity", identity, "-psk", key, "-tls1_3"], to: pair)
        #expect(silent.outputText.contains("No ALPN negotiated"))
        try expectError(hub, "does not speak broker-link/1")
        // None of this keeps the peer out.
        let edge = try pair.startEdge("tls = \"psk\"")
        try waitUntilUp(edge)
    }

    // MARK: Names

    @Test("A peer whose name does not resolve holds nobody up, and status says why")
    func unknownName() throws {
        let directory = try TemporaryDirectory()
        let key = directory.path(of: "link.key")
        let made = try ChildProcess([
            BrokerUnderTest.executable.path, "link", "keygen", "hub", "--out", key,
        ])
        #expect(made.wait() == 0)
        let config = directory.path(of: "edge.toml")
        try """
        [[link]]
        name = "hub"
        connect = "tcp://no-such-broker.invalid:7447"
        key = "\(key)"

        """.write(toFile: config, atomically: true, encoding: .utf8)
        let edge = try BrokerUnderTest(["--no-acl", "--name", "edge", "--config", config])
        #expect(try edge.run(["pub", "t", "hi", "--ack"]).wait() == 0)
        let isTold = try edge.settles { try link($0)["lastError"] != nil }
        #expect(isTold)
        let reason = try link(edge)["lastError"] as? String ?? ""
        #expect(reason.contains("no-such-broker.invalid") || reason.contains("name service"))
        #expect(
            edge.process.errorText.contains("link without TLS: contents can be read on the way"))
    }
}
