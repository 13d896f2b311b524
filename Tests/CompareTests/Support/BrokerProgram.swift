import Foundation
import LinuxIO

/// The real `broker`, run as a person would run it.
enum BrokerProgram {
    struct Result {
        let status: Int32
        let output: String
        let errors: String
    }

    /// Beside the tests, where the build puts both; where other users are not let in, a copy
    /// that they can run.
    static let path: String = {
        let tests = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
        let built = tests.deletingLastPathComponent().appendingPathComponent("broker").path
        if !isRoot || isOpenToAll(built) { return built }
        do {
            try FileManager.default.copyItem(atPath: built, toPath: copy)
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: copy)
        } catch {
            preconditionFailure("no copy of \(built) for other users: \(error)")
        }
        atexit { try? FileManager.default.removeItem(atPath: BrokerProgram.copy) }
        return copy
    }()

    private static let copy = "/tmp/compare-broker-\(getpid())"

    private static func isOpenToAll(_ file: String) -> Bool {
        let command = asSomeUser + ["/usr/bin/test", "-x", file]
        let process = Process()
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }

    /// Runs it to its end, if need be through another program (`setpriv …`).
    static func run(
        _ arguments: [String], through launcher: [String] = [],
        environment: [String: String]? = nil
    ) throws -> Result {
        let command = launcher + [path] + arguments
        let process = Process()
        let (output, errors) = (Pipe(), Pipe())
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        if let environment { process.environment = environment }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        // The notes are few: they fit into a pipe while the output is read.
        let printed = try output.fileHandleForReading.readToEnd() ?? Data()
        let noted = try errors.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return Result(
            status: process.terminationStatus, output: String(decoding: printed, as: UTF8.self),
            errors: String(decoding: noted, as: UTF8.self))
    }
}

/// A program that runs beside a test: we read its lines and write to it.
final class Companion {
    private let process = Process()
    private let output = Pipe()
    private let input = Pipe()

    init(_ command: [String], errors: FileHandle = .standardError) throws {
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        process.standardInput = input
        process.standardOutput = output
        process.standardError = errors
        try process.run()
    }

    deinit {
        if process.isRunning {
            process.terminate()
            process.waitUntilExit()
        }
    }

    var pid: Int32 { process.processIdentifier }

    /// The next line it prints; nil at the end.
    func line() throws -> String? {
        var bytes: [UInt8] = []
        while let byte = try output.fileHandleForReading.read(upToCount: 1)?.first {
            if byte == UInt8(ascii: "\n") { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
    }

    /// Reads lines up to one that begins so, and returns all of them.
    @discardableResult
    func lines(upTo beginning: String) throws -> [String] {
        var lines: [String] = []
        while let line = try line() {
            lines.append(line)
            if line.hasPrefix(beginning) { return lines }
        }
        throw Malfunction(what: "no line '\(beginning)…' after \(lines)")
    }

    /// The lines that are left.
    func rest() throws -> [String] {
        var lines: [String] = []
        while let line = try line() { lines.append(line) }
        return lines
    }

    func tell(_ line: String) throws {
        try input.fileHandleForWriting.write(contentsOf: Data((line + "\n").utf8))
    }

    func endInput() throws {
        try input.fileHandleForWriting.close()
    }

    func stop() {
        process.terminate()
    }

    @discardableResult
    func wait() -> Int32 {
        process.waitUntilExit()
        return process.terminationStatus
    }
}

struct Malfunction: Error {
    let what: String
}

let isRoot = CurrentProcess.effectiveUserID == 0

/// A user without privilege that nobody is.
let someUser = "47001"
let asSomeUser = [
    "/usr/bin/setpriv", "--reuid=\(someUser)", "--regid=\(someUser)", "--clear-groups",
]
