import Foundation
import LinuxIO

/// A program under test: started, fed, read and ended.
public final class ChildProcess: @unchecked Sendable {
    // Unchecked Sendable: Process is used from one thread at a time; output is under a lock.
    private let process = Process()
    private let input = Pipe()
    private let output = Lock(Data())
    private let errors = Lock(Data())
    private let readers = DispatchGroup()

    /// Starts `command` with its arguments; the first is a path or a name in PATH.
    public init(_ command: [String], environment: [String: String] = [:]) throws {
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let (outputPipe, errorPipe) = (Pipe(), Pipe())
        process.standardInput = input
        process.standardOutput = outputPipe
        process.standardError = errorPipe
        try process.run()
        drain(outputPipe) { data in self.output.withLock { $0.append(data) } }
        drain(errorPipe) { data in self.errors.withLock { $0.append(data) } }
    }

    /// Pids of `env` and of what it became are the same: it execs.
    public var pid: Int32 { process.processIdentifier }
    public var isRunning: Bool { process.isRunning }

    public var outputText: String {
        String(decoding: output.withLock { $0 }, as: UTF8.self)
    }

    public var errorText: String {
        String(decoding: errors.withLock { $0 }, as: UTF8.self)
    }

    public var outputLines: [String] {
        outputText.split(separator: "\n").map(String.init)
    }

    public func write(_ text: String) throws {
        try input.fileHandleForWriting.write(contentsOf: Data(text.utf8))
    }

    public func closeInput() {
        try? input.fileHandleForWriting.close()
    }

    public func send(signal: Int32) {
        kill(process.processIdentifier, signal)
    }

    /// Waits until it has ended and everything it printed has been read.
    ///
    /// - Returns: its exit status; nil if it had to be killed after `seconds`.
    @discardableResult
    public func wait(seconds: Double = 30) -> Int32? {
        let limit = Date().addingTimeInterval(seconds)
        while process.isRunning && Date() < limit { Thread.sleep(forTimeInterval: 0.01) }
        guard !process.isRunning else {
            send(signal: SIGKILL)
            process.waitUntilExit()
            return nil
        }
        process.waitUntilExit()
        _ = readers.wait(timeout: .now() + 5)
        return process.terminationStatus
    }

    /// Waits until `condition` holds for what it has printed.
    public func waitForOutput(
        seconds: Double = 30, _ condition: (ChildProcess) -> Bool
    ) -> Bool {
        let limit = Date().addingTimeInterval(seconds)
        while Date() < limit {
            if condition(self) { return true }
            if !process.isRunning { break }
            Thread.sleep(forTimeInterval: 0.01)
        }
        _ = readers.wait(timeout: .now() + 1)
        return condition(self)
    }

    deinit {
        if process.isRunning { send(signal: SIGKILL) }
    }

    private func drain(_ pipe: Pipe, _ append: @escaping @Sendable (Data) -> Void) {
        readers.enter()
        let handle = pipe.fileHandleForReading
        let readers = readers
        Thread.detachNewThread {
            while true {
                let data = handle.availableData
                if data.isEmpty { break }
                append(data)
            }
            readers.leave()
        }
    }
}
