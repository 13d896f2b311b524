import LinuxIO
import SystemPackage

/// What a command prints on standard output.
struct Output {
    private let stream = ByteStream.standardOutput

    var isTerminal: Bool { stream.isTerminal }

    /// Waits until nobody reads any more, or the task is cancelled.
    func waitUntilUnread() async {
        let stream = stream
        let (unread, end) = AsyncStream.makeStream(of: Void.self)
        // Not joined: it may wait as long as the process lives.
        _ = SystemThread.start(name: "output") {
            stream.waitUntilUnread()
            end.finish()
        }
        for await _ in unread {}
    }

    /// - Throws: `OutputClosed` when nobody reads any more (`broker sub … | head`).
    func write(_ bytes: Span<UInt8>) throws {
        do throws(KernelError) {
            try stream.write(bytes)
        } catch {
            throw Self.failure(error)
        }
    }

    /// - Returns: false if the event was signalled before somebody read.
    /// - Throws: as above.
    func write(_ bytes: Span<UInt8>, unless event: borrowing EventFD) throws -> Bool {
        do throws(KernelError) {
            return try stream.write(bytes, unless: event)
        } catch {
            throw Self.failure(error)
        }
    }

    private static func failure(_ error: KernelError) -> any Error {
        if error.errno == .brokenPipe { return OutputClosed() }
        return CommandFailure(.failure, "cannot write to standard output: \(error)")
    }

    func write(_ text: String) throws {
        try write(Array(text.utf8).span)
    }

    /// Writes what has been done.
    ///
    /// - Parameter deed: the same in a few words: it is done though this cannot be written.
    func write(_ text: String, after deed: String) throws {
        do {
            try write(text)
        } catch let failure as CommandFailure {
            throw CommandFailure(failure.status, "\(failure.message); \(deed) all the same")
        }
    }
}

/// Nobody reads our output any more: the end, and no failure.
struct OutputClosed: Error {}

/// Notes to a person on standard error. What cannot be written there is lost.
struct Diagnostics: Sendable {
    /// As it is typed; empty for `broker` itself.
    let command: String
    private let stream = ByteStream.standardError

    init(command: String) {
        self.command = command
    }

    var isTerminal: Bool { stream.isTerminal }

    /// Whether a note can be written at once.
    var hasRoom: Bool { stream.hasRoom }

    func note(_ text: String) {
        let name = command.isEmpty ? "broker" : "broker \(command)"
        writeRaw("\(name): \(Printable.harmless(text))\n")
    }

    /// As it is: progress lines move the cursor.
    func writeRaw(_ text: String) {
        try? stream.write(Array(text.utf8).span)
    }
}

/// `1 rule`, `2 rules`.
func counted(_ count: Int, _ noun: String) -> String {
    "\(count) \(noun)\(count == 1 ? "" : "s")"
}
