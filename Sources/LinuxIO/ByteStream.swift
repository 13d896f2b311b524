import CLinux
import Glibc
import SystemPackage

/// A descriptor of bytes that somebody else opened and closes: the standard streams.
public struct ByteStream: Sendable {
    public static let standardInput = ByteStream(number: STDIN_FILENO)
    public static let standardOutput = ByteStream(number: STDOUT_FILENO)
    public static let standardError = ByteStream(number: STDERR_FILENO)

    private let number: Int32

    private init(number: Int32) {
        self.number = number
    }

    public var isTerminal: Bool { LinuxIO.isTerminal(number) }

    /// Waits for bytes and appends them, at most `bytesMax`, also on a stream that whoever
    /// opened it has made non-blocking.
    ///
    /// The corresponding C function is `read`.
    ///
    /// - Returns: how many there were; 0 at the end.
    public func read(
        appendingTo bytes: inout [UInt8], bytesMax: Int
    ) throws(KernelError) -> Int {
        precondition(bytesMax > 0, "1 byte or more")
        let number = number
        let start = bytes.count
        bytes.append(contentsOf: repeatElement(0, count: bytesMax))
        while true {
            let outcome = kernelCall("read", isOurs: false) {
                unsafe bytes.withUnsafeMutableBytes { all in
                    let room = unsafe UnsafeMutableRawBufferPointer(rebasing: all[start...])
                    return unsafe Glibc.read(number, room.baseAddress, room.count)
                }
            }
            switch outcome {
            case .success(let count):
                bytes.removeLast(bytesMax - count)
                return count
            case .failure(let error):
                guard error.errno == .wouldBlock else {
                    bytes.removeLast(bytesMax)
                    throw error
                }
                waitUntilReady(POLLIN)
            }
        }
    }

    /// Waits for bytes or the end, but no longer than until `event` is signalled.
    ///
    /// The corresponding C function is `poll`. Its errors show again at the next `read`.
    ///
    /// - Returns: false if it was signalled.
    public func waitUntilReadable(unless event: borrowing EventFD) -> Bool {
        waitUntilReady(POLLIN, unless: event)
    }

    private func waitUntilReady(_ events: Int32, unless event: borrowing EventFD) -> Bool {
        var requests = [
            pollfd(fd: number, events: Int16(events), revents: 0),
            pollfd(fd: event.descriptor.rawValue, events: Int16(POLLIN), revents: 0),
        ]
        _ = kernelCall("poll") { unsafe poll(&requests, 2, -1) }
        return requests[1].revents == 0
    }

    /// Writes everything. Whoever opened the stream may have made it non-blocking: then this
    /// waits for room.
    ///
    /// The corresponding C function is `write`.
    public func write(_ bytes: Span<UInt8>) throws(KernelError) {
        let number = number
        var written = 0
        while written < bytes.count {
            let outcome = kernelCall("write", isOurs: false) {
                unsafe bytes.extracting(written...).withUnsafeBytes { rest in
                    unsafe Glibc.write(number, rest.baseAddress, rest.count)
                }
            }
            switch outcome {
            case .success(let count): written += count
            case .failure(let error):
                guard error.errno == .wouldBlock else { throw error }
                waitUntilReady(POLLOUT)
            }
        }
    }

    /// Whether a few hundred bytes can be written without waiting for a reader.
    public var hasRoom: Bool { isReady(POLLOUT, timeoutMilliseconds: 0) }

    /// Columns of the terminal; nil if it is none, or does not say.
    ///
    /// The corresponding C function is `ioctl` with `TIOCGWINSZ`.
    public var terminalColumns: Int? {
        var size = winsize()
        guard unsafe ioctl(number, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else {
            return nil
        }
        return Int(size.ws_col)
    }

    /// Writes everything, but waits for a reader no longer than until `event` is signalled.
    ///
    /// - Returns: false if it was signalled first; some of the bytes may be written.
    public func write(
        _ bytes: Span<UInt8>, unless event: borrowing EventFD
    ) throws(KernelError) -> Bool {
        var written = 0
        while written < bytes.count {
            guard waitUntilReady(POLLOUT, unless: event) else { return false }
            // Where there is room for anything there is room for this: it does not wait.
            let end = min(written + Self.pieceBytes, bytes.count)
            try write(bytes.extracting(written..<end))
            written = end
        }
        return true
    }

    /// What a pipe takes at once (PIPE_BUF).
    private static let pieceBytes = 4_096

    /// Waits until nobody reads any more what is written to a pipe, socket or terminal; for ever
    /// on other streams.
    public func waitUntilUnread() {
        // Errors and hang-ups are told without being asked for.
        _ = isReady(0, timeoutMilliseconds: -1)
    }

    private func waitUntilReady(_ events: Int32) {
        _ = isReady(events, timeoutMilliseconds: -1)
    }

    /// The corresponding C function is `poll`. Its errors show again at the next call.
    private func isReady(_ events: Int32, timeoutMilliseconds: Int32) -> Bool {
        var request = pollfd(fd: number, events: Int16(events), revents: 0)
        let count = kernelCall("poll") { unsafe poll(&request, 1, timeoutMilliseconds) }
        return (try? count.get()) ?? 1 > 0
    }

    /// Opens /dev/null for each standard stream that this process was started without.
    /// Otherwise the next socket gets the number, and what is printed goes to the broker.
    ///
    /// The corresponding C functions are `fcntl` with `F_GETFD`, and `open`.
    public static func fillStandardStreams() {
        for number in STDIN_FILENO...STDERR_FILENO where fcntl(number, F_GETFD) == -1 {
            // The lowest free number is this one, as those below are open by now.
            _ = unsafe clinux_openat(AT_FDCWD, "/dev/null", O_RDWR, 0)
        }
    }
}
