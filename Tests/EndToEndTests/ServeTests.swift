import Foundation
import TestSupport
import Testing

/// Starting, stopping, and what is in the way.
@Suite("broker serve", .serialized)
struct ServeTests {
    @Test("SIGTERM delivers what is queued, says goodbye, and removes the socket")
    func gracefulStop() throws {
        let broker = try BrokerUnderTest()
        let subscriber = try broker.run(["sub", "#", "-W", "30"])
        try broker.waitForSubscriptions(1)
        #expect(try broker.run(["pub", "last/words", "heard", "--ack"]).wait() == 0)
        #expect(broker.stop() == 0)
        #expect(!FileManager.default.fileExists(atPath: broker.socketPath))
        #expect(!FileManager.default.fileExists(atPath: broker.socketPath + ".lock"))
        #expect(subscriber.wait() == 69, "\(subscriber.errorText)")
        #expect(subscriber.outputText.contains("heard"))
        #expect(subscriber.errorText.contains("stopping"))
    }

    @Test("A second broker on the same path is told so and harms nothing")
    func secondBroker() throws {
        let broker = try BrokerUnderTest()
        let second = try broker.run(["serve", "--socket", broker.socketPath, "--no-acl"])
        #expect(second.wait() == 1)
        #expect(second.errorText.contains(broker.socketPath))
        #expect(second.errorText.contains("another broker is listening"))
        #expect(try broker.run(["pub", "t", "hi", "--ack"]).wait() == 0)
    }

    @Test("The socket of a killed broker is replaced")
    func staleSocket() throws {
        let broker = try BrokerUnderTest()
        broker.process.send(signal: SIGKILL)
        broker.process.wait()
        #expect(FileManager.default.fileExists(atPath: broker.socketPath))
        let next = try broker.run(["serve", "--socket", broker.socketPath, "--no-acl"])
        #expect(
            try broker.settles { try $0.run(["pub", "t", "hi", "--ack"]).wait() == 0 })
        next.send(signal: SIGTERM)
        #expect(next.wait() == 0)
    }

    @Test(
        "Without rules only root and the broker's own user may publish and subscribe",
        .disabled(
            if: FileManager.default.fileExists(atPath: "/etc/broker/acl.toml"),
            "this machine has rules, in /etc/broker/acl.toml"))
    func closedByDefault() throws {
        let broker = try BrokerUnderTest([])
        #expect(try broker.run(["pub", "t", "hi", "--ack"]).wait() == 0)
        guard Actors.isRoot else { return }
        let user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
        for command in [["pub", "t", "hi"], ["sub", "t", "-W", "5"], ["status"]] {
            let refused = try broker.run(command, prefix: user)
            #expect(refused.wait() == 77, "\(command): \(refused.errorText)")
            #expect(refused.errorText.contains("uid 1000"))
        }
    }

    @Test("No broker: the error names the socket and what to do")
    func noBroker() throws {
        let nowhere = try ChildProcess(
            [BrokerUnderTest.executable.path, "pub", "t", "hi", "--socket", "/tmp/no/broker.sock"])
        #expect(nowhere.wait() == 69)
        #expect(nowhere.errorText.contains("/tmp/no/broker.sock"))
        #expect(nowhere.errorText.contains("broker serve"))
    }

    @Test("With a Unix socket only, nothing listens on the network")
    func nothingOnTheNetwork() throws {
        let broker = try BrokerUnderTest()
        let listing = try ChildProcess(["ls", "-l", "/proc/\(broker.process.pid)/fd"])
        #expect(listing.wait() == 0)
        let sockets = listing.outputText.matches(of: /socket:\[(\d+)\]/).map { String($0.1) }
        for table in ["tcp", "tcp6", "udp", "udp6", "raw"] {
            let text =
                (try? String(contentsOfFile: "/proc/net/\(table)", encoding: .utf8)) ?? ""
            let inodes = text.split(separator: "\n").dropFirst()
                .compactMap { $0.split(separator: " ").dropFirst(9).first.map(String.init) }
            #expect(Set(inodes).isDisjoint(with: sockets))
        }
    }

    @Test("The broker's own topics cannot be published to")
    func systemTopics() throws {
        let broker = try BrokerUnderTest()
        let forged = try broker.run(["pub", "$SYS/broker/version", "9.9"])
        #expect(forged.wait() == 77)
        let version = try broker.run(["sub", "$SYS/broker/version", "-C", "1", "-W", "20"])
        #expect(version.wait() == 0, "\(version.errorText)")
        #expect(!version.outputText.contains("9.9"))
    }

    @Test(
        "A subscription that asks for a sender's uid gets only that uid's messages",
        .enabled(if: Actors.isRoot, "needs root"))
    func subscribeBySender() throws {
        let broker = try BrokerUnderTest()
        let subscriber = try broker.run([
            "sub", "jobs/#", "--from-uid", "1000-1999", "-C", "2", "-W", "30", "--format", "json",
        ])
        try broker.waitForSubscriptions(1)
        for uid in [0, 1_000, 2_000, 1_999, 1_000] {
            let publisher = try broker.run(
                ["pub", "jobs/one", "\(uid)", "--ack"],
                prefix: ["setpriv", "--reuid=\(uid)", "--regid=\(uid)", "--clear-groups"])
            #expect(publisher.wait() == 0, "\(publisher.errorText)")
        }
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        let uids = try subscriber.outputLines.map { try DeliveredMessage($0).sender("uid") }
        #expect(uids == [1_000, 1_999])
    }

    @Test("bench counts every message and loses none")
    func bench() throws {
        let process = try ChildProcess([
            BrokerUnderTest.executable.path, "bench", "--messages", "20000", "--publishers", "2",
            "--subscribers", "2", "--format", "json",
        ])
        #expect(process.wait(seconds: 120) == 0, "\(process.errorText)")
        let report = try Actors.object(process.outputText)
        #expect(report["published"] as? Int == 40_000)
        #expect(report["delivered"] as? Int == 80_000)
        #expect(report["lost"] as? Int == 0)
        #expect(report["disordered"] as? Int == 0)
    }

    @Test("Nothing that a client has chosen moves the cursor of who reads the log")
    func harmlessLog() throws {
        let broker = try BrokerUnderTest([])
        // A turn of the direction of writing, an end of a line, and a quote.
        for topic in ["$SYS/\u{202E}txet", "$SYS/a\u{2028}b", "$SYS/a\"b"] {
            #expect(try broker.run(["pub", topic, "x"]).wait() == 77)
        }
        // One character that begins a control sequence is in no topic; the refusal repeats it.
        let client = ProjectFiles.root.appending(path: "Protocol/reference/client.py")
        let refused = try ChildProcess(
            [Actors.python, client.path, "pub", "$\u{9B}31m", "x"],
            environment: ["BROKER_SOCKET": broker.socketPath, "PYTHONIOENCODING": "utf-8"])
        #expect(refused.wait() == 1, "\(refused.errorText)")
        #expect(
            broker.process.waitForOutput { $0.errorText.contains(#"\xc2\x9b31m"#) },
            "\(broker.process.errorText)")
        let log = broker.process.errorText
        for escaped in [#"$SYS/\xe2\x80\xaetxet"#, #"$SYS/a\xe2\x80\xa8b"#, #"$SYS/a\"b"#] {
            #expect(log.contains(escaped), "\(log)")
        }
        #expect(!log.unicodeScalars.contains { [0x9B, 0x202E, 0x2028].contains($0.value) })
    }

    @Test(
        "A measurement that is ended by a signal leaves nothing running",
        arguments: [SIGINT, SIGTERM, SIGKILL])
    func endedBench(signal: Int32) throws {
        let bench = try ChildProcess([
            BrokerUnderTest.executable.path, "bench", "--messages", "1000000000000",
        ])
        // A broker, a publisher and a subscriber.
        #expect(bench.waitForOutput { Self.children(of: $0.pid).count >= 3 })
        let children = Self.children(of: bench.pid)
        let folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("broker-bench-\(bench.pid)").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        #expect(FileManager.default.fileExists(atPath: folder))
        bench.send(signal: signal)
        bench.wait()
        for child in children {
            #expect(Self.hasEnded(child), "process \(child) goes on")
            kill(child, SIGKILL)
        }
        if signal != SIGKILL { #expect(!FileManager.default.fileExists(atPath: folder)) }
    }

    private static func children(of pid: Int32) -> [Int32] {
        let tasks = "/proc/\(pid)/task"
        let threads = (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []
        return threads.flatMap { thread in
            let list = FileManager.default.contents(atPath: "\(tasks)/\(thread)/children")
            return String(decoding: list ?? Data(), as: UTF8.self)
                .split(separator: " ").compactMap { Int32($0) }
        }
    }

    /// Within 30 seconds: gone, or a zombie that nobody has reaped.
    private static func hasEnded(_ pid: Int32) -> Bool {
        for _ in 0..<3_000 {
            let status = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
            guard let status, !status.contains(") Z ") else { return true }
            Thread.sleep(forTimeInterval: 0.01)
        }
        return false
    }
}
