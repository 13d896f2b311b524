import CLinux
import Glibc
import SystemPackage

/// A program that was started to do one thing: we hold both ends of its standard streams.
///
/// It is killed, if it still runs, when the last reference goes away.
public final class ActorProcess {
    public let pid: Int32
    private var input: OwnedDescriptor?
    private let output: OwnedDescriptor
    private var unread: [UInt8] = []
    private var outputEnded = false
    private var status: Int32?

    /// The path of the running program itself, whatever its file is called by now.
    public static let ownProgram = "/proc/self/exe"

    /// Starts a program with pipes as its standard input and output. Standard error is ours.
    ///
    /// - Parameter extra: a descriptor that it shall find as number 3.
    ///
    /// The corresponding C function is `posix_spawn`.
    public convenience init(
        path: String, arguments: [String], extra: borrowing OwnedDescriptor
    ) throws(KernelError) {
        try self.init(path: path, arguments: arguments, extraNumber: extra.rawValue)
    }

    public convenience init(path: String, arguments: [String]) throws(KernelError) {
        try self.init(path: path, arguments: arguments, extraNumber: -1)
    }

    private init(path: String, arguments: [String], extraNumber: Int32) throws(KernelError) {
        let toActor = try PipeEnds()
        let fromActor = try PipeEnds()
        let (theirInput, theirOutput) = (toActor.reading.rawValue, fromActor.writing.rawValue)
        pid = try unsafe withArguments([path] + arguments) { arguments throws(KernelError) in
            try kernelTry("posix_spawn") {
                unsafe clinux_actor_spawn(
                    path, arguments, theirInput, theirOutput, extraNumber)
            }
        }
        input = toActor.takeWriting()
        output = fromActor.takeReading()
    }

    deinit {
        input = nil
        if status == nil {
            kill(pid, SIGKILL)
            _ = clinux_actor_wait(pid)
        }
    }

    /// The next line of its output; nil after the last one.
    ///
    /// - Throws: ETIMEDOUT if none comes in time.
    public func line(timeoutMilliseconds: Int32) throws(KernelError) -> String? {
        let deadline = Clock.monotonicNanoseconds() + UInt64(timeoutMilliseconds) * 1_000_000
        while true {
            if let end = unread.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: unread[..<end], as: UTF8.self)
                unread.removeFirst(end + 1)
                return line
            }
            if outputEnded { return nil }
            let now = Clock.monotonicNanoseconds()
            guard now < deadline else { throw KernelError(call: "read", errno: .timedOut) }
            let left = Int32(clamping: (deadline - now) / 1_000_000 + 1)
            guard try waitUntilReadable(output, timeoutMilliseconds: left) else { continue }
            try readMore()
        }
    }

    private func readMore() throws(KernelError) {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let number = output.rawValue
        let count = try kernelTry("read") { unsafe read(number, &bytes, bytes.count) }
        outputEnded = count == 0
        unread += bytes[..<count]
    }

    /// Writes a line to its standard input. One that has ended meanwhile is no error.
    public func tell(_ line: String) {
        guard let number = input?.rawValue else { return }
        let bytes = Array((line + "\n").utf8)
        _ = unsafe write(number, bytes, bytes.count)
    }

    /// Ends its standard input.
    public func endInput() {
        input = nil
    }

    /// The path that the running program was started from.
    ///
    /// The corresponding C function is `readlink` of `/proc/self/exe`.
    public static func ownPath() throws(KernelError) -> String {
        var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = try kernelTry("readlink") {
            unsafe readlink(ownProgram, &bytes, bytes.count)
        }
        return String(decoding: bytes[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Waits until it has exited and reaps it. Its exit status, or 128 and the signal.
    @discardableResult
    public func wait() -> Int32 {
        if let status { return status }
        let result = clinux_actor_wait(pid)
        status = result
        return result
    }

    /// Whether a program of that path could be started by us.
    ///
    /// The corresponding C function is `access` with `X_OK`.
    public static func canStart(_ path: String) -> Bool {
        unsafe access(path, X_OK) == 0
    }
}

/// Waits for input, or the end of it; false when the time is over.
///
/// The corresponding C function is `poll`.
public func waitUntilReadable(
    _ fd: borrowing OwnedDescriptor, timeoutMilliseconds: Int32
) throws(KernelError) -> Bool {
    var request = pollfd(fd: fd.rawValue, events: Int16(POLLIN), revents: 0)
    return try kernelTry("poll") { unsafe poll(&request, 1, timeoutMilliseconds) } > 0
}

/// A pipe, close-on-exec.
private struct PipeEnds: ~Copyable {
    let reading: OwnedDescriptor
    let writing: OwnedDescriptor

    /// The corresponding C function is `pipe2` (`O_CLOEXEC`).
    init() throws(KernelError) {
        var numbers: [Int32] = [-1, -1]
        try kernelTry("pipe2") { unsafe clinux_actor_pipe(&numbers) }
        reading = OwnedDescriptor(adopting: numbers[0])
        writing = OwnedDescriptor(adopting: numbers[1])
    }

    consuming func takeReading() -> OwnedDescriptor { reading }
    consuming func takeWriting() -> OwnedDescriptor { writing }
}

/// The strings as a C program gets them, for the time of `body`.
func withArguments<Value>(
    _ arguments: [String],
    _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) throws(KernelError) -> Value
) throws(KernelError) -> Value {
    var pointers = unsafe arguments.map { unsafe strdup($0) }
    unsafe pointers.append(nil)
    defer {
        for index in unsafe pointers.indices { unsafe free(pointers[index]) }
    }
    return unsafe try body(&pointers)
}
