import Foundation
import LinuxIO
import TestSupport

/// Brokers that are linked, in one directory: their keys, configurations and processes.
final class LinkedServers {
    /// One `[[link]]`, as one broker has it.
    struct Link {
        let peer: String
        /// `connect` or `listen`.
        let role: String
        let address: String
        /// Path of the key file.
        let key: String
        /// Further lines of the table.
        var extra = ""
    }

    private let folder: TemporaryDirectory
    var directory: URL { folder.url }
    /// A loopback address that no other test process uses.
    let host = "127.\(getpid() >> 8 & 0x7F).\(getpid() & 0xFF).1"
    private static let ports = PortCounter()

    init() throws {
        folder = try TemporaryDirectory(mode: 0o755)
    }

    /// A TCP port of `host` that has not been given out.
    func makePort() -> Int { Self.ports.next() }

    /// Makes a key file with the command that people use.
    func makeKey(_ name: String) throws -> String {
        let path = directory.appendingPathComponent("\(name).key").path
        let keygen = try ChildProcess([
            BrokerUnderTest.executable.path, "link", "keygen", name, "--out", path,
        ])
        guard keygen.wait() == 0 else {
            throw BrokerUnderTest.Failure(description: "keygen: \(keygen.errorText)")
        }
        return path
    }

    /// Carries a key file over to another name, over whatever was there.
    func carryKey(_ path: String, to name: String) throws -> String {
        let copy = directory.appendingPathComponent("\(name).key").path
        // In one step, as a broker may look at any moment.
        for command in [["cp", "-p", path, copy + ".new"], ["mv", copy + ".new", copy]] {
            let carried = try ChildProcess(command)
            guard carried.wait() == 0 else {
                throw BrokerUnderTest.Failure(description: carried.errorText)
            }
        }
        return copy
    }

    /// Writes the configuration of a broker anew; one that runs reads it.
    ///
    /// - Returns: its path.
    @discardableResult
    func configure(_ name: String, _ links: [Link]) throws -> String {
        let text = links.map { link in
            """
            [[link]]
            name = "\(link.peer)"
            \(link.role) = "\(link.address)"
            key = "\(link.key)"
            \(link.extra)

            """
        }
        return try write("\(name).toml", text.joined())
    }

    /// Starts a broker with these links.
    ///
    /// - Parameter rules: text of an access file; nil lets everybody do everything.
    func start(
        _ name: String, _ links: [Link], rules: String? = nil, prefix: [String] = []
    ) throws -> BrokerUnderTest {
        var arguments = ["--name", name, "--config", try configure(name, links)]
        if let rules {
            arguments += ["--acl", try write("\(name)-acl.toml", "version = 1\n" + rules)]
        } else {
            arguments.append("--no-acl")
        }
        return try BrokerUnderTest(arguments, prefix: prefix)
    }

    /// Two brokers, "edge" which connects and "hub" which listens, with `edge.key` and `hub.key`.
    ///
    /// - Parameter port: where the edge connects to; the hub's own port if nil.
    func startPair(
        hubPort: Int, edgePort: Int? = nil, hubRules: String? = nil
    ) throws -> (edge: BrokerUnderTest, hub: BrokerUnderTest) {
        let edgeKey = try makeKey("edge")
        let hubKey = try carryKey(edgeKey, to: "hub")
        let hub = try start(
            "hub",
            [
                Link(
                    peer: "edge", role: "listen", address: "tcp://\(host):\(hubPort)",
                    key: hubKey)
            ], rules: hubRules)
        let edge = try start(
            "edge",
            [
                Link(
                    peer: "hub", role: "connect", address: "tcp://\(host):\(edgePort ?? hubPort)",
                    key: edgeKey)
            ])
        return (edge, hub)
    }

    private func write(_ name: String, _ text: String) throws -> String {
        let path = directory.appendingPathComponent(name).path
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        return path
    }

    /// Runs a scene of a script beside the actors to its end.
    ///
    /// - Returns: the JSON object that it printed last.
    static func play(
        _ script: String, _ arguments: [String], seconds: Double = 120
    ) throws -> [String: Any] {
        let process = try ChildProcess(
            [Actors.python, Actors.file("Actors/\(script)").path] + arguments)
        let status = process.wait(seconds: seconds)
        guard status == 0, let line = process.outputLines.last else {
            throw BrokerUnderTest.Failure(
                description: "\(script) \(arguments.first ?? "") ended with "
                    + "\(status.map(String.init) ?? "a timeout"): \(process.errorText)")
        }
        return try Actors.object(line)
    }
}

/// Numbers of TCP ports, each once. Other test processes begin elsewhere: some of them may listen
/// at all addresses.
private final class PortCounter: Sendable {
    private let last = Lock(17_000 + Int(getpid() % 100) * 100)

    func next() -> Int {
        last.withLock { port in
            port += 1
            return port
        }
    }
}

extension BrokerUnderTest {
    /// What `broker link status --format json` says of a link.
    func link(_ name: String) throws -> [String: Any] {
        let process = try run(["link", "status", name, "--format", "json"])
        guard process.wait() == 0 else {
            throw Failure(description: "broker link status: \(process.errorText)")
        }
        let links = try JSONSerialization.jsonObject(with: Data(process.outputText.utf8))
        return (links as? [[String: Any]])?.first ?? [:]
    }

    func isLinkUp(_ name: String) throws -> Bool { try link(name)["state"] as? String == "up" }

    /// Waits until a link is up, and the peer's subscriptions to all of `filters` are known.
    func waitForLink(_ name: String, wanting filters: [String] = []) throws {
        var last: [String: Any] = [:]
        let isUp = try settles { broker in
            last = try broker.link(name)
            let known = last["filters"] as? [String] ?? []
            return last["state"] as? String == "up" && filters.allSatisfy(known.contains)
        }
        guard isUp else {
            throw Failure(description: "link \(name) did not come up: \(last) \(process.errorText)")
        }
    }

    /// A counter of a link that is kept by reason.
    func linkCount(_ name: String, _ group: String, _ reason: String) throws -> Int {
        (try link(name)[group] as? [String: Any])?[reason] as? Int ?? 0
    }
}
