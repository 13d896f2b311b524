import Foundation
import LinuxIO
import TestSupport
import Testing

/// Links whose configuration and keys change while the brokers run.
@Suite("Links that change", .serialized)
struct LinkReloadTests {
    /// "hub" listens for "east" and "west", each on a socket of its own.
    private struct Star {
        let brokers: LinkedServers
        let key: String
        let hub: BrokerUnderTest
        let east: BrokerUnderTest
        let west: BrokerUnderTest

        init() throws {
            brokers = try LinkedServers()
            key = try brokers.makeKey("link")
            let directory = brokers.directory
            func link(_ name: String, _ peer: String, _ role: String) -> LinkedServers.Link {
                LinkedServers.Link(
                    peer: peer, role: role, address: "unix:\(directory.path)/\(name).link",
                    key: directory.appendingPathComponent("link.key").path)
            }
            hub = try brokers.start(
                "hub", [link("east", "east", "listen"), link("west", "west", "listen")])
            east = try brokers.start("east", [link("east", "hub", "connect")])
            west = try brokers.start("west", [link("west", "hub", "connect")])
            try hub.waitForLink("east")
            try hub.waitForLink("west")
        }

        func hubLink(_ peer: String, extra: String = "", key: String? = nil) -> LinkedServers.Link {
            LinkedServers.Link(
                peer: peer, role: "listen",
                address: "unix:\(brokers.directory.path)/\(peer).link", key: key ?? self.key,
                extra: extra)
        }

        func reload() throws -> ChildProcess { try hub.run(["acl", "reload"]) }

        func connections(_ peer: String) throws -> Int {
            try hub.link(peer)["connections"] as? Int ?? -1
        }
    }

    @Test func `a link that is taken out of the file ends, and the other one stays connected`()
        throws
    {
        let star = try Star()
        try star.brokers.configure("hub", [star.hubLink("west")])
        #expect(try star.hub.settles { try $0.linkFileChanges() == 1 })
        #expect(try star.east.settles { try $0.link("hub")["state"] as? String == "down" })
        let error = try star.east.link("hub")["lastError"] as? String ?? ""
        #expect(
            star.east.process.waitForOutput { $0.errorText.contains("reconfigured") }, "\(error)")
        #expect(try star.connections("west") == 1)
        let gone = try star.hub.run(["link", "status", "east"])
        #expect(gone.wait() == 1)
        #expect(gone.errorText.contains("no link 'east'"))
        // And in again.
        try star.brokers.configure("hub", [star.hubLink("west"), star.hubLink("east")])
        try star.hub.waitForLink("east")
        #expect(try star.connections("west") == 1)
        #expect(try star.connections("east") == 1)
    }

    @Test func `SIGHUP and acl reload read the links again, and say what changed`() throws {
        let star = try Star()
        let same = try star.reload()
        #expect(same.wait() == 0)
        #expect(same.outputText.contains("links: as before"))
        try star.brokers.configure(
            "hub", [star.hubLink("east", extra: "export = [\"e/#\"]"), star.hubLink("west")])
        star.hub.process.send(signal: SIGHUP)
        #expect(try star.hub.settles { try $0.linkFileChanges() == 1 })
        try star.brokers.configure(
            "hub",
            [
                star.hubLink("east", extra: "export = [\"e/#\"]"),
                star.hubLink("west", extra: "import = [\"w/#\"]"),
            ])
        #expect(try star.reload().wait() == 0)
        try star.hub.waitForLink("west")
        #expect(try star.connections("east") == 1)
        #expect(try star.connections("west") == 2)
    }

    @Test func `a file that is wrong anywhere changes nothing, and status says why`() throws {
        let star = try Star()
        let missing = star.brokers.directory.appendingPathComponent("missing.key").path
        for wrong in [
            star.hubLink("north", extra: "max_hops = 99"),
            star.hubLink("north", key: missing),
            LinkedServers.Link(
                peer: "north", role: "listen", address: "unix:/nowhere/at/all", key: star.key),
        ] {
            // It would also remove a link, had it been right.
            try star.brokers.configure("hub", [star.hubLink("west"), wrong])
            let reload = try star.reload()
            #expect(reload.wait() == 1, "\(wrong)")
            #expect(reload.errorText.contains("the old links stay in force"), "\(wrong)")
            #expect(try star.hub.linkFileError() != nil)
            #expect(try star.hub.isLinkUp("east") && star.hub.isLinkUp("west"))
            #expect(try star.connections("east") == 1 && star.connections("west") == 1)
            let status = try star.hub.run(["link", "status"])
            #expect(status.wait() == 0)
            #expect(status.errorText.contains("not in force"))
        }
        // The key file that was missing is there, and nobody has to ask.
        try star.brokers.configure(
            "hub", [star.hubLink("west"), star.hubLink("north", key: missing)])
        #expect(try star.hub.settles { try $0.linkFileError()?.contains("missing.key") == true })
        _ = try star.brokers.makeKey("missing")
        #expect(try star.hub.settles { try $0.linkFileError() == nil })
        #expect(try star.hub.link("north")["state"] as? String == "down")
        #expect(try star.connections("west") == 1)
    }

    @Test func `what is in the way of a link may go by itself, and nobody has to ask`() throws {
        let star = try Star()
        let port = star.brokers.makePort()
        let address = StreamAddress.tcp(host: star.brokers.host, port: UInt16(port))
        let taken = try StreamListener(address, backlog: 1)
        try star.brokers.configure(
            "hub",
            [
                star.hubLink("east"), star.hubLink("west"),
                LinkedServers.Link(
                    peer: "north", role: "listen", address: "\(address)", key: star.key),
            ])
        #expect(try star.hub.settles { try $0.linkFileError()?.contains("in use") == true })
        #expect(try star.hub.linkFileStatus()["nextAttemptMilliseconds"] is Int)
        let status = try star.hub.run(["link", "status", "north"])
        #expect(status.wait() == 1)
        for part in ["no link 'north'", "not in force", "in use", "the next attempt is in "] {
            #expect(status.errorText.contains(part), "\(status.errorText)")
        }
        // Each time it waits longer, and does not say again what it has said.
        let said = star.hub.process.errorText.components(separatedBy: "links unchanged").count
        #expect(
            try star.hub.settles {
                try $0.linkFileStatus()["nextAttemptMilliseconds"] as? Int ?? 0 > 500
            })
        #expect(
            star.hub.process.errorText.components(separatedBy: "links unchanged").count == said)
        #expect(try star.hub.linkFileChanges() == 0)
        _ = consume taken
        #expect(try star.hub.settles { try $0.linkFileError() == nil })
        #expect(try star.hub.linkFileStatus()["nextAttemptMilliseconds"] == nil)
        #expect(try star.hub.link("north")["state"] as? String == "down")
        #expect(try star.hub.linkFileChanges() == 1)
        #expect(try star.connections("east") == 1 && star.connections("west") == 1)
        // What is wrong in the file itself does not go away.
        try star.brokers.configure("hub", [star.hubLink("west", extra: "max_hops = 99")])
        #expect(try star.hub.settles { try $0.linkFileError()?.contains("max_hops") == true })
        #expect(try star.hub.linkFileStatus()["nextAttemptMilliseconds"] == nil)
    }

    @Test(.enabled(if: Actors.isAvailable, "needs python3"))
    func `without free descriptors links wait, and go on when there are some`() throws {
        let star = try Star()
        let (hub, directory) = (star.hub, star.brokers.directory.path)
        func limit(_ descriptors: Int) throws {
            let pid = "\(hub.process.pid)"
            let change = try ChildProcess([
                "prlimit", "--pid", pid, "--nofile=\(descriptors):4096",
            ])
            #expect(change.wait() == 0, "\(change.errorText)")
        }
        // No descriptor below the limit is free.
        try limit(3)
        try star.brokers.configure(
            "hub", [star.hubLink("east"), star.hubLink("west"), star.hubLink("north")])
        #expect(hub.process.waitForOutput { $0.errorText.contains("links unchanged") })
        #expect(hub.process.errorText.contains("EMFILE"))
        let stranger = try ChildProcess([
            Actors.python, "-c",
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
                + "sys.stdin.read()", "\(directory)/east.link",
        ])
        #expect(hub.process.waitForOutput { $0.errorText.contains("cannot accept connections") })
        // It sleeps between attempts.
        let sleeps = try hub.reactorSleeps()
        #expect(try hub.settles { try $0.reactorSleeps() >= sleeps + 5 })
        try limit(4096)
        #expect(try hub.settles { try $0.linkFileError() == nil })
        #expect(try hub.link("north")["state"] as? String == "down")
        #expect(try star.connections("east") == 1)
        star.east.stop()
        let again = try star.brokers.start(
            "east",
            [
                LinkedServers.Link(
                    peer: "hub", role: "connect", address: "unix:\(directory)/east.link",
                    key: star.key)
            ])
        try again.waitForLink("hub")
        stranger.closeInput()
        #expect(stranger.wait() == 0, "\(stranger.errorText)")
    }

    @Test func `a listener moves to another host at its port, or stays where it is`() throws {
        let brokers = try LinkedServers()
        let port = brokers.makePort()
        let (edge, hub) = try brokers.startPair(hubPort: port)
        try hub.waitForLink("edge")
        let key = brokers.directory.appendingPathComponent("hub.key").path
        func listen(at host: String) throws -> String {
            let address = "tcp://\(host):\(port)"
            try brokers.configure(
                "hub",
                [LinkedServers.Link(peer: "edge", role: "listen", address: address, key: key)])
            return address
        }
        for (count, host) in ["0.0.0.0", brokers.host].enumerated() {
            let address = try listen(at: host)
            #expect(try hub.settles { try $0.link("edge")["address"] as? String == address })
            #expect(try hub.settles { try $0.link("edge")["connections"] as? Int == count + 2 })
            try edge.waitForLink("hub")
        }
        // An address for documentation: this machine does not have it.
        _ = try listen(at: "192.0.2.1")
        #expect(try hub.settles { try $0.linkFileError() != nil })
        let link = try hub.link("edge")
        #expect(link["address"] as? String == "tcp://\(brokers.host):\(port)")
        #expect(link["connections"] as? Int == 3 && link["state"] as? String == "up")
        // The old one still takes connections.
        edge.stop()
        #expect(try hub.settles { try !$0.isLinkUp("edge") })
        let again = try brokers.start(
            "edge",
            [
                LinkedServers.Link(
                    peer: "hub", role: "connect", address: "tcp://\(brokers.host):\(port)",
                    key: brokers.directory.appendingPathComponent("edge.key").path)
            ])
        try again.waitForLink("hub")
    }

    @Test func `a key is rotated on both sides, and the link is not dropped`() throws {
        let brokers = try LinkedServers()
        let (edge, hub) = try brokers.startPair(hubPort: brokers.makePort())
        let subscriber = try hub.run(["sub", "t", "--format", "json"])
        try edge.waitForLink("hub", wanting: ["t"])
        let publisher = try edge.run(["pub", "t", "-l", "--ack"])
        var sent = 0
        func publish() throws {
            try publisher.write("message \(sent)\n")
            sent += 1
            let count = sent
            #expect(subscriber.waitForOutput { $0.outputLines.count == count })
        }
        func rotate(_ name: String) throws {
            let file = brokers.directory.appendingPathComponent("\(name).key").path
            let rotation = try ChildProcess([
                BrokerUnderTest.executable.path, "link", "rotate", name, "--file", file,
            ])
            #expect(rotation.wait() == 0, "\(rotation.errorText)")
        }
        func keyID(_ broker: BrokerUnderTest, _ link: String) throws -> String {
            try broker.link(link)["keyID"] as? String ?? ""
        }
        /// Changes the hub's key file and waits until the hub has read it.
        func whileHubReloads(_ change: () throws -> Void) throws {
            func count(_ process: ChildProcess) -> Int {
                process.errorText.components(separatedBy: "link keys reloaded").count
            }
            let before = count(hub.process)
            try change()
            #expect(hub.process.waitForOutput { count($0) > before })
        }
        let first = try keyID(edge, "hub")
        #expect(first.count == 16)
        try publish()
        for _ in 1...2 {
            let before = try keyID(edge, "hub")
            try rotate("edge")
            try whileHubReloads {
                _ = try brokers.carryKey(
                    brokers.directory.appendingPathComponent("edge.key").path, to: "hub")
            }
            try publish()
            // Both have the next key; the one that connects goes first.
            try rotate("edge")
            #expect(try edge.settles { try keyID($0, "hub") != before })
            try publish()
            try whileHubReloads { try rotate("hub") }
            #expect(try hub.settles { try keyID($0, "edge") == keyID(edge, "hub") })
            try publish()
        }
        #expect(try keyID(edge, "hub") != first)
        #expect(try edge.link("hub")["connections"] as? Int == 1)
        #expect(try hub.link("edge")["connections"] as? Int == 1)
        #expect(try hub.link("edge")["faults"] as? [String: Int] == [:])
        #expect(hub.process.errorText.contains("link key rotated"))
        publisher.closeInput()
        #expect(publisher.wait() == 0)
        let payloads = try subscriber.outputLines.map { try DeliveredMessage($0).payload }
        #expect(payloads == (0..<sent).map { "message \($0)" })
        // Neither the log nor the status has more of a key than its id.
        let secret = try String(
            contentsOf: brokers.directory.appendingPathComponent("edge.key"), encoding: .utf8
        ).components(separatedBy: "secret=").dropFirst().map { $0.prefix(64) }
        #expect(secret.count >= 2)
        for secret in secret { #expect(!hub.process.errorText.contains(secret)) }
    }

    @Test func `a key that is taken out of the file is not used a moment longer`() throws {
        let brokers = try LinkedServers()
        let (edge, hub) = try brokers.startPair(hubPort: brokers.makePort())
        try edge.waitForLink("hub")
        let other = try brokers.makeKey("other")
        _ = try brokers.carryKey(other, to: "hub")
        #expect(try hub.settles { try $0.linkCount("edge", "faults", "keyUnknown") > 0 })
        #expect(try !hub.isLinkUp("edge"))
        _ = try brokers.carryKey(other, to: "edge")
        try edge.waitForLink("hub")
    }

    @Test func `status says what there is to know of a link that is up and of one that is down`()
        throws
    {
        let star = try Star()
        let subscriber = try star.east.run(["sub", "t", "--format", "json"])
        try star.hub.waitForLink("east", wanting: ["t"])
        let publisher = try star.hub.run(["pub", "t", "hello", "--ack"])
        #expect(publisher.wait() == 0)
        #expect(subscriber.waitForOutput { $0.outputText.contains("hello") })
        #expect(try star.hub.settles { try $0.link("east")["lagMessages"] as? Int == 0 })
        let up = try star.hub.link("east")
        #expect(up["role"] as? String == "listens")
        #expect(up["address"] as? String == "unix:\(star.brokers.directory.path)/east.link")
        #expect(up["messagesSent"] as? Int == 1)
        #expect(up["acknowledgedAfterMicroseconds"] as? Int ?? 0 > 0)
        #expect(up["queueBytesMax"] as? Int == 16_777_216)
        #expect(up["connectedSeconds"] is Int && up["nextDialMilliseconds"] == nil)
        #expect(Set((up["rates"] as? [String: Any] ?? [:]).keys).count == 5)
        star.hub.stop()
        #expect(try star.east.settles { try $0.link("hub")["nextDialMilliseconds"] is Int })
        let down = try star.east.link("hub")
        #expect(down["state"] as? String == "down" && down["role"] as? String == "connects")
        #expect(down["keyID"] == nil && down["connectedSeconds"] == nil)
        #expect((down["lastError"] as? String ?? "").isEmpty == false)
        #expect(down["lastErrorSeconds"] as? Int ?? 0 > 1_700_000_000)
        let text = try star.east.run(["link", "status"])
        #expect(text.wait() == 0)
        #expect(text.outputText.hasPrefix("hub: down, connects to unix:"))
        #expect(text.outputText.contains("last error"))
    }

    @Test(.enabled(if: Actors.isRoot, "needs root to publish as others"))
    func `a sender of another broker has the name that the map gives it, and its rights`() throws {
        let brokers = try LinkedServers()
        let map = """
            [[map]]
            origin = "ed*"
            uid = 1000
            name = "alice"
            [[rule]]
            name = "mapped"
            user = "alice"
            allow = "publish"
            topics = "home/%n/#"
            [[rule]]
            name = "local"
            uid = 1000
            allow = "publish"
            topics = "local/#"
            [[rule]]
            name = "root hears"
            uid = 0
            allow = "subscribe"
            topics = "#"

            """
        let (edge, hub) = try brokers.startPair(hubPort: brokers.makePort(), hubRules: map)
        let subscriber = try hub.run(["sub", "#", "--format", "json"])
        let people = try hub.run(["sub", "#"])
        try hub.waitForSubscriptions(2)
        try edge.waitForLink("hub", wanting: ["#"])
        func publish(_ uid: Int, _ topic: String) throws {
            let publisher = try edge.run(
                ["pub", topic, "as \(uid)", "--ack"],
                prefix: ["setpriv", "--reuid=\(uid)", "--regid=\(uid)", "--clear-groups"])
            #expect(publisher.wait() == 0, "\(publisher.errorText)")
        }
        try publish(1000, "local/x")
        try publish(1001, "home/alice/x")
        #expect(try hub.settles { try $0.linkCount("edge", "dropped", "notPermitted") == 2 })
        try publish(1000, "home/alice/x")
        #expect(subscriber.waitForOutput { $0.outputText.contains("as 1000") })
        #expect(subscriber.outputLines.count == 1)
        let message = try DeliveredMessage(try #require(subscriber.outputLines.first))
        let sender = message.fields["sender"] as? [String: Any]
        #expect(sender?["mapped"] as? String == "alice" && sender?["uid"] as? Int == 1000)
        #expect(message.fields["origin"] as? String == "edge" && message.level == "remote")
        #expect(people.waitForOutput { $0.outputText.contains(" at edge as alice  home/alice/x") })
        let acl = brokers.directory.appendingPathComponent("hub-acl.toml").path
        let asked = ["--origin", "edge", "--uid", "1000"]
        for live in [["--acl", acl], ["--live"]] {
            let check = try hub.run(["acl", "check", "publish", "home/alice/x"] + asked + live)
            #expect(check.wait() == 0, "\(check.errorText)")
            #expect(
                check.outputText.contains("uid 1000 of edge is known as \"alice\" (map in line 2)"))
            let denied = try hub.run(["acl", "check", "publish", "local/x"] + asked + live)
            #expect(denied.wait() == 77)
        }
        let who = try hub.run(["acl", "who", "publish", "home/alice/x", "--acl", acl])
        #expect(who.wait() == 0 && who.errorText.isEmpty, "\(who.errorText)")
        #expect(who.outputText.contains("mapped to alice, from ed*"), "\(who.outputText)")
        // Another map is in force at once.
        try map.replacing("uid = 1000\nname = \"alice\"", with: "uid = 1001\nname = \"alice\"")
            .replacing("[[map]]", with: "version = 1\n[[map]]")
            .write(toFile: acl, atomically: true, encoding: .utf8)
        #expect(try hub.run(["acl", "reload"]).wait() == 0)
        try publish(1001, "home/alice/x")
        #expect(subscriber.waitForOutput { $0.outputText.contains("as 1001") })
        try publish(1000, "home/alice/x")
        #expect(try hub.settles { try $0.linkCount("edge", "dropped", "notPermitted") == 3 })
    }
}

extension BrokerUnderTest {
    fileprivate func linkFileStatus() throws -> [String: Any] {
        let status = try run(["status", "--format", "json"])
        guard status.wait() == 0 else { throw Failure(description: status.errorText) }
        return try Actors.object(status.outputText)["linkFile"] as? [String: Any] ?? [:]
    }

    /// How often the reactor has waited for something to happen.
    fileprivate func reactorSleeps() throws -> Int {
        let tasks = "/proc/\(process.pid)/task"
        for task in try FileManager.default.contentsOfDirectory(atPath: tasks) {
            func text(_ file: String) throws -> String {
                try String(contentsOfFile: "\(tasks)/\(task)/\(file)", encoding: .utf8)
            }
            guard try text("comm") == "broker-reactor\n" else { continue }
            let line = try text("status").split(separator: "\n").first {
                $0.hasPrefix("voluntary_ctxt_switches:")
            }
            return line.flatMap { Int($0.split(separator: "\t").last ?? "") } ?? 0
        }
        throw Failure(description: "no thread broker-reactor")
    }

    fileprivate func linkFileChanges() throws -> Int {
        try linkFileStatus()["changes"] as? Int ?? -1
    }

    fileprivate func linkFileError() throws -> String? {
        try linkFileStatus()["error"] as? String
    }
}
