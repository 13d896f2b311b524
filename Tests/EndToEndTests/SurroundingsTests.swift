import Foundation
import TestSupport
import Testing

/// Files where a socket should be, and output that cannot be written.
@Suite("A command in bad surroundings says what to do", .serialized)
struct SurroundingsTests {
    private let folder: TemporaryDirectory

    init() throws {
        folder = try TemporaryDirectory()
    }

    /// `$broker` is the program.
    private func shell(_ script: String) throws -> ChildProcess {
        try ChildProcess(
            ["sh", "-c", "cd \(folder.path) && \(script)"],
            environment: [
                "broker": BrokerUnderTest.executable.path,
                "BROKER_SOCKET": folder.path(of: "broker.sock"),
            ])
    }

    private var names: [String] {
        get throws { try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() }
    }

    // MARK: No socket

    private static let kinds = [
        ("echo text > it", "it", "an ordinary file"), ("mkdir it", "it", "a directory"),
        ("mkdir it", "it/", "a directory"), ("mkfifo it", "it", "a named pipe"),
    ]

    @Test(
        "What is no socket is named, is left alone, and nothing is left beside it",
        arguments: kinds, ["serve --no-acl --socket", "compare --listen"])
    func nothingToListenOn(file: (make: String, path: String, kind: String), command: String)
        throws
    {
        let refused = try shell("\(file.make) && exec \"$broker\" \(command) ./\(file.path)")
        #expect(refused.wait() == 1)
        #expect(
            refused.errorText.contains(
                "./\(file.path): this is \(file.kind) and not a socket, so it is left alone; "
                    + "move it away or choose another path"), "\(refused.errorText)")
        #expect(try names == ["it"])
    }

    @Test(
        "Nobody waits for a broker where there is no socket",
        arguments: kinds,
        ["pub t x --socket", "sub t -W 20 --reconnect --socket", "status --socket"])
    func nothingToConnectTo(file: (make: String, path: String, kind: String), command: String)
        throws
    {
        let refused = try shell("\(file.make) && exec \"$broker\" \(command) ./\(file.path)")
        #expect(refused.wait() == 69)
        #expect(
            refused.errorText.contains("./\(file.path) is \(file.kind) and not a socket"),
            "\(refused.errorText)")
        #expect(refused.errorText.contains("--socket or BROKER_SOCKET"))
    }

    @Test("compare --connect tells a file from a socket on which nobody listens")
    func compareConnect() throws {
        let file = try shell("echo text > it && exec \"$broker\" compare --connect ./it")
        #expect(file.wait() == 69)
        #expect(file.errorText.contains("this is an ordinary file"), "\(file.errorText)")
        let nothing = try shell("exec \"$broker\" compare --connect ./none")
        #expect(nothing.wait() == 69)
        #expect(
            nothing.errorText.contains("start `broker compare --listen ./none` first"),
            "\(nothing.errorText)")
    }

    // MARK: Output

    @Test(
        "Text that was asked for and cannot be written is a failure",
        arguments: [
            "--help", "help pub", "pub --help", "acl check --help", "--version",
            "--generate-completion-script bash", "doctor", "compare --list",
        ])
    func fullDisk(arguments: String) throws {
        let command = try shell("exec \"$broker\" \(arguments) > /dev/full")
        #expect(command.wait() == 1)
        #expect(
            command.errorText.contains("cannot write to standard output: "),
            "\(command.errorText)")
    }

    @Test(
        "A stream that is open the wrong way round is said to be",
        arguments: [
            ("--help 1< /dev/null", "cannot write to standard output: "),
            ("pub t -s 0> /dev/null", "cannot read standard input: "),
        ])
    func wrongWayRound(arguments: String, words: String) throws {
        let command = try shell("exec \"$broker\" \(arguments)")
        #expect(command.wait() == 1)
        #expect(command.errorText.contains(words), "\(command.errorText)")
    }

    @Test(
        "A terminal is never too narrow for the help",
        arguments: ["0", "1", "-5", "27"], ["help pub", "sub", "link status --help"])
    func narrow(columns: String, arguments: String) throws {
        let command = try shell("COLUMNS=\(columns) exec \"$broker\" \(arguments)")
        #expect([0, 64].contains(command.wait()))
        let text = command.outputText + command.errorText
        #expect(text.lowercased().contains("usage: broker"), "\(text)")
    }

    @Test("An argument that is not UTF-8 is refused, and not taken for another")
    func notUTF8() throws {
        let command = try shell(#"exec "$broker" pub t "$(printf 'a\377')" --socket ./none"#)
        #expect(command.wait() == 64)
        #expect(command.errorText.contains("argument 3 is not UTF-8"), "\(command.errorText)")
    }

    @Test("bench says what it lacks")
    func bench() throws {
        let noBroker = try shell("exec \"$broker\" bench --socket ./none")
        #expect(noBroker.wait() == 1)
        #expect(
            noBroker.errorText.hasPrefix("broker bench: ./none: connect: "),
            "\(noBroker.errorText)")
        let noDirectory = try shell("TMPDIR=/none exec \"$broker\" bench")
        #expect(noDirectory.wait() == 1)
        #expect(noDirectory.errorText.contains("with TMPDIR"), "\(noDirectory.errorText)")
    }

    @Test(
        "The observer ends at a signal though nobody reads what it prints, and removes its socket",
        arguments: [SIGINT, SIGTERM, SIGHUP])
    func unreadObserver(signal: Int32) throws {
        try #require(try shell("mkfifo seen").wait() == 0)
        let observer = try shell("exec \"$broker\" compare --listen ./it > seen")
        let seen = try #require(FileHandle(forReadingAtPath: folder.path(of: "seen")))
        #expect(observer.waitForOutput { $0.errorText.contains("listening on") })
        // More than a pipe holds; it ends when the observer does.
        let client = try shell("seq 100000 | \"$broker\" compare --connect ./it --stdin")
        _ = try #require(try seen.read(upToCount: 10_000))
        observer.send(signal: signal)
        #expect(observer.wait(seconds: 60) == 0, "\(observer.errorText)")
        client.wait()
        #expect(try names == ["seen"])
        try seen.close()
    }

    @Test("A reader that has read enough of the help is no failure")
    func closedPipe() throws {
        let command = try shell("{ \"$broker\" --help; echo $? >&2; } | true")
        command.wait()
        #expect(command.errorText == "0\n")
    }

    @Test("A broker goes on when nobody reads its log any more")
    func unreadLog() throws {
        try #require(try shell("mkfifo log").wait() == 0)
        let broker = try shell("exec \"$broker\" serve --no-acl --log-level debug 2> log")
        let log = try #require(FileHandle(forReadingAtPath: folder.path(of: "log")))
        var text = ""
        while !text.contains("listening on") {
            let data = log.availableData
            try #require(!data.isEmpty, "the broker did not start: \(text)")
            text += String(decoding: data, as: UTF8.self)
        }
        try log.close()
        for _ in 0..<3 {
            // Connections are logged.
            let publisher = try shell("exec \"$broker\" pub t x --ack")
            #expect(publisher.wait() == 0, "\(publisher.errorText)")
        }
        broker.send(signal: SIGTERM)
        #expect(broker.wait() == 0)
    }
}
