import Foundation
import TestSupport
import Testing

/// What ends `broker sub`, whatever becomes of its output.
@Suite("broker sub ends", .serialized)
struct SubscribeEndTests {
    private let broker: BrokerUnderTest

    init() throws {
        broker = try BrokerUnderTest()
    }

    /// `$broker` is the program.
    private func shell(_ script: String) throws -> ChildProcess {
        try ChildProcess(
            ["sh", "-c", script],
            environment: [
                "broker": BrokerUnderTest.executable.path, "BROKER_SOCKET": broker.socketPath,
            ])
    }

    /// More than a pipe holds.
    private func flood() throws {
        let text = String(repeating: "x", count: 1_000)
        #expect(try broker.run(["pub", "t", text, "--repeat", "500"]).wait() == 0)
    }

    @Test(
        "at -W, with its status, though nobody reads what it prints",
        arguments: [(["-W", "3"], 0, nil), (["-W", "3", "-C", "100000"], 1, "fewer than 100000")])
    func timeUpWhileBlocked(options: [String], status: Int32, words: String?) throws {
        let (subscriber, output) = try subscribeUnread(options)
        try broker.waitForSubscriptions(1)
        try flood()
        #expect(subscriber.wait(seconds: 60) == status)
        if let words { #expect(subscriber.errorText.contains(words), "\(subscriber.errorText)") }
        try output.close()
    }

    @Test(
        "at a signal, though nobody reads what it prints and says",
        arguments: [SIGINT, SIGTERM])
    func signalWhileBlocked(signal: Int32) throws {
        let (subscriber, output) = try subscribeUnread(["2>&1"])
        try broker.waitForSubscriptions(1)
        try flood()
        subscriber.send(signal: signal)
        #expect(subscriber.wait(seconds: 60) == 0)
        try output.close()
    }

    @Test("when nobody reads any more, without another message that shows it")
    func unread() throws {
        let subscriber = try shell("{ exec \"$broker\" sub t; } | head -n 1")
        try broker.waitForSubscriptions(1)
        #expect(try broker.run(["pub", "t", "only one", "--ack"]).wait() == 0)
        #expect(subscriber.wait(seconds: 60) == 0)
        #expect(subscriber.outputText.contains("only one"))
        #expect(try broker.settles { try $0.otherSessions().isEmpty })
    }

    /// Its standard output is a FIFO that is open for reading, and that nobody reads.
    private func subscribeUnread(
        _ options: [String]
    ) throws -> (subscriber: ChildProcess, output: FileHandle) {
        let path = broker.directory.appending(path: "fifo").path
        try #require(try ChildProcess(["mkfifo", path]).wait() == 0)
        let words = options.joined(separator: " ")
        let subscriber = try shell(
            "exec \"$broker\" sub t --overflow drop-oldest > \(path) \(words)")
        let output = try #require(FileHandle(forReadingAtPath: path))
        return (subscriber, output)
    }
}
