import Foundation
import TestSupport
import Testing

/// The broker under a service manager: what it says of itself, and the unit for systemd.
@Suite("The service", .serialized, .enabled(if: Actors.isAvailable, "needs python3"))
struct ServiceTests {
    /// Another implementation of the other side.
    private struct Manager {
        let directory: TemporaryDirectory
        let address: String
        let process: ChildProcess

        init(_ arguments: [String] = [], isAbstract: Bool = false) throws {
            directory = try TemporaryDirectory(mode: 0o755)
            address =
                isAbstract ? "@broker-test-\(UUID().uuidString)" : directory.path(of: "notify")
            process = try ChildProcess(
                [Actors.python, Actors.file("Actors/service_manager.py").path, address]
                    + arguments)
            guard process.waitForOutput({ $0.outputText.contains("listening") }) else {
                throw BrokerUnderTest.Failure(description: process.errorText)
            }
        }

        func start(
            _ arguments: [String] = ["--no-acl"], _ environment: [String: String] = [:]
        ) throws -> BrokerUnderTest {
            try BrokerUnderTest(
                arguments,
                environment: environment.merging(["NOTIFY_SOCKET": address]) { $1 })
        }

        /// What was said, in order, and by whom.
        func heard() throws -> [(pid: Int, lines: [String])] {
            try process.outputLines.dropFirst().map { line in
                let object = try Actors.object(line)
                return (
                    try #require(object["pid"] as? Int), try #require(object["lines"] as? [String])
                )
            }
        }

        func waits(for line: String) -> Bool {
            process.waitForOutput { _ in
                (try? heard().contains { $0.lines.contains { $0.hasPrefix(line) } }) == true
            }
        }
    }

    @Test(
        "It says itself that it is ready, and answers; it says that it stops",
        arguments: [false, true])
    func readyAndStopping(isAbstract: Bool) throws {
        let manager = try Manager(isAbstract: isAbstract)
        let broker = try manager.start()
        #expect(manager.waits(for: "READY=1"))
        #expect(try broker.run(["pub", "t", "hi", "--ack"]).wait() == 0)
        #expect(broker.stop() == 0)
        #expect(manager.waits(for: "STOPPING=1"))
        let heard = try manager.heard()
        #expect(heard.map(\.lines.first) == ["READY=1", "STOPPING=1"])
        #expect(heard.allSatisfy { $0.pid == Int(broker.process.pid) })
        #expect(
            heard.first?.lines.last
                == "STATUS=listening on \(broker.socketPath); rules: 0 (no-acl)")
    }

    @Test("The status says which rules hold, and why changed ones do not")
    func status() throws {
        let manager = try Manager()
        let rules = manager.directory.url.appending(path: "acl.toml")
        try "version = 1\n[[rule]]\nuid = [0]\nallow = [\"publish\"]\ntopics = [\"#\"]\n"
            .write(to: rules, atomically: true, encoding: .utf8)
        let broker = try manager.start(["--acl", rules.path])
        #expect(
            manager.waits(
                for: "STATUS=listening on \(broker.socketPath); rules: 1 from \(rules.path) (file)")
        )
        // What is quoted from a file never begins an assignment of its own.
        try "version = 1\n\"a\\nMAINPID=1\" = 2\n"
            .write(to: rules, atomically: true, encoding: .utf8)
        #expect(
            manager.process.waitForOutput {
                $0.outputText.contains("changes are not in force")
            })
        let heard = try manager.heard()
        #expect(!heard.contains { $0.lines.contains { $0.hasPrefix("MAINPID") } })
        #expect(heard.last?.lines.count == 1)
    }

    @Test("Signs of life come as often as they are asked for, and of who is asked only")
    func watchdog() throws {
        let manager = try Manager()
        let asked = try manager.start(["--no-acl"], ["WATCHDOG_USEC": "100000"])
        #expect(
            manager.process.waitForOutput { _ in
                ((try? manager.heard()) ?? []).count { $0.lines == ["WATCHDOG=1"] } >= 4
            })
        #expect(asked.stop() == 0)

        let other = try Manager()
        let passed = try other.start(
            ["--no-acl"], ["WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"])
        #expect(try passed.run(["pub", "t", "hi", "--ack"]).wait() == 0)
        #expect(passed.stop() == 0)
        #expect(other.waits(for: "STOPPING=1"))
        #expect(try other.heard().map(\.lines.first) == ["READY=1", "STOPPING=1"])
    }

    @Test("A manager that does not listen holds nobody up")
    func deafManager() throws {
        let manager = try Manager(["deaf"])
        // More signs of life than the kernel keeps for who does not read.
        let broker = try manager.start(["--no-acl"], ["WATCHDOG_USEC": "2000"])
        let refusal = "the service manager was not told"
        #expect(broker.process.waitForOutput { $0.errorText.contains(refusal) })
        #expect(try broker.run(["pub", "t", "hi", "--ack"]).wait() == 0)
        #expect(broker.stop() == 0)
    }

    @Test("A manager that is gone is said, and the broker works")
    func managerGone() throws {
        let broker = try BrokerUnderTest(environment: ["NOTIFY_SOCKET": "/nowhere/notify"])
        #expect(
            broker.process.waitForOutput {
                $0.errorText.contains("the service manager was not told")
            })
        #expect(try broker.run(["pub", "t", "hi", "--ack"]).wait() == 0)
    }

    @Test("An address of another kind is refused with what to do", arguments: ["vsock:2:1", "a/b"])
    func otherAddress(address: String) throws {
        let refused = try ChildProcess(
            [BrokerUnderTest.executable.path, "serve", "--socket", "/tmp/no/broker.sock"],
            environment: ["NOTIFY_SOCKET": address])
        #expect(refused.wait() == 64)
        #expect(refused.errorText.contains("NOTIFY_SOCKET=\(address)"))
        #expect(refused.errorText.contains("Type=exec"))
    }

    // MARK: Metrics

    private static let parser = "/usr/lib/python3/dist-packages/prometheus_client"

    @Test(
        "Metrics are what the reader of Prometheus' own library makes of them",
        .enabled(
            if: FileManager.default.fileExists(atPath: parser), "needs python3-prometheus-client"))
    func metrics() throws {
        let broker = try BrokerUnderTest(["--no-acl", "--name", "here"])
        for _ in 0..<3 {
            #expect(try broker.run(["pub", "t", "hi", "--ack"]).wait() == 0)
        }
        let page = try broker.run(["status", "--format", "prometheus"])
        #expect(page.wait() == 0, "\(page.errorText)")
        let reader = try ChildProcess([
            Actors.python, "-c",
            """
            import json, sys
            from prometheus_client.parser import text_string_to_metric_families as read
            print(json.dumps({"samples": [
                [family.type, sample.name, sample.labels, sample.value]
                for family in read(sys.stdin.read()) for sample in family.samples]}))
            """,
        ])
        try reader.write(page.outputText)
        reader.closeInput()
        #expect(reader.wait() == 0, "\(reader.errorText)")
        let samples = try #require(
            try Actors.object(reader.outputText)["samples"] as? [[Any]])
        func value(_ type: String, _ name: String, _ labels: [String: String] = [:]) -> Double? {
            let found = samples.filter { sample in
                let actual = sample[2] as? [String: String] ?? [:]
                return sample[0] as? String == type && sample[1] as? String == name
                    && labels.allSatisfy { actual[$0.key] == $0.value }
            }
            return found.count == 1 ? found[0][3] as? Double : nil
        }
        #expect(value("gauge", "broker_info", ["name": "here"]) == 1)
        #expect(value("counter", "broker_messages_accepted_total") == 3)
        #expect(value("gauge", "broker_rules_current") == 1)
        #expect(value("gauge", "broker_user_connections", ["uid": String(getuid())]) == 1)
    }

    // MARK: The unit

    private static let unit = ProjectFiles.root.appending(path: "Sources/broker/broker.service")
    private static let analyser = "/usr/bin/systemd-analyze"

    @Test(
        "systemd has nothing to say against the unit",
        .enabled(
            if: FileManager.default.isExecutableFile(atPath: analyser), "needs systemd-analyze"))
    func unit() throws {
        let directory = try TemporaryDirectory(mode: 0o755)
        let unit = directory.url.appending(path: "broker.service")
        try String(contentsOf: Self.unit, encoding: .utf8)
            .replacing(
                "/usr/local/bin/broker", with: "\"\(BrokerUnderTest.executable.path)\""
            )
            .write(to: unit, atomically: true, encoding: .utf8)
        let verified = try ChildProcess([Self.analyser, "verify", unit.path])
        #expect(verified.wait() == 0)
        #expect(verified.errorText == "")
    }

    @Test("The service is installed for the prefix, and rules that are there are kept")
    func install() throws {
        let directory = try TemporaryDirectory(mode: 0o755)
        let rules = directory.url.appending(path: "etc/broker/acl.toml")
        // Whatever a person's umask, nobody else may write to what root will read.
        let command = [
            "sh", "-c",
            "umask 000 && exec make -C \"$0\" install-service DESTDIR=\"$1\" PREFIX=/opt",
            ProjectFiles.root.path, directory.path,
        ]
        #expect(try ChildProcess(command).wait() == 0)
        let unit = try String(
            contentsOf: directory.url.appending(path: "opt/lib/systemd/system/broker.service"),
            encoding: .utf8)
        #expect(unit.contains("ExecStart=/opt/bin/broker serve"))
        #expect(!unit.contains("/usr/local"))
        #expect(try String(contentsOf: rules, encoding: .utf8) == "version = 1\n")
        let attributes = try FileManager.default.attributesOfItem(atPath: rules.path)
        #expect(attributes[.posixPermissions] as? Int == 0o644)

        try "# mine\n".write(to: rules, atomically: false, encoding: .utf8)
        #expect(try ChildProcess(command).wait() == 0)
        #expect(try String(contentsOf: rules, encoding: .utf8) == "# mine\n")
    }

    @Test(
        "The rights that the unit leaves to root are enough to know a client's namespace",
        .enabled(if: Actors.isRoot, "needs root"))
    func capabilities() throws {
        let lines = try String(contentsOf: Self.unit, encoding: .utf8).split(separator: "\n")
        let key = "CapabilityBoundingSet="
        let line = try #require(lines.first { $0.hasPrefix(key) })
        let kept = line.dropFirst(key.count).split(separator: " ")
            .map { "+" + $0.lowercased().dropFirst("cap_".count) }
        let broker = try BrokerUnderTest(
            ["--no-acl", "--socket-group", "1000"],
            prefix: ["setpriv", "--bounding-set", (["-all"] + kept).joined(separator: ",")])
        let subscriber = try broker.run(["sub", "t", "-C", "1", "-W", "30", "--format", "json"])
        try broker.waitForSubscriptions(1)
        let publisher = try broker.run(
            ["pub", "t", "hi", "--ack", "--broker-user", "65534"],
            prefix: [
                "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "unshare", "-Ur",
            ])
        #expect(publisher.wait() == 0, "\(publisher.errorText)")
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        let message = try Actors.object(subscriber.outputText)
        let opener = try #require(message["opener"] as? [String: Any])
        #expect(opener["trustDomain"] as? Int == 1_000)
        let attributes = try FileManager.default.attributesOfItem(atPath: broker.socketPath)
        #expect(attributes[.groupOwnerAccountID] as? Int == 1_000)
    }
}
