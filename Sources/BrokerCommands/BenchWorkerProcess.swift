import Foundation
import LinuxIO

/// A publisher or subscriber of the benchmark, seen from the process that runs it: it says
/// `ready`, waits for `go` if it publishes, and prints its result as one line of JSON.
struct BenchWorkerProcess {
    static let ownExecutable = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()

    private let process = Process()
    private let input = Pipe()
    private let output: WorkerOutput

    init(_ arguments: [String]) throws {
        let pipe = Pipe()
        output = WorkerOutput(pipe.fileHandleForReading)
        process.executableURL = Self.ownExecutable
        process.arguments = ["bench-worker"] + arguments
        process.standardInput = input
        process.standardOutput = pipe
        try process.run()
        // Only the child writes: otherwise its death would not end our reading.
        try pipe.fileHandleForWriting.close()
    }

    func waitUntilReady() throws {
        guard let line = output.next() else { throw died() }
        if line != "ready" { _ = try decode(line) }
    }

    func go() throws {
        try input.fileHandleForWriting.write(contentsOf: Data("go\n".utf8))
    }

    func result() throws -> BenchResult {
        guard let line = output.next() else { throw died() }
        process.waitUntilExit()
        return try decode(line)
    }

    private func decode(_ line: String) throws -> BenchResult {
        let result = try JSONDecoder().decode(BenchResult.self, from: Data(line.utf8))
        if let failure = result.failure { throw CommandFailure(.failure, failure) }
        return result
    }

    private func died() -> CommandFailure {
        process.waitUntilExit()
        let role = process.arguments?.dropFirst().first ?? ""
        return CommandFailure(
            .failure, "the \(role) worker ended early with status \(process.terminationStatus)")
    }
}

/// Lines from a pipe, waiting for each.
private final class WorkerOutput {
    private let handle: FileHandle
    private var buffer = Data()

    init(_ handle: FileHandle) {
        self.handle = handle
    }

    func next() -> String? {
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: buffer[..<end], as: UTF8.self)
                buffer.removeSubrange(...end)
                return line
            }
            // Not `read(upToCount:)`, which waits until it has all of them.
            let more = handle.availableData
            if more.isEmpty { return nil }
            buffer.append(more)
        }
    }
}
