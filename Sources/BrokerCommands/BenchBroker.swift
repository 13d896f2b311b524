import Foundation
import LinuxIO
import UnixSignals

/// The broker that is measured: one that runs already, or one started for the time.
enum BenchBroker {
    static func withBroker<Value>(
        at socketPath: String?, _ body: (String) throws -> Value
    ) throws -> Value {
        if let socketPath { return try body(socketPath) }
        return try withDirectory { directory in
            let socket = directory.appendingPathComponent("broker.sock").path
            let broker = try start(at: socket)
            defer { stop(broker) }
            return try body(socket)
        }
    }

    /// A folder for what the measured brokers need, which others may not enter.
    private static let directory = FileManager.default.temporaryDirectory
        .appendingPathComponent("broker-bench-\(CurrentProcess.pid)")

    /// Ends this process at SIGINT, SIGTERM or SIGHUP, and leaves nothing in the file system.
    /// Everything that is measured ends with us, by itself.
    static func endOnSignal() async {
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
        Task.detached {
            for await signal in signals {
                try? FileManager.default.removeItem(at: directory)
                CurrentProcess.exit(status: 128 + signal.rawValue)
            }
        }
    }

    static func withDirectory<Value>(_ body: (URL) throws -> Value) throws -> Value {
        do {
            try FileManager.default.createDirectory(
                at: directory, withIntermediateDirectories: false,
                attributes: [.posixPermissions: 0o700])
        } catch {
            throw CommandFailure(
                .failure,
                "cannot make the directory \(directory.path): name one that you may write to with "
                    + "TMPDIR")
        }
        defer { try? FileManager.default.removeItem(at: directory) }
        return try body(directory)
    }

    /// Starts one, as a process of its own.
    ///
    /// - Parameter options: further ones of `broker serve`.
    /// - Returns: when its socket is there.
    static func start(at socket: String, _ options: [String] = []) throws -> Process {
        let broker = Process()
        broker.executableURL = BenchWorkerProcess.ownExecutable
        broker.arguments =
            [
                "serve", "--socket", socket, "--no-acl", "--log-level", "error",
                "--end-with-parent",
            ] + options
        broker.standardInput = FileHandle.nullDevice
        broker.standardError = FileHandle.nullDevice
        try broker.run()
        for _ in 0..<200 where !FileManager.default.fileExists(atPath: socket) {
            guard broker.isRunning else { break }
            Thread.sleep(forTimeInterval: 0.025)
        }
        guard broker.isRunning, FileManager.default.fileExists(atPath: socket) else {
            throw CommandFailure(
                .brokerUnavailable,
                "a broker to be measured did not start; try `broker serve` by hand")
        }
        return broker
    }

    static func stop(_ broker: Process) {
        broker.terminate()
        broker.waitUntilExit()
    }
}
