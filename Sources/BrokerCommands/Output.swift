import LinuxIO
import SystemPackage

/// What a command prints on standard output.
struct Output {
    private let stream = ByteStream.standardOutput

    var isTerminal: Bool { stream.isTerminal }

    /// - Throws: `OutputClosed` when nobody reads any more (`broker sub … | head`).
    func write(_ bytes: Span<UInt8>) throws {
        do throws(KernelError) {
            try stream.write(bytes)
        } catch {
            if error.errno == .brokenPipe { throw OutputClosed() }
            throw CommandFailure(.failure, "cannot write to standard output: \(error)")
        }
    }

    func write(_ text: String) throws {
        try write(Array(text.utf8).span)
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
