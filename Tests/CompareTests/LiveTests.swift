import Foundation
import LinuxIO
import TestSupport
import Testing

@Suite("A running broker: who else has sent, and from which user namespace", .serialized)
struct LiveTests {
    /// Connects, publishes itself, then lets a child do so (of another user, if given one), and
    /// stays. It and its child print who they are.
    private static let sharing = """
        import os, sys
        sys.path.insert(0, sys.argv[1])
        import client
        c = client.Client(sys.argv[2], "shared", broker_uids=(int(sys.argv[3]),))
        def me(word):
            print(word, os.getpid(), os.getuid(), os.getgid(), os.geteuid(), os.getegid(),
                  flush=True)
        me("opener")
        c.publish([("t", b"one")])
        c.ping()
        if os.fork() == 0:
            if len(sys.argv) > 4:
                os.setgid(int(sys.argv[4]))
                os.setuid(int(sys.argv[4]))
            me("writer")
            c.publish([("t", b"two"), ("t", b"three")])
            os._exit(0)
        os.wait()
        c.ping()
        print("done", flush=True)
        sys.stdin.read()
        """

    private static let reference = ProjectFiles.root.appending(path: "Protocol/reference").path

    private func share(_ broker: BrokerUnderTest) throws -> (Companion, [String: Said]) {
        let user = isRoot ? [someUser] : []
        let client = try Companion(
            [
                PythonClient.python, "-c", Self.sharing, Self.reference, broker.socketPath,
                "\(CurrentProcess.userID)",
            ] + user)
        var said: [String: Said] = [:]
        for line in try client.lines(upTo: "done") {
            if let words = Said(line) { said[words.word] = words }
        }
        return (client, said)
    }

    private struct Live: Decodable {
        struct Session: Decodable {
            struct Sender: Decodable {
                let pid: Int32
                let uid: UInt32
                let gid: UInt32
                let level: String
                let messages: Int
                let packets: Int
                let lastSeconds: Int
            }

            let name: String
            let opener: IDs
            let otherSenders: [Sender]
            let otherSendersForgotten: Int
        }

        let sessions: [Session]
    }

    @Test("--live shows the one session that a child has sent on, and the child")
    func live() throws {
        let broker = try BrokerUnderTest()
        let plain = try broker.run(["pub", "t", "nobody else"])
        #expect(plain.wait() == 0)
        let (client, said) = try share(broker)
        let result = try broker.run(["compare", "--live", "--format", "json"])
        #expect(result.wait() == 0, "\(result.errorText)")
        let live = try JSONDecoder().decode(Live.self, from: Data(result.outputText.utf8))
        let session = try #require(live.sessions.first)
        #expect(live.sessions.count == 1)
        #expect(session.name == "shared")
        #expect(session.opener == said["opener"]?.effective)
        let sender = try #require(session.otherSenders.first)
        #expect(session.otherSenders.count == 1)
        #expect(
            IDs(pid: sender.pid, uid: sender.uid, gid: sender.gid) == said["writer"]?.real)
        #expect(sender.messages == 2)
        #expect(sender.packets == 1)
        #expect(abs(Double(sender.lastSeconds) - Date().timeIntervalSince1970) < 60)
        #expect(session.otherSendersForgotten == 0)
        let text = try broker.run(["compare", "--live"])
        #expect(text.wait() == 0)
        #expect(text.outputText.contains("(\(sender.uid))"))
        #expect(text.outputText.contains("\(sender.pid)"))
        try client.endInput()
        client.wait()
    }

    @Test("--live says so when nobody has")
    func nobody() throws {
        let broker = try BrokerUnderTest()
        let result = try broker.run(["compare", "--live"])
        #expect(result.wait() == 0, "\(result.errorText)")
        #expect(result.outputText == "On none of 1 sessions has anybody sent but who opened it.\n")
    }

    @Test("--live without a broker is status 69")
    func noBroker() throws {
        let result = try BrokerProgram.run(["compare", "--live", "--socket", "/tmp/no-such"])
        #expect(result.status == 69)
    }

    // MARK: trust domains

    private func publish(
        _ broker: BrokerUnderTest, through launcher: [String]
    ) throws -> [String: Any] {
        let subscriber = try broker.run(["sub", "t", "-C", "1", "--format", "json"])
        #expect(
            subscriber.waitForOutput { _ in
                let status = try? broker.run(["status", "--format", "json"])
                _ = status?.wait()
                return status?.outputText.contains(/"filters" : \[\s+"t"/) ?? false
            })
        let publisher = try broker.run(
            ["pub", "t", "hi", "--broker-user", "65534"], prefix: launcher)
        #expect(publisher.wait() == 0, "\(publisher.errorText)")
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        let message = try JSONSerialization.jsonObject(with: Data(subscriber.outputText.utf8))
        return try #require((message as? [String: Any])?["opener"] as? [String: Any])
    }

    private static let isInitial = CurrentProcess.isInInitialUserNamespace
    private static let canTell = isRoot && KernelFeatures.probe().pidfdUserNamespace

    @Test(
        "an opener of the machine itself is in 'init'",
        .enabled(if: isInitial && canTell, "needs root and Linux 6.11"))
    func initial() throws {
        let opener = try publish(try BrokerUnderTest(), through: asSomeUser)
        #expect(opener["trustDomain"] as? String == "init")
    }

    @Test(
        "an opener in a namespace is in that of whoever made it",
        .enabled(if: canTell, "needs root and Linux 6.11"), arguments: ["-Ur", "-U"])
    func other(_ option: String) throws {
        let opener = try publish(
            try BrokerUnderTest(), through: asSomeUser + ["/usr/bin/unshare", option])
        #expect(opener["trustDomain"] as? UInt32 == UInt32(someUser))
        #expect(opener["uid"] as? UInt32 == UInt32(someUser))
    }

    @Test("status shows it", .enabled(if: isInitial && canTell, "needs root and Linux 6.11"))
    func status() throws {
        let broker = try BrokerUnderTest()
        let result = try broker.run(["status", "--format", "json"])
        #expect(result.wait() == 0)
        let status = try JSONSerialization.jsonObject(with: Data(result.outputText.utf8))
        let sessions = (status as? [String: Any])?["sessions"] as? [[String: Any]]
        let opener = try #require(sessions?.first?["opener"] as? [String: Any])
        #expect(opener["trustDomain"] as? String == "init")
    }

    @Test(
        "a broker in a user namespace warns, loudly and at once",
        .enabled(if: isInitial, "is in a user namespace itself"))
    func warning() throws {
        let folder = try TemporaryDirectory(mode: 0o755)
        let process = try ChildProcess([
            "/usr/bin/unshare", "-Ur", BrokerUnderTest.executable.path, "serve", "--socket",
            folder.path(of: "s"),
        ])
        let isWarned = process.waitForOutput { $0.errorText.contains("user namespace") }
        #expect(isWarned, "\(process.errorText)")
        #expect(process.errorText.contains("warning"))
        process.send(signal: SIGKILL)
        process.wait()
    }
}
