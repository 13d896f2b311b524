import Foundation
import LinuxIO

/// A directory of its own for one test, removed with it. Everybody may enter it.
final class Scratch {
    let path: String

    init() throws {
        path = "/tmp/linux-io-\(UUID().uuidString.prefix(13))"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o755])
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    func path(_ name: String) -> String { path + "/" + name }

    func exists(_ name: String) -> Bool {
        (try? FileManager.default.attributesOfItem(atPath: path(name))) != nil
    }

    func permissions(_ name: String) throws -> Int? {
        try FileManager.default.attributesOfItem(atPath: path(name))[.posixPermissions] as? Int
    }

    func write(_ name: String) throws {
        try Data("text".utf8).write(to: URL(fileURLWithPath: path(name)))
    }

    func remove(_ name: String) throws {
        try FileManager.default.removeItem(atPath: path(name))
    }

    func listen(_ name: String = "socket", backlog: Int32 = 16) throws -> SeqpacketListener {
        try SeqpacketListener(path: path(name), mode: 0o666, groupID: nil, backlog: backlog)
    }
}

let isRoot = CurrentProcess.effectiveUserID == 0
let kernel = KernelFeatures.probe()

/// The connection that must be waiting.
func acceptOne(_ listener: borrowing SeqpacketListener) throws -> OwnedDescriptor {
    switch listener.accept() {
    case .connection(let connection): return connection
    case .wouldBlock: throw Malfunction(what: "nobody waits")
    case .aborted: throw Malfunction(what: "aborted")
    case .descriptorsExhausted(let error): throw error
    case .failed(let error): throw error
    }
}

/// Bytes of a text, as packets are made of.
func packet(_ text: String) -> [UInt8] { Array(text.utf8) }

func send(_ text: String, to fd: borrowing OwnedDescriptor) -> SendOutcome {
    sendPacket(to: fd, packet(text).span)
}

extension PacketReceiver {
    init() { self.init(slots: 8, packetBytesMax: 4096) }

    func text(at index: Int) -> String {
        let span = bytes(at: index)
        return String(decoding: span.indices.map { span[$0] }, as: UTF8.self)
    }

    /// Receives until packets arrive; for senders that run beside us. Does not spin: waits in
    /// epoll.
    mutating func receiveWaiting(from fd: borrowing OwnedDescriptor) throws -> Outcome {
        var epoll = try Epoll(eventsMax: 1)
        try epoll.add(fd, token: 0, interest: .readable)
        while true {
            let outcome = receive(from: fd)
            if outcome != .wouldBlock { return outcome }
            _ = epoll.wait(timeoutMilliseconds: -1)
        }
    }
}

/// Waits until the peer has really closed. After its owner has, a copy of its descriptor may
/// live on for a moment in a child that another test has forked and that has not yet called
/// exec.
func waitForHangUp(_ fd: borrowing OwnedDescriptor) throws {
    var epoll = try Epoll(eventsMax: 1)
    try epoll.add(fd, token: 0, interest: [])
    while epoll.wait(timeoutMilliseconds: -1) == 0 {}
    try epoll.remove(fd)
}

/// A pair of sockets whose ends can be closed one by one.
struct Pair: ~Copyable {
    let first: OwnedDescriptor
    let second: OwnedDescriptor

    init() throws {
        var pair = try SeqpacketPair()
        guard let first = pair.first.take(), let second = pair.second.take() else {
            throw Malfunction(what: "a pair without its ends")
        }
        self.first = first
        self.second = second
    }
}
