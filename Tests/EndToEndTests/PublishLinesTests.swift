import Foundation
import TestSupport
import Testing

/// `broker pub -l`, and a broker that goes away while it waits for lines.
@Suite("broker pub -l", .serialized)
struct PublishLinesTests {
    private let folder: TemporaryDirectory

    init() throws {
        folder = try TemporaryDirectory()
    }

    private func run(_ arguments: [String]) throws -> ChildProcess {
        try ChildProcess(
            [BrokerUnderTest.executable.path] + arguments,
            environment: ["BROKER_SOCKET": folder.path(of: "broker.sock")])
    }

    private func serve(_ arguments: [String] = ["--no-acl"]) throws -> ChildProcess {
        let broker = try run(["serve"] + arguments)
        waitForError(broker, "listening on")
        return broker
    }

    private func waitForError(_ process: ChildProcess, _ text: String, count: Int = 1) {
        #expect(
            process.waitForOutput { $0.errorText.components(separatedBy: text).count > count },
            "\(process.errorText)")
    }

    private func end(_ broker: ChildProcess, _ signal: Int32 = SIGTERM) {
        broker.send(signal: signal)
        broker.wait()
    }

    // MARK: Without --reconnect

    @Test(
        "ends with the broker, though nobody says another line or closes its input",
        arguments: [SIGTERM, SIGKILL], [[], ["--ack"]])
    func endsWithTheBroker(signal: Int32, options: [String]) throws {
        let broker = try serve()
        let subscriber = try run(["sub", "t", "-C", "1", "-v"])
        waitForError(subscriber, "subscribed to t")
        let publisher = try run(["pub", "t", "-l"] + options)
        try publisher.write("one\n")
        // From now on it waits for another line.
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        end(broker, signal)
        #expect(publisher.wait(seconds: 60) == 69, "\(publisher.errorText)")
        #expect(publisher.errorText.contains("the broker"), "\(publisher.errorText)")
    }

    @Test("ends with a refusal, though nobody says another line")
    func endsWithARefusal() throws {
        let broker = try serve()
        let publisher = try run(["pub", "$SYS/x", "-l"])
        try publisher.write("one\n")
        #expect(publisher.wait(seconds: 60) == 77, "\(publisher.errorText)")
        #expect(publisher.errorText.contains("refused"), "\(publisher.errorText)")
        end(broker)
    }

    // MARK: With --reconnect

    /// A subscriber that prints payloads, one a line, of all brokers that come.
    private func subscribe() throws -> ChildProcess {
        let subscriber = try run(["sub", "t", "--reconnect", "-v", "-F", "%p"])
        waitForError(subscriber, "subscribed to t")
        return subscriber
    }

    /// What it printed, without the repetitions that are allowed.
    private func distinctLines(_ subscriber: ChildProcess) -> [String] {
        var lines: [String] = []
        for line in subscriber.outputLines where !lines.contains(line) { lines.append(line) }
        return lines
    }

    @Test(
        "with --reconnect loses no line when the broker is killed before it has taken them",
        arguments: [[], ["--ack"], ["--interval", "1ms"]])
    func sendsAgain(options: [String]) throws {
        var broker = try serve()
        let subscriber = try subscribe()
        let publisher = try run(["pub", "t", "-l", "-v", "--reconnect"] + options)
        waitForError(publisher, "connected to broker")
        var expected: [String] = []
        for round in 1...3 {
            let lines = (1...20).map { "\(round).\($0)" }
            try publisher.write("\(round).0\n")
            expected += ["\(round).0"] + lines
            #expect(subscriber.waitForOutput { $0.outputLines.contains("\(round).0") })
            // From here on the broker reads nothing, and then it is gone.
            broker.send(signal: SIGSTOP)
            try publisher.write(lines.map { $0 + "\n" }.joined())
            end(broker, SIGKILL)
            waitForError(publisher, "disconnected, waiting for the broker: ", count: round)
            // Whoever subscribes has to be there first.
            publisher.send(signal: SIGSTOP)
            broker = try serve()
            waitForError(subscriber, "connected again", count: round)
            waitForError(subscriber, "subscribed to t", count: round + 1)
            publisher.send(signal: SIGCONT)
            waitForError(
                publisher, "connected again: what was not acknowledged is sent again",
                count: round)
            #expect(subscriber.waitForOutput { $0.outputLines.contains("\(round).20") })
        }
        publisher.closeInput()
        #expect(publisher.wait() == 0, "\(publisher.errorText)")
        #expect(distinctLines(subscriber) == expected)
        end(subscriber)
        end(broker)
    }

    @Test("with --reconnect waits for a broker that is not there yet")
    func waitsForTheFirst() throws {
        let subscriber = try run(["sub", "t", "-C", "1", "-F", "%p", "--reconnect"])
        let publisher = try run(["pub", "t", "-l", "--reconnect"])
        try publisher.write("one\n")
        waitForError(publisher, "not connected, waiting for the broker: no broker at")
        publisher.send(signal: SIGSTOP)
        let broker = try serve()
        waitForError(subscriber, "broker sub: connected\n")
        publisher.send(signal: SIGCONT)
        waitForError(publisher, "broker pub: connected\n")
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        #expect(subscriber.outputText == "one\n")
        publisher.closeInput()
        #expect(publisher.wait() == 0, "\(publisher.errorText)")
        end(broker)
    }

    @Test("with --reconnect ends at a refusal all the same, and at a signal while it waits")
    func ends() throws {
        let broker = try serve()
        let refused = try run(["pub", "$SYS/x", "one", "--reconnect"])
        #expect(refused.wait() == 77, "\(refused.errorText)")
        end(broker)
        for signal in [SIGINT, SIGTERM] {
            let waiting = try run(["pub", "t", "one", "--reconnect"])
            waitForError(waiting, "waiting for the broker")
            waiting.send(signal: signal)
            #expect(waiting.wait() == signal)
        }
    }
}
