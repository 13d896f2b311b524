import CLinux
import Glibc
import LinuxIO
import SystemPackage
import TestSupport
import Testing

/// Stream sockets as links use them: real ones, over loopback and paths.
@Suite("Stream sockets")
struct StreamSocketTests {
    @Test(
        "An address is what it says",
        arguments: [
            ("tcp://10.0.0.7:7447", "10.0.0.7", 7_447), ("tcp://[::1]:1", "::1", 1),
            ("tcp://hub.example:65535", "hub.example", 65_535),
        ])
    func tcpAddress(text: String, host: String, port: Int) throws {
        let address = try #require(StreamAddress(text))
        #expect(address == .tcp(host: host, port: UInt16(port)))
        #expect("\(address)" == text)
    }

    @Test(
        "What is no address is none",
        arguments: [
            "tcp://", "tcp://host", "tcp://:1", "tcp://host:65536", "tcp://host:x", "tcp://host:0",
            "tcp://host:+80", "tcp://host:-0", "tcp://host:080", "host:1",
            "tcp://a/b:1", "tcp://[::1:1", "unix:relative", "unix:", "",
        ])
    func noAddress(text: String) {
        #expect(StreamAddress(text) == nil)
    }

    @Test("Local is what does not leave the machine")
    func local() {
        for text in ["unix:/a", "tcp://127.3.2.1:1", "tcp://[::1]:1", "tcp://localhost:1"] {
            #expect(StreamAddress(text)?.isLocal == true, "\(text)")
        }
        for text in ["tcp://0.0.0.0:1", "tcp://128.0.0.1:1", "tcp://[::]:1", "tcp://hub:1"] {
            #expect(StreamAddress(text)?.isLocal == false, "\(text)")
        }
    }

    @Test("Numbers and paths need no name service, names do")
    func targets() throws {
        for (text, shown) in [
            ("tcp://127.0.0.1:9", "127.0.0.1"), ("tcp://[::1]:9", "::1"),
            ("unix:/a/b", "unix:/a/b"),
        ] {
            let address = try #require(StreamAddress(text))
            let target = try #require(StreamTarget(address))
            #expect("\(target)" == shown || "unix:\(target)" == shown)
        }
        #expect(StreamTarget(.tcp(host: "localhost", port: 9)) == nil)
        let found = try StreamTarget.lookUp(.tcp(host: "localhost", port: 9))
        #expect(found.map { "\($0)" }.contains { ["127.0.0.1", "::1"].contains($0) })
        do throws(StreamError) {
            _ = try StreamTarget.lookUp(.tcp(host: "no-such-host.invalid", port: 9))
            Issue.record("a name that cannot exist was found")
        } catch {
            #expect(error.description.hasPrefix("no-such-host.invalid: "))
        }
    }

    private func tcpPort(of listener: borrowing StreamListener) throws -> UInt16 {
        let port = listener.port
        return try #require(port)
    }

    /// Two ends of a connection.
    private struct Connection: ~Copyable {
        let near: OwnedDescriptor
        let far: OwnedDescriptor
    }

    private func connect(
        to address: StreamAddress, at listener: borrowing StreamListener
    ) throws -> Connection {
        let target = try #require(StreamTarget(address))
        let near = try connectStream(to: target)
        waitUntilReady(near.rawValue, Int16(POLLOUT))
        #expect(connectError(near) == nil)
        waitUntilReady(listener.descriptor.rawValue, Int16(POLLIN))
        guard case .connection(let accepted) = listener.accept() else {
            throw StreamError("nobody has connected")
        }
        return Connection(near: near, far: accepted)
    }

    private func expectExchange(_ connection: borrowing Connection) throws {
        let sent = [UInt8](0..<200)
        #expect(sendStream(to: connection.near, sent.span) == .moved(200))
        var buffer = StreamBuffer(capacityBytes: 128)
        waitUntilReady(connection.far.rawValue, Int16(POLLIN))
        #expect(buffer.receive(from: connection.far) == .moved(128))
        let isFull = buffer.isFull
        #expect(isFull)
        var arrived = (0..<100).map { buffer.bytes[$0] }
        buffer.consume(100)
        // What is left is moved to the front, so that there is room behind it.
        #expect(buffer.receive(from: connection.far) == .moved(72))
        arrived += (0..<buffer.count).map { buffer.bytes[$0] }
        #expect(arrived == sent)
        #expect(buffer.receive(from: connection.far) == .wouldBlock)
    }

    @Test("What goes in at one end of a TCP connection comes out at the other")
    func tcp() throws {
        let listener = try StreamListener(.tcp(host: "127.0.0.1", port: 0), backlog: 4)
        let port = try tcpPort(of: listener)
        let isTCP = listener.isTCP
        #expect(isTCP)
        let connection = try connect(to: .tcp(host: "127.0.0.1", port: port), at: listener)
        disableDelay(connection.near)
        try expectExchange(connection)
        guard case .wouldBlock = listener.accept() else {
            Issue.record("one connection was accepted twice")
            return
        }
    }

    @Test("A path is for its owner alone, and gone when it is removed")
    func unix() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path(of: "links.sock")
        let listener = try StreamListener(.unix(path: path), backlog: 4)
        var status = stat()
        try #require(unsafe stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        let connection = try connect(to: .unix(path: path), at: listener)
        try expectExchange(connection)
        listener.removePath()
        #expect(unsafe access(path, F_OK) == -1)
        let target = try #require(StreamTarget(.unix(path: path)))
        #expect(throws: StreamError.self) { _ = try connectStream(to: target) }
    }

    @Test("The end of a stream and a peer that is gone are told from errors")
    func ends() throws {
        let listener = try StreamListener(.tcp(host: "127.0.0.1", port: 0), backlog: 4)
        let port = try tcpPort(of: listener)
        let connection = try connect(to: .tcp(host: "127.0.0.1", port: port), at: listener)
        shutdown(connection.near.rawValue, Int32(SHUT_WR))
        waitUntilReady(connection.far.rawValue, Int16(POLLIN))
        var buffer = StreamBuffer(capacityBytes: 16)
        #expect(buffer.receive(from: connection.far) == .ended)
        #expect(buffer.isFull == false)
        shutdown(connection.near.rawValue, Int32(SHUT_RD))
        // At the latest the second write finds nobody.
        let byte: [UInt8] = [1]
        shutdown(connection.far.rawValue, Int32(SHUT_WR))
        #expect(sendStream(to: connection.far, byte.span) == .ended)
    }

    @Test("A full socket takes what it can and then says so")
    func full() throws {
        let listener = try StreamListener(.tcp(host: "127.0.0.1", port: 0), backlog: 4)
        let port = try tcpPort(of: listener)
        let connection = try connect(to: .tcp(host: "127.0.0.1", port: port), at: listener)
        let bytes = [UInt8](repeating: 1, count: 1_048_576)
        var outcome = StreamOutcome.moved(0)
        var total = 0
        while case .moved(let count) = outcome {
            total += count
            outcome = sendStream(to: connection.near, bytes.span)
        }
        #expect(outcome == .wouldBlock && total > 0)
    }

    @Test("A port that nobody listens at refuses, and one that is taken cannot be had")
    func refused() throws {
        let listener = try StreamListener(.tcp(host: "127.0.0.1", port: 0), backlog: 4)
        let port = try tcpPort(of: listener)
        #expect(throws: StreamError.self) {
            _ = try StreamListener(.tcp(host: "127.0.0.1", port: port), backlog: 4)
        }
        let silent = try bindAnyPort()
        let closed = UInt16(clinux_tcp_port(silent.rawValue))
        let target = try #require(StreamTarget(.tcp(host: "127.0.0.1", port: closed)))
        do throws(StreamError) {
            let socket = try connectStream(to: target)
            waitUntilReady(socket.rawValue, Int16(POLLOUT))
            let error = connectError(socket)
            #expect(error?.errno == .connectionRefused)
        } catch {
            #expect(error.description.contains("ECONNREFUSED"))
        }
    }

    @Test("A listener is replaced at its port by one at another host, if it shares the port")
    func replaced() throws {
        for (host, other) in [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")] {
            let old = try StreamListener(.tcp(host: host, port: 0), backlog: 4)
            let port = try tcpPort(of: old)
            let address = StreamAddress.tcp(host: other, port: port)
            #expect(throws: StreamError.self) {
                _ = try StreamListener(address, backlog: 4, sharesPort: true)
            }
            old.setSharesPort(true)
            #expect(throws: StreamError.self) { _ = try StreamListener(address, backlog: 4) }
            let new = try StreamListener(address, backlog: 4, sharesPort: true)
            // The port is not for others: neither of the two shares it any more.
            old.setSharesPort(false)
            #expect(throws: StreamError.self) { _ = try StreamListener(address, backlog: 4) }
            // A child of another test that has not begun its program yet may hold it open.
            shutdown(old.descriptor.rawValue, Int32(SHUT_RDWR))
            _ = consume old
            #expect(throws: StreamError.self) { _ = try StreamListener(address, backlog: 4) }
            _ = try connect(to: .tcp(host: "127.0.0.1", port: port), at: new)
        }
        #expect(
            StreamAddress.tcp(host: "a", port: 1).hasPort(of: .tcp(host: "b", port: 1)))
        #expect(
            !StreamAddress.tcp(host: "a", port: 1).hasPort(of: .tcp(host: "a", port: 2)))
        #expect(!StreamAddress.unix(path: "/a").hasPort(of: .unix(path: "/a")))
    }

    @Test("A buffer keeps what it holds when it grows, and takes what it is filled with")
    func buffer() {
        var buffer = StreamBuffer(capacityBytes: 4)
        buffer.fill { room in
            room[0] = 1
            room[1] = 2
            return 2
        }
        buffer.consume(1)
        buffer.grow(toBytes: 8)
        buffer.grow(toBytes: 6)
        let capacity = buffer.capacityBytes
        #expect(capacity == 8)
        buffer.fill { room in
            for index in 0..<room.count { room[index] = 9 }
            return room.count
        }
        let held = (0..<buffer.count).map { buffer.bytes[$0] }
        #expect(held.first == 2 && held.dropFirst().allSatisfy { $0 == 9 })
        buffer.consume(held.count)
        let count = buffer.count
        #expect(count == 0)
    }
}

/// A TCP socket that is bound and does not listen: nobody else gets its port while it is open.
private func bindAnyPort() throws -> OwnedDescriptor {
    let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    let bound = OwnedDescriptor(adopting: socket(AF_INET, type, 0))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let outcome = unsafe withUnsafePointer(to: address) {
        unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe bind(bound.rawValue, $0, size)
        }
    }
    guard outcome == 0 else { throw Malfunction(what: "no port") }
    return bound
}

private func waitUntilReady(_ number: Int32, _ events: Int16) {
    var request = pollfd(fd: number, events: events, revents: 0)
    _ = unsafe poll(&request, 1, 10_000)
}
