import CLinux
import Glibc
import SystemPackage

/// Why a stream cannot be opened: the name is not known, or the kernel's reason.
public struct StreamError: Error, Equatable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}

/// Begins to connect; the descriptor is writable when that has come to an end, and
/// `connectError` then tells how.
///
/// The corresponding C functions are `socket` and `connect`.
public func connectStream(to target: StreamTarget) throws(StreamError) -> OwnedDescriptor {
    do throws(KernelError) {
        switch target {
        case .tcp(var address):
            return OwnedDescriptor(
                adopting: try kernelTry("connect") { unsafe clinux_tcp_connect(&address.raw) })
        case .unix(let path):
            let socket = try openUnixStream()
            let number = socket.rawValue
            try kernelTry("connect") { unsafe clinux_connect_path(number, path) }
            return socket
        }
    } catch {
        throw StreamError("\(target): \(error)")
    }
}

/// What became of a connect that went on in the background; nil: it is connected.
///
/// The corresponding C function is `getsockopt` with `SO_ERROR`.
public func connectError(_ fd: borrowing OwnedDescriptor) -> KernelError? {
    guard let number = try? SocketOptions.get(fd.rawValue, SO_ERROR, "getsockopt SO_ERROR")
    else { return KernelError(call: "connect", errno: .socketNotConnected) }
    return number == 0 ? nil : KernelError(call: "connect", errno: Errno(rawValue: number))
}

/// Sends small pieces at once: batching is the sender's business.
///
/// The corresponding C function is `setsockopt` with `TCP_NODELAY`.
public func disableDelay(_ fd: borrowing OwnedDescriptor) {
    _ = clinux_tcp_no_delay(fd.rawValue)
}

private func openUnixStream() throws(KernelError) -> OwnedDescriptor {
    OwnedDescriptor(
        adopting: try kernelTry("socket") {
            socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | socketFlags, 0)
        })
}

/// A listening stream socket: TCP, or a path that its owner alone may connect to.
public struct StreamListener: ~Copyable, Sendable {
    /// Readable while a connection waits.
    public let descriptor: OwnedDescriptor
    /// The path and its lock; none for TCP.
    private let claim: SocketPath?
    public let isTCP: Bool

    /// - Parameter sharesPort: TCP: take the port even if a listener has it that shares it, see
    ///   `setSharesPort`.
    public init(
        _ address: StreamAddress, backlog: Int32, sharesPort: Bool = false
    ) throws(StreamError) {
        switch address {
        case .tcp(let host, let port):
            descriptor = try StreamListener.listen(
                at: host, port, backlog: backlog, sharesPort: sharesPort)
            claim = nil
            isTCP = true
        case .unix(let path):
            do throws(SocketPathError) {
                let path = try SocketPath(claiming: path)
                descriptor = try StreamListener.listen(on: path, backlog: backlog)
                claim = consume path
                isTCP = false
            } catch {
                throw StreamError(error.description)
            }
        }
    }

    /// At the first of the addresses of a name that can be listened at.
    private static func listen(
        at host: String, _ port: UInt16, backlog: Int32, sharesPort: Bool
    ) throws(StreamError) -> OwnedDescriptor {
        let found = try StreamTarget.lookUp(host, port, flags: AI_PASSIVE)
        var failure = StreamError("\(host): it has no address")
        for target in found {
            guard case .tcp(var address) = target else { continue }
            do throws(KernelError) {
                return OwnedDescriptor(
                    adopting: try kernelTry("listen") {
                        unsafe clinux_tcp_listen(&address.raw, backlog, sharesPort ? 1 : 0)
                    })
            } catch {
                let place = StreamAddress.tcp(host: host, port: port)
                failure = StreamError("\(place): \(error)")
            }
        }
        throw failure
    }

    private static func listen(
        on claim: borrowing SocketPath, backlog: Int32
    ) throws(SocketPathError) -> OwnedDescriptor {
        let address = claim.directory.address
        return try at(claim.directory.path) { () throws(KernelError) in
            let socket = try openUnixStream()
            let number = socket.rawValue
            // The mode of the inode that bind will make.
            try kernelTry("fchmod") { fchmod(number, 0o600) }
            try kernelTry("bind") { unsafe clinux_bind_path(number, address) }
            try kernelTry("listen") { Glibc.listen(number, backlog) }
            return socket
        }
    }

    /// Lets another listener take the TCP port of this one, or no more: at an address that is the
    /// same or contains the other, the kernel refuses that otherwise. So one can be replaced
    /// without a moment in which nobody listens. The kernel lets nobody but the same user do it.
    ///
    /// The corresponding C function is `setsockopt` with `SO_REUSEPORT`.
    public func setSharesPort(_ isShared: Bool) {
        _ = clinux_tcp_share_port(descriptor.rawValue, isShared ? 1 : 0)
    }

    /// The TCP port, also where 0 asked for any.
    public var port: UInt16? {
        let port = clinux_tcp_port(descriptor.rawValue)
        return port > 0 ? UInt16(port) : nil
    }

    /// Takes the next waiting connection.
    ///
    /// The corresponding C function is `accept4` (`SOCK_NONBLOCK | SOCK_CLOEXEC`).
    public func accept() -> AcceptOutcome {
        let number = descriptor.rawValue
        let result = kernelCall("accept4") { clinux_accept4(number, socketFlags) }
        switch result {
        case .success(let accepted): return .connection(OwnedDescriptor(adopting: accepted))
        case .failure(let error): return SeqpacketListener.outcome(of: error)
        }
    }

    /// Unlinks the path, if there is one.
    public func removePath() {
        switch claim {
        case .none: return
        case .some(let claim):
            try? claim.directory.unlink(claim.directory.name)
            try? claim.removeLock()
        }
    }
}

/// What became of bytes on a stream.
public enum StreamOutcome: Equatable, Sendable {
    /// This many, 1 or more.
    case moved(Int)
    case wouldBlock
    /// The peer has ended its side, or is gone.
    case ended
    case failed(KernelError)

    fileprivate init(_ result: Result<Int, KernelError>) {
        switch result {
        case .success(0): self = .ended
        case .success(let count): self = .moved(count)
        case .failure(let error):
            switch error.errno {
            case .wouldBlock: self = .wouldBlock
            case .brokenPipe, .connectionReset, .connectionAbort: self = .ended
            default: self = .failed(error)
            }
        }
    }
}

/// Sends what the kernel takes.
///
/// The corresponding C function is `send` (`MSG_DONTWAIT | MSG_NOSIGNAL`).
public func sendStream(to fd: borrowing OwnedDescriptor, _ bytes: Span<UInt8>) -> StreamOutcome {
    precondition(!bytes.isEmpty, "nothing to send")
    let number = fd.rawValue
    let flags = sendFlags
    return StreamOutcome(
        unsafe bytes.withUnsafeBytes { bytes in
            kernelCall("send") { unsafe send(number, bytes.baseAddress, bytes.count, flags) }
        })
}

/// Reads what is there, as far as there is room.
///
/// The corresponding C function is `recv` (`MSG_DONTWAIT`).
public func receiveStream(
    from fd: borrowing OwnedDescriptor, into room: inout MutableSpan<UInt8>
) -> StreamOutcome {
    precondition(!room.isEmpty, "no room to read into")
    let number = fd.rawValue
    return StreamOutcome(
        unsafe room.withUnsafeMutableBytes { room in
            kernelCall("recv") {
                unsafe recv(number, room.baseAddress, room.count, Int32(MSG_DONTWAIT))
            }
        })
}

/// Bytes that have arrived on a stream and were not used up. Its room is what a peer can make
/// us hold. Invariant: `0 ≤ start ≤ end ≤ storage.count`.
public struct StreamBuffer: ~Copyable, Sendable {
    private var storage: [UInt8]
    private var start = 0
    private var end = 0

    public init(capacityBytes: Int) {
        precondition(capacityBytes > 0)
        storage = Self.zeros(count: capacityBytes)
    }

    /// By `memset`: a listener makes one for each stranger, also in builds without optimisation.
    private static func zeros(count: Int) -> [UInt8] {
        unsafe Array(unsafeUninitializedCapacity: count) { buffer, initializedCount in
            unsafe buffer.baseAddress.map { base in _ = unsafe memset(base, 0, count) }
            initializedCount = count
        }
    }

    public var count: Int { end - start }
    public var isFull: Bool { count == storage.count }
    public var capacityBytes: Int { storage.count }

    /// What has arrived, oldest first.
    public var bytes: Span<UInt8> {
        @_lifetime(borrow self)
        borrowing get { storage.span.extracting(start..<end) }
    }

    /// Makes room for more.
    public mutating func grow(toBytes capacity: Int) {
        guard capacity > storage.count else { return }
        var larger = Self.zeros(count: capacity)
        unsafe larger.withUnsafeMutableBytes { target in
            unsafe storage.withUnsafeBytes { unsafe target.copyMemory(from: $0) }
        }
        storage = larger
    }

    public mutating func consume(_ count: Int) {
        precondition(count >= 0 && count <= self.count)
        start += count
        if start == end {
            start = 0
            end = 0
        }
    }

    /// Reads what is there, as far as there is room.
    public mutating func receive(from fd: borrowing OwnedDescriptor) -> StreamOutcome {
        var outcome = StreamOutcome.wouldBlock
        fill { room in
            outcome = receiveStream(from: fd, into: &room)
            if case .moved(let count) = outcome { return count }
            return 0
        }
        return outcome
    }

    /// Lets `write` have the room there is, and takes as many bytes as it says it has written.
    public mutating func fill(_ write: (inout MutableSpan<UInt8>) -> Int) {
        precondition(!isFull, "no room to read into")
        if start > 0 && storage.count - end < storage.count / 2 { compact() }
        let free = end..<storage.count
        var all = storage.mutableSpan
        var room = all._mutatingExtracting(free)
        let count = write(&room)
        precondition((0...free.count).contains(count))
        end += count
    }

    private mutating func compact() {
        let count = count
        unsafe storage.withUnsafeMutableBytes { bytes in
            unsafe bytes.baseAddress.map { base in
                _ = unsafe memmove(base, base + start, count)
            }
        }
        start = 0
        end = count
    }
}
