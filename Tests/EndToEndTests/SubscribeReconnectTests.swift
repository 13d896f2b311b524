import Foundation
import TestSupport
import Testing

/// `broker sub --reconnect` and brokers that come and go on its path.
@Suite("broker sub --reconnect", .serialized)
struct SubscribeReconnectTests {
    private let folder: TemporaryDirectory
    private let path: String
    private let program: String

    init() throws {
        folder = try TemporaryDirectory(mode: 0o755)
        path = folder.path(of: "broker.sock")
        program = folder.path(of: "broker")
        let install = try ChildProcess([
            "install", "-m", "755", BrokerUnderTest.executable.path, program,
        ])
        try #require(install.wait() == 0, "\(install.errorText)")
    }

    private func run(_ arguments: [String], prefix: [String] = []) throws -> ChildProcess {
        try ChildProcess(
            prefix + [program] + arguments, environment: ["BROKER_SOCKET": path])
    }

    private func subscribe(_ arguments: String...) throws -> ChildProcess {
        try run(["sub", "t", "--reconnect"] + arguments)
    }

    private func serve(_ arguments: [String] = ["--no-acl"]) throws -> ChildProcess {
        try run(["serve"] + arguments)
    }

    private func publish(_ message: String) throws {
        let publisher = try run(["pub", "t", message, "--ack"])
        #expect(publisher.wait() == 0, "\(publisher.errorText)")
    }

    private func stop(_ broker: ChildProcess, _ signal: Int32 = SIGTERM) {
        broker.send(signal: signal)
        broker.wait()
    }

    private func waitForError(_ process: ChildProcess, _ text: String, count: Int = 1) {
        #expect(
            process.waitForOutput { $0.errorText.components(separatedBy: text).count > count },
            "\(process.errorText)")
    }

    @Test func `it goes on with the next broker, says so, and what it prints stays JSON`() throws {
        let subscriber = try subscribe("--format", "json")
        waitForError(subscriber, "broker sub: not connected, waiting for the broker: no broker at")
        var broker = try serve()
        waitForError(subscriber, "broker sub: connected\n")
        try publish("one")
        for (number, signal) in [SIGTERM, SIGKILL].enumerated() {
            #expect(subscriber.waitForOutput { $0.outputLines.count == 1 + 2 * number })
            stop(broker, signal)
            waitForError(subscriber, "disconnected, waiting for the broker: ", count: number + 1)
            broker = try serve()
            waitForError(
                subscriber, "connected again: messages sent in between may have been missed\n",
                count: number + 1)
            try publish("after signal \(signal)")
        }
        #expect(subscriber.waitForOutput { $0.outputLines.count == 5 })
        subscriber.send(signal: SIGTERM)
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        let lines = try subscriber.outputLines.map(Actors.object)
        #expect(
            lines.map { $0["payload"] as? String ?? $0["event"] as? String ?? "" } == [
                "one", "reconnected", "after signal \(SIGTERM)", "reconnected",
                "after signal \(SIGKILL)",
            ])
        stop(broker)
    }

    @Test func `-C counts the messages of all sessions`() throws {
        var broker = try serve()
        let subscriber = try subscribe("-C", "2", "-v", "-F", "%p")
        waitForError(subscriber, "subscribed to t")
        try publish("one")
        stop(broker)
        waitForError(subscriber, "disconnected, waiting")
        broker = try serve()
        waitForError(subscriber, "connected again")
        try publish("two")
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        #expect(subscriber.outputText == "one\ntwo\n")
        stop(broker)
    }

    @Test(arguments: [SIGINT, SIGTERM])
    func `a signal ends the wait for a broker`(signal: Int32) throws {
        let subscriber = try subscribe()
        waitForError(subscriber, "waiting for the broker")
        subscriber.send(signal: signal)
        #expect(subscriber.wait() == 0)
    }

    @Test func `-W ends the wait for a broker, and -C is then not fulfilled`() throws {
        #expect(try subscribe("-W", "0.2").wait() == 0)
        #expect(try subscribe("-W", "0.2", "-C", "1").wait() == 1)
    }

    @Test func `without it the end of the broker is the end`() throws {
        let broker = try serve()
        waitForError(broker, "listening")
        let subscriber = try run(["sub", "t", "-v"])
        waitForError(subscriber, "subscribed to t")
        stop(broker)
        #expect(subscriber.wait() == 69)
        #expect(try run(["sub", "t"]).wait() == 69)
    }

    @Test(
        "What the rules, the socket's mode or the one who asks have refused is not tried again",
        .enabled(if: Actors.isRoot, "needs root"))
    func refusals() throws {
        let user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
        let rules = folder.path(of: "acl.toml")
        try "version = 1\n".write(toFile: rules, atomically: false, encoding: .utf8)
        func subscribe() throws -> ChildProcess {
            try run(["sub", "t", "-v", "--reconnect"], prefix: user)
        }
        var broker = try serve()
        let goesOn = try subscribe()
        waitForError(goesOn, "subscribed to t")
        stop(broker)
        broker = try serve(["--acl", rules])
        #expect(goesOn.wait() == 77)
        #expect(goesOn.errorText.contains("may not subscribe"), "\(goesOn.errorText)")
        let refused = try subscribe()
        #expect(refused.wait() == 77)
        #expect(!refused.errorText.contains("waiting"), "\(refused.errorText)")
        stop(broker)

        broker = try serve(["--no-acl", "--socket-mode", "0600"])
        waitForError(broker, "listening")
        let denied = try subscribe()
        #expect(denied.wait() == 77)
        #expect(denied.errorText.contains("not permitted to connect"), "\(denied.errorText)")
        stop(broker)

        let own = folder.path(of: "own.sock")
        try FileManager.default.setAttributes(
            [.ownerAccountID: 2_000], ofItemAtPath: folder.path)
        let other = ["setpriv", "--reuid=2000", "--regid=2000", "--clear-groups"]
        broker = try run(["serve", "--no-acl", "--socket", own], prefix: other)
        waitForError(broker, "listening")
        let distrusting = try run(["sub", "t", "--reconnect", "--socket", own], prefix: user)
        #expect(distrusting.wait() == 69)
        #expect(distrusting.errorText.contains("uid 2000"), "\(distrusting.errorText)")
        stop(broker)
    }
}
