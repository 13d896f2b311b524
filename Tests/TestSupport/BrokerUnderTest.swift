public import Foundation

/// A real broker, built with the tests, on a socket of its own.
public final class BrokerUnderTest {
    /// Everybody may enter it: for the socket and copies of programs.
    private let folder: TemporaryDirectory
    public var directory: URL { folder.url }
    public let socketPath: String
    public let process: ChildProcess

    /// The `broker` program beside the test program.
    public static let executable = URL(fileURLWithPath: "/proc/self/exe")
        .resolvingSymlinksInPath().deletingLastPathComponent().appendingPathComponent("broker")

    /// Starts `broker serve` and waits until it listens.
    ///
    /// - Parameters:
    ///   - prefix: a command that becomes what it is given, such as `ip netns exec`.
    ///   - owner: the uid that the prefix makes it run as, if it is another one.
    public init(
        _ arguments: [String] = ["--no-acl"], prefix: [String] = [], owner: Int? = nil,
        environment: [String: String] = [:]
    ) throws {
        let directory = try TemporaryDirectory(mode: 0o755)
        folder = directory
        if let owner {
            try FileManager.default.setAttributes(
                [.ownerAccountID: owner, .groupOwnerAccountID: owner], ofItemAtPath: directory.path)
        }
        socketPath = directory.path(of: "broker.sock")
        let program =
            owner == nil ? Self.executable.path : try Self.share(Self.executable, in: directory.url)
        process = try ChildProcess(
            prefix
                + [program, "serve", "--socket", socketPath, "--log-level", "debug"]
                + arguments, environment: environment)
        let sentence = "listening on \(socketPath);"
        guard process.waitForOutput(seconds: 30, { $0.errorText.contains(sentence) }) else {
            throw Failure(description: "the broker did not start: \(process.errorText)")
        }
    }

    public struct Failure: Error, CustomStringConvertible {
        public let description: String

        public init(description: String) {
            self.description = description
        }
    }

    /// A copy of a file that every user may read and execute.
    public func share(_ file: URL) throws -> String {
        try Self.share(file, in: directory)
    }

    private static func share(_ file: URL, in directory: URL) throws -> String {
        let copy = directory.appendingPathComponent(file.lastPathComponent)
        if !FileManager.default.fileExists(atPath: copy.path) {
            // By another process: a child that a test starts beside us would have the copy open
            // for writing, and then nobody may run it ("Text file busy").
            let install = try ChildProcess(["install", "-m", "755", file.path, copy.path])
            guard install.wait() == 0 else { throw Failure(description: install.errorText) }
        }
        return copy.path
    }

    /// Runs a `broker` command against this broker.
    public func run(_ arguments: [String], prefix: [String] = []) throws -> ChildProcess {
        try ChildProcess(
            prefix + [try share(Self.executable)] + arguments,
            environment: ["BROKER_SOCKET": socketPath])
    }

    /// Descriptors the broker has open.
    public var descriptorCount: Int {
        let entries = try? FileManager.default.contentsOfDirectory(
            atPath: "/proc/\(process.pid)/fd")
        return entries?.count ?? -1
    }

    /// The same once it has closed all connections but these: that a client has ended does not
    /// mean that the broker has heard of it.
    public func descriptorCount(connections: Int) -> Int {
        for _ in 0..<1_000 where connectionCount != connections {
            Thread.sleep(forTimeInterval: 0.01)
        }
        return descriptorCount
    }

    /// Connections of clients, as the kernel lists them: sockets with our path besides the one that
    /// listens.
    private var connectionCount: Int {
        let table = FileManager.default.contents(atPath: "/proc/\(process.pid)/net/unix") ?? Data()
        return String(decoding: table, as: UTF8.self).split(separator: "\n")
            .count { $0.hasSuffix(" " + socketPath) } - 1
    }

    /// Resident memory in KiB.
    public var residentKiB: Int {
        let status = (try? String(contentsOfFile: "/proc/\(process.pid)/status", encoding: .utf8))
        let line = status?.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return line.flatMap { $0.split(whereSeparator: \.isWhitespace).dropFirst().first }
            .flatMap { Int($0) } ?? -1
    }

    /// Stops it as a service manager would.
    ///
    /// - Returns: its exit status; nil if it had to be killed.
    @discardableResult
    public func stop() -> Int32? {
        process.send(signal: SIGTERM)
        return process.wait(seconds: 20)
    }

    deinit {
        if process.isRunning { stop() }
    }
}
