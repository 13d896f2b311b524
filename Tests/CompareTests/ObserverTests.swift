import Foundation
import LinuxIO
import Testing

@Suite("The observer, with clients that know nothing of a broker")
struct ObserverTests {
    private func play(
        _ command: [String], on observer: Observing
    ) throws -> (said: [String: Said], opener: IDs, message: Observing.Event) {
        let client = try Companion(command)
        var said: [String: Said] = [:]
        for line in try client.lines(upTo: "done") {
            if let words = Said(line) { said[words.word] = words }
        }
        let (opener, message) = try observer.connectionAndMessage()
        try client.endInput()
        client.wait()
        #expect(try observer.next().event == "closed")
        return (said, opener, message)
    }

    @Test("a plain client shows no difference", arguments: ["seqpacket", "stream"])
    func plain(_ type: String) throws {
        let observer = try Observing(type: type)
        let (said, opener, message) = try play(
            PythonClient.command(observer.path, type: type, "plain"), on: observer)
        #expect(opener == said["opener"]?.effective)
        #expect(message.sender == said["writer"]?.real)
        #expect(message.differences == [])
        #expect(message.payload == "plain")
        #expect(try observer.interrupt().isEmpty)
    }

    @Test("a child differs in its pid", arguments: ["seqpacket", "stream"])
    func child(_ type: String) throws {
        let observer = try Observing(type: type)
        let (said, opener, message) = try play(
            PythonClient.command(observer.path, type: type, "child"), on: observer)
        #expect(opener == said["opener"]?.effective)
        #expect(message.sender == said["writer"]?.real)
        #expect(message.differences == ["process id"])
    }

    @Test("a dropped privilege differs in the ids", .enabled(if: isRoot))
    func drop() throws {
        let observer = try Observing()
        let (said, opener, message) = try play(
            PythonClient.command(observer.path, "drop"), on: observer)
        #expect(opener == said["opener"]?.effective)
        #expect(message.sender == said["writer"]?.real)
        #expect(message.sender?.uid == 47001)
        #expect(message.differences == ["user id", "group id"])
    }

    @Test(
        "real and effective ids apart, as setpriv sets them", .enabled(if: isRoot),
        arguments: [
            (["--ruid=47001", "--rgid=47001"], 0, 47001),
            (["--euid=47001", "--egid=47001"], 47001, 0),
            (["--reuid=47001", "--regid=47001"], 47001, 47001),
        ] as [([String], UInt32, UInt32)])
    func setpriv(_ options: [String], _ connection: UInt32, _ message: UInt32) throws {
        let observer = try Observing()
        let seen = try play(
            ["/usr/bin/setpriv"] + options + ["--clear-groups"]
                + PythonClient.command(observer.path, "plain"), on: observer)
        #expect(seen.opener.uid == connection)
        #expect(seen.message.sender?.uid == message)
        #expect(seen.opener == seen.said["opener"]?.effective)
        #expect(seen.message.sender == seen.said["writer"]?.real)
    }

    @Test(
        "in a user namespace the client is who made it",
        arguments: [(["-Ur"], 0), (["-U"], 65534)] as [([String], UInt32)])
    func unshare(_ options: [String], _ inside: UInt32) throws {
        let observer = try Observing()
        let launcher = (isRoot ? asSomeUser : []) + ["/usr/bin/unshare"] + options
        let seen = try play(
            launcher + PythonClient.command(observer.path, "plain"), on: observer)
        let user = isRoot ? UInt32(someUser) : CurrentProcess.userID
        #expect(seen.said["writer"]?.real.uid == inside)
        #expect(seen.opener.uid == user)
        #expect(seen.message.sender?.uid == user)
        #expect(seen.message.sender?.pid == seen.said["writer"]?.real.pid)
    }

    @Test(
        "in bubblewrap the uid inside is a costume", .enabled(if: Tool.has("bwrap"), "no bwrap"),
        arguments: ["0", "1000"])
    func bubblewrap(_ uid: String) throws {
        let observer = try Observing()
        let launcher =
            (isRoot ? asSomeUser : []) + [
                try #require(Tool.path("bwrap")), "--unshare-user", "--unshare-pid", "--bind", "/",
                "/", "--dev", "/dev", "--proc", "/proc", "--uid", uid, "--gid", uid,
            ]
        let seen = try play(
            launcher + PythonClient.command(observer.path, "plain"), on: observer)
        let user = isRoot ? UInt32(someUser) : CurrentProcess.userID
        #expect(seen.said["writer"]?.real.uid == UInt32(uid))
        #expect(seen.said["writer"]?.real.pid != seen.opener.pid)
        #expect(seen.opener.uid == user)
        #expect(seen.message.sender == seen.opener)
    }

    @Test("socat is a client", .enabled(if: Tool.has("socat"), "no socat"))
    func socat() throws {
        let observer = try Observing()
        let client = try Companion([
            try #require(Tool.path("socat")), "-u", "STDIN", "UNIX-CONNECT:\(observer.path),type=5",
        ])
        try client.tell("through socat")
        let (opener, message) = try observer.connectionAndMessage()
        let truth = IDs(
            pid: client.pid, uid: CurrentProcess.userID, gid: CurrentProcess.groupID)
        #expect(opener == truth)
        #expect(message.sender == truth)
        #expect(message.payload == "through socat\n")
        try client.endInput()
        client.wait()
    }

    @Test("--connect says hello, as text shows it")
    func connect() throws {
        let observer = try Observing(format: "text")
        let client = try BrokerProgram.run(["compare", "--connect", observer.path, "-m", "hi"])
        #expect(client.status == 0, "\(client.errors)")
        let ids = (CurrentProcess.userID, CurrentProcess.groupID)
        #expect(try observer.line() == "connection 1")
        #expect(try observer.line()?.hasPrefix("  process id  ") == true)
        #expect(try observer.line()?.hasPrefix("  user id     \(ids.0)") == true)
        #expect(try observer.line() == "  group id    \(ids.1)")
        #expect(try observer.line() == "message on connection 1, 2 bytes: hi")
        #expect(try observer.line()?.hasPrefix("              connection  ") == true)
    }

    @Test("text marks each id that differs", .enabled(if: isRoot))
    func marks() throws {
        let observer = try Observing(format: "text")
        let client = try Companion(PythonClient.command(observer.path, "drop"))
        try client.lines(upTo: "done")
        try client.endInput()
        client.wait()
        var lines: [String] = []
        while let line = try observer.line(), line != "connection 1 closed" { lines.append(line) }
        let marked = lines.filter { $0.hasSuffix("<- differs") }
        #expect(marked.count == 2)
        #expect(marked.first?.hasPrefix("  user id") == true)
        #expect(marked.last?.hasPrefix("  group id") == true)
    }

    @Test("a control sequence in a message does not reach the terminal")
    func escapes() throws {
        let observer = try Observing(format: "text")
        _ = try BrokerProgram.run(["compare", "--connect", observer.path, "-m", "\u{1B}[2J"])
        var line = try observer.line()
        while let text = line, !text.hasPrefix("message") { line = try observer.line() }
        #expect(line == "message on connection 1, 4 bytes: \\x1b[2J")
    }

    @Test("nobody listens: status 69, and the path is named")
    func nobody() throws {
        let result = try BrokerProgram.run(["compare", "--connect", "/tmp/no-such-socket"])
        #expect(result.status == 69)
        #expect(result.errors.contains("/tmp/no-such-socket"))
    }
}
