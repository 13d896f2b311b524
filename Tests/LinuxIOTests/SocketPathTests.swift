import Foundation
import LinuxIO
import Testing

@Suite("Whose a socket path is")
struct SocketPathTests {
    private func refusal(_ scratch: Scratch) -> SocketPathError? {
        #expect(throws: SocketPathError.self) { _ = try scratch.listen() }
    }

    @Test("a socket left behind by a crash is replaced, lock file and all")
    func stale() throws {
        let scratch = try Scratch()
        let crashed = try Child(
            """
            import fcntl
            f = open('\(scratch.path("socket.lock"))', 'w'); fcntl.flock(f, fcntl.LOCK_EX)
            c = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            c.bind('\(scratch.path("socket"))'); c.listen(4); os._exit(0)
            """)
        try crashed.finish()
        #expect(scratch.exists("socket"))
        #expect(scratch.exists("socket.lock"))
        let listener = try scratch.listen()
        let client = try connectSeqpacket(path: scratch.path("socket"))
        _ = try acceptOne(listener)
        #expect(client.rawValue >= 0)
        #expect(try listener.removePath() == true)
        #expect(!scratch.exists("socket"))
        #expect(!scratch.exists("socket.lock"))
    }

    @Test("a second broker is refused by the lock")
    func second() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        let error = refusal(scratch)
        #expect(
            error
                == .lockHeld(path: scratch.path("socket"), lockPath: scratch.path("socket.lock")))
        #expect(error.map { "\($0)".contains("another broker is listening here") } == true)
        _ = try connectSeqpacket(path: scratch.path("socket"))
        _ = try acceptOne(listener)
    }

    @Test("a broker in another process holds its lock until it exits")
    func lockOfAnotherProcess() throws {
        let scratch = try Scratch()
        let child = try Child(
            """
            import fcntl
            f = open('\(scratch.path("socket.lock"))', 'w'); fcntl.flock(f, fcntl.LOCK_EX)
            say("locked"); sys.stdin.readline()
            """)
        #expect(try child.line() == "locked")
        #expect(
            refusal(scratch)
                == .lockHeld(path: scratch.path("socket"), lockPath: scratch.path("socket.lock")))
        try child.tell("x")
        try child.finish()
        _ = try scratch.listen()
    }

    @Test(
        "a program without our lock keeps its socket, whatever its type",
        arguments: ["SEQPACKET", "STREAM", "DGRAM"])
    func liveStranger(type: String) throws {
        let scratch = try Scratch()
        let child = try Child(
            """
            c = socket.socket(socket.AF_UNIX, socket.SOCK_\(type))
            c.bind('\(scratch.path("socket"))')
            if '\(type)' != 'DGRAM': c.listen(4)
            say("listening"); sys.stdin.readline()
            """)
        #expect(try child.line() == "listening")
        #expect(refusal(scratch) == .inUse(path: scratch.path("socket")))
        #expect(scratch.exists("socket"))
        #expect(!scratch.exists("socket.lock"))
        try child.tell("x")
        try child.finish()
        _ = try scratch.listen()
    }

    @Test("a stranger with a full backlog is alive")
    func fullBacklog() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen(backlog: 0)
        let client = try connectSeqpacket(path: scratch.path("socket"))
        // Without its lock the listener is a stranger.
        try scratch.remove("socket.lock")
        #expect(refusal(scratch) == .inUse(path: scratch.path("socket")))
        #expect(client.rawValue != listener.descriptor.rawValue)
    }

    @Test("what is not a socket is left alone")
    func notASocket() throws {
        let scratch = try Scratch()
        try scratch.write("socket")
        let error = refusal(scratch)
        #expect(error == .notASocket(path: scratch.path("socket"), kind: "an ordinary file"))
        #expect(error.map { "\($0)".contains("an ordinary file and not a socket") } == true)
        #expect(scratch.exists("socket"))
        #expect(!scratch.exists("socket.lock"))
    }

    @Test("a link in the place of the socket or the lock is not followed")
    func links() throws {
        let scratch = try Scratch()
        try FileManager.default.createSymbolicLink(
            atPath: scratch.path("socket"), withDestinationPath: scratch.path("elsewhere"))
        #expect(
            refusal(scratch)
                == .notASocket(path: scratch.path("socket"), kind: "a symbolic link"))
        try scratch.remove("socket")
        try FileManager.default.createSymbolicLink(
            atPath: scratch.path("socket.lock"), withDestinationPath: scratch.path("elsewhere"))
        #expect(
            refusal(scratch)
                == .lockNotAFile(
                    path: scratch.path("socket"), lockPath: scratch.path("socket.lock")))
        #expect(!scratch.exists("elsewhere"))
    }

    @Test("a directory in the place of the lock is named in the error")
    func lockIsDirectory() throws {
        let scratch = try Scratch()
        try FileManager.default.createDirectory(
            atPath: scratch.path("socket.lock"), withIntermediateDirectories: false)
        #expect(
            refusal(scratch)
                == .lockNotAFile(
                    path: scratch.path("socket"), lockPath: scratch.path("socket.lock")))
    }

    @Test("a missing directory is said to be missing")
    func missingDirectory() throws {
        let scratch = try Scratch()
        let error = #expect(throws: SocketPathError.self) {
            _ = try scratch.listen("nowhere/socket")
        }
        #expect(error.map { "\($0)".contains("; create the directory first") } == true)
    }

    @Test("paths that are no file names are refused", arguments: ["", "/", "/tmp/", "a\0b", ".."])
    func noNames(path: String) {
        #expect(throws: SocketPathError.self) {
            _ = try SeqpacketListener(path: path, mode: 0o600, groupID: nil, backlog: 1)
        }
    }

    @Test("of many brokers that start and stop at once, one at a time has the path")
    func race() throws {
        let scratch = try Scratch()
        let contest = Contest(path: scratch.path("socket"))
        let threads = (0..<6).map { number in
            SystemThread.start(name: "broker-\(number)") {
                for _ in 0..<200 { contest.attempt() }
            }
        }
        for thread in threads { thread.join() }
        let result = contest.result
        #expect(result.overlaps == 0)
        #expect(result.surprises == [])
        #expect(result.wins > 0)
        #expect(!scratch.exists("socket"))
        #expect(!scratch.exists("socket.lock"))
    }
}

/// Brokers that take one path and give it back; counts how often two had it.
private final class Contest: Sendable {
    struct Result {
        var holders = 0
        var overlaps = 0
        var wins = 0
        var surprises: [SocketPathError] = []
    }

    private let path: String
    private let state = Lock(Result())

    init(path: String) { self.path = path }

    var result: Result { state.withLock { $0 } }

    func attempt() {
        do throws(SocketPathError) {
            let listener = try SeqpacketListener(
                path: path, mode: 0o600, groupID: nil, backlog: 1)
            state.withLock { state in
                state.wins += 1
                state.holders += 1
                if state.holders != 1 { state.overlaps += 1 }
            }
            state.withLock { $0.holders -= 1 }
            try listener.removePath()
        } catch {
            if case .lockHeld = error { return }
            state.withLock { $0.surprises.append(error) }
        }
    }
}
