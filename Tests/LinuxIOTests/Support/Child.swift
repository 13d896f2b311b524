import Foundation
import LinuxIO

/// A Python program run as a child: the actor whose own word on its pid and ids is the truth
/// that tests compare with.
///
/// Standard input is a socket (`s` in the program) or a pipe for `tell`; `say` prints a line.
final class Child {
    private let process = Process()
    private let output = Pipe()
    private let commands = Pipe()

    private static let prelude = """
        import array, os, select, socket, struct, sys
        def say(*words): print(*words, flush=True)
        def me(): say(os.getpid(), os.getuid(), os.getgid())
        def connect(path):
            c = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            c.connect(path)
            return c
        def pass_on(c, text, numbers):
            c.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))])
        def say_whether_closed(reader):
            ready, _, _ = select.select([reader], [], [], 30)
            say("closed" if ready and os.read(reader, 1) == b"" else "leaked")

        """

    /// With a socket as `s`.
    init(_ program: String, socket: borrowing OwnedDescriptor) throws {
        process.standardInput = FileHandle(
            fileDescriptor: socket.rawValue, closeOnDealloc: false)
        try start("s = socket.socket(fileno=0)\ns.setblocking(True)\n" + program)
    }

    /// With a pipe as standard input.
    init(_ program: String, through launcher: [String] = []) throws {
        process.standardInput = commands
        try start(program, through: launcher)
    }

    private func start(_ program: String, through launcher: [String] = []) throws {
        let python = ["/usr/bin/python3", "-c", Child.prelude + program]
        let command = launcher + python
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        process.standardOutput = output
        try process.run()
    }

    /// The next line it prints.
    func line() throws -> String {
        var bytes: [UInt8] = []
        while let byte = try output.fileHandleForReading.read(upToCount: 1)?.first {
            if byte == UInt8(ascii: "\n") { break }
            bytes.append(byte)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The next line, as the numbers of `me()`.
    func ids() throws -> PacketCredentials {
        let words = try line().split(separator: " ")
        guard words.count == 3, let pid = Int32(words[0]), let uid = UInt32(words[1]),
            let gid = UInt32(words[2])
        else { throw Malfunction(what: "the child printed \(words)") }
        return PacketCredentials(pid: pid, uid: uid, gid: gid)
    }

    func tell(_ line: String) throws {
        try commands.fileHandleForWriting.write(contentsOf: Data((line + "\n").utf8))
    }

    /// Waits until it has exited and was reaped.
    func finish() throws {
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Malfunction(what: "the child exited with \(process.terminationStatus)")
        }
    }
}

struct Malfunction: Error {
    let what: String
}
