import Foundation
import TestSupport
import Testing

/// Access rules with real processes of several users.
@Suite(
    "Access rules, end to end", .serialized,
    .enabled(if: Actors.isRoot && Actors.isAvailable, "needs root and python3"))
struct AccessTests {
    private let users = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]

    /// A broker with an access file.
    private func start(_ rules: String, log: String = "debug") throws -> RuledBroker {
        try RuledBroker(rules)
    }

    @Test("A confused deputy gains nothing: root writes on a connection that uid 1001 opened")
    func confusedDeputy() throws {
        let ruled = try start(
            """
            [[rule]]
            name = "root only"
            uid = 0
            allow = ["publish"]
            topics = ["admin/#"]

            """)
        let denied = try #require(
            try Actors(broker: ruled.broker).play("deputy", "1001", "admin/reboot").first)
        #expect(denied["writer"] as? Int == 0)
        #expect(denied["reason"] as? Int == 0x87)
        #expect((denied["text"] as? String)?.contains("uid 1001, which opened") == true)
        try ruled.write(
            """
            [[rule]]
            name = "root only"
            uid = 0
            allow = ["publish"]
            topics = ["admin/#"]
            delegated = true

            """)
        try ruled.reload()
        let allowed = try #require(
            try Actors(broker: ruled.broker).play("deputy", "1001", "admin/reboot").first)
        #expect(allowed["reason"] as? Int == 0x10)
    }

    @Test("A stolen connection gains nothing: root opens it, uid 1000 writes")
    func stolenConnection() throws {
        let ruled = try start(
            "[[rule]]\nuid = 0\nallow = \"publish\"\ntopics = \"admin/#\"\ndelegated = true\n")
        let answer = try #require(
            try Actors(broker: ruled.broker).play("stolen", "1000", "admin/reboot").first)
        #expect(answer["writer"] as? Int == 1000)
        #expect(answer["reason"] as? Int == 0x87)
        #expect((answer["text"] as? String)?.contains("uid 1000 may not publish") == true)
    }

    @Test("In a namespace of its own a user is judged as the uid outside")
    func userNamespace() throws {
        let ruled = try start(
            """
            [[rule]]
            uid = 0
            allow = ["publish"]
            topics = ["root/#"]
            [[rule]]
            uid = 1000
            allow = ["publish"]
            topics = ["user/#"]

            """)
        let inside = users + ["unshare", "-Ur"]
        let trust = ["--ack", "--broker-user", "65534"]
        let own = try ruled.broker.run(["pub", "user/a", "hi"] + trust, prefix: inside)
        #expect(own.wait() == 0, "\(own.errorText)")
        let roots = try ruled.broker.run(["pub", "root/a", "hi"] + trust, prefix: inside)
        #expect(roots.wait() == 77)
        #expect(roots.errorText.contains("uid 1000 may not publish"))
    }

    @Test("All uids of a rootless container are one trust domain")
    func trustDomain() throws {
        let ruled = try start(
            """
            [[rule]]
            name = "containers of 1000"
            trust_domain = 1000
            allow = ["publish"]
            topics = ["container/#"]

            """)
        let answers = try Actors(broker: ruled.broker).play("container", "1000", "container/a")
        #expect(answers.map { $0["uid"] as? Int } == [1000, 100_032, 100_999])
        #expect(answers.allSatisfy { $0["reason"] as? Int == 0x10 }, "\(answers)")
        let outside = try ruled.broker.run(["pub", "container/a", "hi", "--ack"], prefix: users)
        #expect(outside.wait() == 77)
        let other = try Actors(broker: ruled.broker).play("container", "1001", "container/a")
        #expect(other.allSatisfy { $0["reason"] as? Int == 0x87 }, "\(other)")
    }

    @Test("A changed file ends live subscriptions that lost their right, and only those")
    func liveChange() throws {
        let both = "[[rule]]\nuid = [1000, 0]\nallow = \"subscribe\"\ntopics = \"t/#\"\n"
        let ruled = try start(both)
        let losing = try ruled.broker.run(["sub", "t/#", "-W", "30"], prefix: users)
        let keeping = try ruled.broker.run(["sub", "t/#", "-C", "1", "-W", "30"])
        try ruled.broker.waitForSubscriptions(2)
        // No signal: the change of the file itself is noticed.
        try ruled.write(
            "[[rule]]\nuid = 0\nallow = [\"publish\", \"subscribe\"]\ntopics = \"t/#\"\n")
        #expect(losing.wait(seconds: 20) == 77, "\(losing.errorText)")
        #expect(losing.errorText.contains("ended the subscription (notPermitted)"))
        #expect(try ruled.broker.run(["pub", "t/a", "hi", "--ack"]).wait() == 0)
        #expect(keeping.wait() == 0, "\(keeping.errorText)")
    }

    @Test("SIGHUP reads the file; a broken one keeps the old rules and shows in status")
    func brokenFile() throws {
        let ruled = try start("[[rule]]\nuid = 0\nallow = \"publish\"\ntopics = \"a\"\n")
        try ruled.write("[[rule]]\nuid = 0\nallow = \"publish\"\ntopics = [\"b\"\n")
        ruled.broker.process.send(signal: SIGHUP)
        #expect(try ruled.broker.settles { try $0.rules()["error"] != nil })
        #expect((try ruled.broker.rules()["error"] as? String)?.contains("acl.toml:") == true)
        #expect(try ruled.broker.run(["pub", "a", "hi", "--ack"]).wait() == 0)
        let reload = try ruled.broker.run(["acl", "reload"])
        #expect(reload.wait() == 1)
        #expect(reload.errorText.contains("old rules stay in force"))
        // A header without a name ended the process once, in the library that read it then.
        try ruled.write("[.]\n")
        #expect(try ruled.broker.run(["acl", "reload"]).wait() == 1)
        #expect(try ruled.broker.run(["pub", "a", "hi", "--ack"]).wait() == 0)
        try FileManager.default.removeItem(atPath: ruled.path)
        #expect(try ruled.broker.run(["acl", "reload"]).wait() == 1)
        #expect(try ruled.broker.run(["pub", "a", "hi", "--ack"]).wait() == 0)
        try ruled.write("[[rule]]\nuid = 0\nallow = \"publish\"\ntopics = \"b\"\n")
        #expect(try ruled.broker.run(["acl", "reload"]).wait() == 0)
        #expect(try ruled.broker.rules()["error"] == nil)
        #expect(try ruled.broker.run(["pub", "a", "hi", "--ack"]).wait() == 77)
        #expect(try ruled.broker.run(["pub", "b", "hi", "--ack"]).wait() == 0)
    }

    @Test("Without free descriptors, or without permission, the old rules stay")
    func reloadInNeed() throws {
        let ruled = try start("[[rule]]\nuid = 0\nallow = \"publish\"\ntopics = \"a\"\n")
        // What it opens when it starts, it has opened by now.
        #expect(try ruled.broker.run(["pub", "a", "hi", "--ack"]).wait() == 0)
        #expect(try ruled.broker.run(["acl", "reload"]).wait() == 0)
        let pid = ruled.broker.process.pid
        // No descriptor below the limit is free.
        let limited = try ChildProcess(["prlimit", "--pid", "\(pid)", "--nofile=3:4096"])
        #expect(limited.wait() == 0)
        try ruled.write("[[rule]]\nuid = 0\nallow = \"publish\"\ntopics = \"b\"\n")
        ruled.broker.process.send(signal: SIGHUP)
        // The change of the file was noticed before the signal: the last to fail is what counts.
        #expect(
            ruled.broker.process.waitForOutput { process in
                process.errorText.split(separator: "\n").contains {
                    $0.contains("cause=signal") && $0.contains("EMFILE")
                }
            })
        #expect(
            try ChildProcess(["prlimit", "--pid", "\(pid)", "--nofile=4096:4096"]).wait() == 0)
        // Nobody has to ask once there are some.
        #expect(try ruled.broker.settles { try $0.rules()["error"] == nil })
        #expect(try ruled.broker.run(["pub", "a", "hi", "--ack"]).wait() == 77)
        #expect(try ruled.broker.run(["pub", "b", "hi", "--ack"]).wait() == 0)
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o666], ofItemAtPath: ruled.path)
        let reload = try ruled.broker.run(["acl", "reload"])
        #expect(reload.wait() == 1)
        #expect(reload.errorText.contains("chmod go-w"))
        #expect(try ruled.broker.run(["pub", "b", "hi", "--ack"]).wait() == 0)
    }

    @Test("On a full file system an edit changes nothing, and the broker keeps its rules")
    func fullFileSystem() throws {
        let directory = try TemporaryDirectory(mode: 0o755)
        let mount = try ChildProcess([
            "mount", "-t", "tmpfs", "-o", "size=8k,mode=755", "tmpfs", directory.path,
        ])
        // Not every container lets root mount.
        guard mount.wait() == 0 else { return }
        defer { _ = try? ChildProcess(["umount", directory.path]).wait() }
        let path = directory.path(of: "acl.toml")
        let rules =
            "version = 1\n[[rule]]\nuid = 0\nallow = \"publish\"\ntopics = \"a\"\n"
            + String(repeating: "# full\n", count: 600)
        try rules.write(toFile: path, atomically: false, encoding: .utf8)
        let broker = try BrokerUnderTest(["--acl", path])
        let allow = try broker.run(["acl", "allow", "inspect", "--uid", "1000", "--acl", path])
        #expect(allow.wait() == 1)
        #expect(allow.errorText.contains("ENOSPC"), "\(allow.errorText)")
        #expect(try String(contentsOfFile: path, encoding: .utf8) == rules)
        let names = try FileManager.default.contentsOfDirectory(atPath: directory.path)
        #expect(names == ["acl.toml"])
        #expect(try broker.run(["acl", "reload"]).wait() == 0)
        #expect(try broker.run(["pub", "a", "hi", "--ack"]).wait() == 0)
    }

    @Test("A file whose reading is not permitted leaves the old rules, and stops a new broker")
    func permissionDenied() throws {
        let directory = try TemporaryDirectory(mode: 0o755)
        let path = directory.path(of: "acl.toml")
        try "version = 1\n[[rule]]\nuid = 1000\nallow = \"publish\"\ntopics = \"a\"\n"
            .write(toFile: path, atomically: false, encoding: .utf8)
        func change(_ mode: Int) throws {
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        }
        try change(0o644)
        for file in [directory.path, path] {
            try FileManager.default.setAttributes(
                [.ownerAccountID: 1000, .groupOwnerAccountID: 1000], ofItemAtPath: file)
        }
        let broker = try BrokerUnderTest(["--acl", path], prefix: users, owner: 1000)
        #expect(try broker.run(["pub", "a", "hi", "--ack"], prefix: users).wait() == 0)
        try change(0)
        let reload = try broker.run(["acl", "reload"], prefix: users)
        #expect(reload.wait() == 1)
        #expect(reload.errorText.contains("EACCES"), "\(reload.errorText)")
        #expect(try broker.run(["pub", "a", "hi", "--ack"], prefix: users).wait() == 0)
        let second = try broker.run(
            ["serve", "--socket", directory.path + "/second.sock", "--acl", path], prefix: users)
        #expect(second.wait() == 1)
        #expect(second.errorText.contains("EACCES"), "\(second.errorText)")
    }

    @Test("With too few descriptors a broker says so and does not start, or works")
    func startInNeed() throws {
        let directory = try TemporaryDirectory(mode: 0o755)
        let path = directory.path(of: "acl.toml")
        try "version = 1\n".write(toFile: path, atomically: false, encoding: .utf8)
        var failures = 0
        // Below that the runtime itself does not start.
        for limit in 12...40 {
            let socket = directory.path(of: "\(limit).sock")
            let process = try ChildProcess([
                "prlimit", "--nofile=\(limit):\(limit)", BrokerUnderTest.executable.path, "serve",
                "--socket", socket, "--acl", path,
            ])
            if try staysUp(process, socket) {
                process.send(signal: SIGTERM)
                #expect(process.wait() == 0, "\(limit): \(process.errorText)")
            } else {
                failures += 1
                #expect(process.wait() == 1, "\(limit): \(process.errorText)")
                #expect(process.errorText.contains("EMFILE"), "\(limit): \(process.errorText)")
            }
        }
        #expect(failures > 0 && failures < 29)
    }

    /// Whether a broker answers, or lives on without a descriptor to take a connection with.
    private func staysUp(_ process: ChildProcess, _ socket: String) throws -> Bool {
        for _ in 0..<200 where process.isRunning {
            let status = try ChildProcess(
                [BrokerUnderTest.executable.path, "status"], environment: ["BROKER_SOCKET": socket])
            switch status.wait(seconds: 3) {
            case 0, nil: return true
            default: Thread.sleep(forTimeInterval: 0.02)
            }
        }
        return process.isRunning
    }

    @Test("Hundreds of changes of the rules leave the broker as large as it was")
    func reloadMemory() throws {
        let rules = (0..<300).map { number in
            """
            [[rule]]
            name = "service \(number)"
            uid = [\(2000 + number), "root"]
            allow = ["publish", "subscribe"]
            topics = ["site/service-\(number)/+/reading", "users/%u/#"]

            """
        }.joined()
        let ruled = try start(rules)
        func change(_ range: Range<Int>) throws -> Int {
            for number in range {
                try ruled.write(rules + "# change \(number)\n")
                try ruled.reload()
            }
            return ruled.broker.residentKiB
        }
        let before = try change(0..<60)
        let after = try change(60..<300)
        // The values of this file, once for each change, would be twenty times as much.
        #expect(after - before < 8_192, "\(before) KiB, then \(after)")
    }

    @Test("Administration needs a right of its own; root's cannot be borrowed")
    func administration() throws {
        let ruled = try start("[[rule]]\nuid = \"any\"\nallow = \"inspect\"\n")
        for command in [["acl", "reload"], ["acl", "learn", "--seconds", "1"]] {
            let refused = try ruled.broker.run(command, prefix: users)
            #expect(refused.wait() == 77, "\(command): \(refused.errorText)")
        }
        #expect(try ruled.broker.run(["status"], prefix: users).wait() == 0)
        #expect(try ruled.broker.run(["acl", "reload"]).wait() == 0)
    }

    @Test("From nothing to a working rule: the commands change, explain and show")
    func commands() throws {
        let ruled = try start("# mine\n")
        func acl(_ arguments: String...) throws -> ChildProcess {
            try ruled.broker.run(["acl"] + arguments + ["--acl", ruled.path])
        }
        let denied = try acl("check", "publish", "sensors/a", "--uid", "1000")
        #expect(denied.wait() == 77)
        #expect(denied.outputText.contains("allow = [\"publish\"]"))
        let allow = try acl("allow", "publish", "sensors/#", "--uid", "1000", "--name", "report")
        #expect(allow.wait() == 0, "\(allow.errorText)")
        #expect(allow.errorText.contains("has 1 rule in force"), "\(allow.errorText)")
        #expect(try String(contentsOfFile: ruled.path, encoding: .utf8).contains("# mine"))
        let check = try acl("check", "publish", "sensors/a", "--uid", "1000", "--live")
        #expect(check.wait() == 0)
        #expect(check.outputText.contains("rule \"report\""))
        let published = try ruled.broker.run(["pub", "sensors/a", "1", "--ack"], prefix: users)
        #expect(published.wait() == 0)
        let list = try acl("list", "--format", "json")
        #expect(list.wait() == 0)
        #expect(list.outputText.contains("\"report\""))
        let who = try acl("who", "publish", "sensors/a")
        #expect(who.wait() == 0)
        #expect(who.outputText.contains("1000"))
        let broken = try acl("allow", "publish", "a/#/b", "--uid", "1")
        #expect(broken.wait() == 1)
        #expect(broken.errorText.contains("nothing was changed"))
        #expect(try acl("remove", "report").wait() == 0)
        #expect(try acl("check", "publish", "sensors/a", "--uid", "1000", "--live").wait() == 77)
    }

    @Test("learn prints what would permit it, and try says what would change")
    func learnAndTry() throws {
        let ruled = try start("[[rule]]\nuid = 0\nallow = \"subscribe\"\ntopics = \"t/#\"\n")
        let subscriber = try ruled.broker.run(["sub", "t/#", "-W", "30"])
        try ruled.broker.waitForSubscriptions(1)
        let learn = try ruled.broker.run(["acl", "learn", "--seconds", "3"])
        // All the while: it does not say when it has begun.
        repeat {
            for topic in ["t/a", "t/b"] {
                let denied = try ruled.broker.run(["pub", topic, "x", "--ack"], prefix: users)
                #expect(denied.wait() == 77)
            }
        } while learn.isRunning
        #expect(learn.wait() == 0, "\(learn.errorText)")
        #expect(learn.outputText.contains("uid = [1000]"))
        #expect(learn.outputText.contains("topics = [\"t/a\", \"t/b\"]"))
        let other = ruled.directory.path(of: "new.toml")
        try ("version = 1\n" + learn.outputText).write(
            toFile: other, atomically: true, encoding: .utf8)
        let trial = try ruled.broker.run(["acl", "try", other])
        #expect(trial.wait() == 1)
        #expect(trial.outputText.contains("subscribe \"t/#\" by uid 0 would be denied"))
        #expect(trial.outputText.contains("publish \"t/a\" by uid 1000 would be allowed"))
        subscriber.send(signal: SIGTERM)
        _ = subscriber.wait()
    }

    @Test("A rate that is used up is refused with its limit and its user")
    func rates() throws {
        let ruled = try start(
            """
            [quota]
            messages_per_second = 5
            [[rule]]
            uid = "any"
            allow = ["publish"]
            topics = "t"

            """)
        let flood = try ruled.broker.run(
            ["pub", "t", "x", "--repeat", "50", "--ack"], prefix: users)
        #expect(flood.wait() == 75, "\(flood.errorText)")
        #expect(
            flood.errorText.contains("uid 1000 is at its limit of 5 published messages a second"))
        #expect(try ruled.broker.run(["pub", "t", "x", "--ack"]).wait() == 0)
        let users = try ruled.broker.run(["status", "--by-uid"])
        #expect(users.wait() == 0)
        #expect(users.outputText.contains("MESSAGES/S"))
    }

    @Test("Denials are logged once each with uid, topic and rule, and counted in $SYS")
    func denials() throws {
        let ruled = try start(
            "[[rule]]\nname = \"no\"\nuid = 1000\ndeny = \"publish\"\ntopics = \"t\"\n"
                + "[[rule]]\nuid = 0\nallow = \"subscribe\"\ntopics = \"$SYS/#\"\n")
        let refused = try ruled.broker.run(["pub", "t", "x", "--ack"], prefix: users)
        #expect(refused.wait() == 77)
        #expect(refused.errorText.contains("rule \"no\" (line 2) denies it"))
        #expect(
            ruled.broker.process.waitForOutput(seconds: 10) {
                $0.errorText.contains("denied by the access rules")
            })
        let counted = try ruled.broker.run([
            "sub", "$SYS/broker/denied/uid/1000", "-C", "1", "-W", "20", "-F", "%p",
        ])
        #expect(counted.wait() == 0, "\(counted.errorText)")
    }
}

/// A broker and its access file.
final class RuledBroker {
    let broker: BrokerUnderTest
    let directory: TemporaryDirectory
    let path: String

    /// - Parameter arguments: further ones of `broker serve`.
    init(_ rules: String, _ arguments: [String] = []) throws {
        directory = try TemporaryDirectory(mode: 0o755)
        path = directory.path(of: "acl.toml")
        try Self.write(rules, to: path)
        broker = try BrokerUnderTest(["--acl", path] + arguments)
    }

    /// Replaces the file as editors do.
    func write(_ rules: String) throws {
        try Self.write(rules, to: path)
    }

    private static func write(_ rules: String, to path: String) throws {
        try ("version = 1\n" + rules).write(toFile: path, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
    }

    func reload() throws {
        let reload = try broker.run(["acl", "reload"])
        guard reload.wait() == 0 else {
            throw BrokerUnderTest.Failure(description: reload.errorText)
        }
    }
}

extension BrokerUnderTest {
    /// What status says of the rules.
    func rules() throws -> [String: Any] {
        try status()["rules"] as? [String: Any] ?? [:]
    }
}
