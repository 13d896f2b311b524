import BrokerClient
import LinuxIO

/// Reads payloads for `broker pub`. Memory is bounded by what one message may hold.
enum PublishSource {
    case single([UInt8])
    case lines

    /// One byte more than any broker takes, so that "too large" shows.
    static let payloadBytesMax = Limits.packetBytesMax
    private static let chunkBytes = 65_536

    /// All of standard input.
    static func readStandardInput() throws(CommandFailure) -> [UInt8] {
        let name = "standard input"
        var bytes: [UInt8] = []
        do throws(KernelError) {
            while bytes.count <= payloadBytesMax {
                let count = try ByteStream.standardInput.read(
                    appendingTo: &bytes, bytesMax: chunkBytes)
                if count == 0 { return bytes }
            }
        } catch {
            throw CommandFailure(.failure, "cannot read \(name): \(error)")
        }
        throw tooLarge(name)
    }

    /// A whole file; `-` is standard input.
    static func readFile(_ path: String) throws(CommandFailure) -> [UInt8] {
        if path == "-" { return try readStandardInput() }
        let bytes: [UInt8]
        do throws(KernelError) {
            bytes = try readSmallFile(path, maxBytes: payloadBytesMax + 1)
        } catch {
            throw CommandFailure(.failure, "cannot read \(path): \(error)")
        }
        guard bytes.count <= payloadBytesMax else { throw tooLarge(path) }
        return bytes
    }

    fileprivate static func tooLarge(_ name: String) -> CommandFailure {
        CommandFailure(
            .failure,
            "\(name) has more than \(payloadBytesMax) bytes, the most that a message can have: "
                + "split it, or publish where to find it")
    }
}

/// Standard input by lines, without their ends. A last line may lack its end.
/// It never waits by itself: that is up to whoever calls `fill`.
///
/// Invariant: the bytes from `start` on are unread, and have no line end before `scanned`.
struct LineReader {
    private var bytes: [UInt8] = []
    private var start = 0
    private var scanned = 0
    private var isAtEnd = false
    private var lineNumber = 1
    private let read: (inout [UInt8]) throws(KernelError) -> Int

    init() {
        self.init { bytes throws(KernelError) in
            try ByteStream.standardInput.read(appendingTo: &bytes, bytesMax: 65_536)
        }
    }

    /// - Parameter read: appends more bytes; returns 0 at the end.
    init(read: @escaping (inout [UInt8]) throws(KernelError) -> Int) {
        self.read = read
    }

    enum Step {
        /// `span` is a line.
        case line
        /// More has to be read first.
        case needsInput
        case end
    }

    /// The line that `next` has found.
    private(set) var line: Range<Int> = 0..<0

    var span: Span<UInt8> {
        @_lifetime(borrow self)
        get { bytes.span.extracting(line) }
    }

    mutating func next() -> Step {
        while scanned < bytes.count {
            if bytes[scanned] == 0x0A {
                line = start..<scanned
                scanned += 1
                start = scanned
                lineNumber += 1
                return .line
            }
            scanned += 1
        }
        guard isAtEnd else { return .needsInput }
        line = start..<bytes.count
        start = bytes.count
        return line.isEmpty ? .end : .line
    }

    /// Reads once.
    mutating func fill() throws(CommandFailure) {
        bytes.removeSubrange(..<start)
        scanned -= start
        start = 0
        guard bytes.count <= PublishSource.payloadBytesMax else {
            throw PublishSource.tooLarge("line \(lineNumber) of standard input")
        }
        do throws(KernelError) {
            isAtEnd = try read(&bytes) == 0
        } catch {
            throw CommandFailure(.failure, "cannot read standard input: \(error)")
        }
    }
}
