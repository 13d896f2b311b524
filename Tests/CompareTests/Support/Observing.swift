import Foundation
import Testing

/// `broker compare --listen` beside a test, and what it printed.
final class Observing {
    struct Event: Decodable {
        let event: String
        let connection: Int
        let opener: IDs?
        let sender: IDs?
        let recorded: Bool?
        let process: UInt64?
        let differences: [String]?
        let payload: String?
    }

    let folder: String
    let path: String
    private let program: Companion

    init(type: String = "seqpacket", format: String = "json") throws {
        folder = "/tmp/compare-observer-\(UUID().uuidString.prefix(13))"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o755])
        path = folder + "/s"
        let errors = Pipe()
        program = try Companion(
            [BrokerProgram.path, "compare", "--listen", path, "--type", type, "--format", format],
            errors: errors.fileHandleForWriting)
        // It says so once it listens.
        let note = errors.fileHandleForReading.availableData
        #expect(String(decoding: note, as: UTF8.self).contains("listening on \(path)"))
    }

    deinit {
        try? FileManager.default.removeItem(atPath: folder)
    }

    func line() throws -> String? { try program.line() }

    func next() throws -> Event {
        let line = try #require(try program.line())
        return try JSONDecoder().decode(Event.self, from: Data(line.utf8))
    }

    /// The next connection, with its first message.
    func connectionAndMessage() throws -> (opener: IDs, message: Event) {
        let connected = try next()
        #expect(connected.event == "connection")
        let message = try next()
        #expect(message.event == "message")
        #expect(message.opener == connected.opener)
        return (try #require(connected.opener), message)
    }

    /// Ends it as a person would, and returns what it printed since.
    func interrupt() throws -> [String] {
        program.stop()
        let rest = try program.rest()
        #expect(program.wait() == 0)
        #expect(!FileManager.default.fileExists(atPath: path))
        return rest
    }
}

/// A client in Python. It prints what it is, sends, and waits until it is told to end.
enum PythonClient {
    static let python = "/usr/bin/python3"

    static let program = """
        import os, socket, sys
        kind = {"seqpacket": socket.SOCK_SEQPACKET, "stream": socket.SOCK_STREAM}[sys.argv[2]]
        c = socket.socket(socket.AF_UNIX, kind)
        c.connect(sys.argv[1])
        def me(word):
            print(word, os.getpid(), os.getuid(), os.getgid(), os.geteuid(), os.getegid(),
                  flush=True)
        me("opener")
        if sys.argv[3] == "child":
            if os.fork() == 0:
                me("writer")
                c.send(b"from a child")
                os._exit(0)
            os.wait()
        elif sys.argv[3] == "drop":
            os.setgid(47001)
            os.setuid(47001)
            me("writer")
            c.send(b"after a drop")
        else:
            me("writer")
            c.send(b"plain")
        print("done", flush=True)
        sys.stdin.read()
        """

    static func command(_ path: String, type: String = "seqpacket", _ what: String) -> [String] {
        [python, "-c", program, path, type, what]
    }
}

/// Programs that some tests need and no test installs.
enum Tool {
    static func path(_ name: String) -> String? {
        ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"].lazy
            .map { "\($0)/\(name)" }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    static func has(_ name: String) -> Bool { path(name) != nil }
}
