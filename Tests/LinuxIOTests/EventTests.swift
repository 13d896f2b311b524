import Foundation
import Glibc
import LinuxIO
import SystemPackage
import Testing

@Suite("Events")
struct EventTests {
    @Test("an event carries the token it was registered with, also the largest")
    func tokens() throws {
        var epoll = try Epoll(eventsMax: 8)
        let one = try Pair()
        let two = try Pair()
        try epoll.add(one.first, token: .max, interest: .readable)
        try epoll.add(two.first, token: 7 << 32 | 3, interest: .readable)
        #expect(epoll.wait(timeoutMilliseconds: 0) == 0)
        #expect(send("x", to: two.second) == .sent(1))
        #expect(epoll.wait(timeoutMilliseconds: -1) == 1)
        #expect(epoll.token(at: 0) == 7 << 32 | 3)
        #expect(epoll.readiness(at: 0) == .readable)
        #expect(send("x", to: one.second) == .sent(1))
        #expect(epoll.wait(timeoutMilliseconds: -1) == 2)
        #expect(Set([epoll.token(at: 0), epoll.token(at: 1)]) == [UInt64.max, 7 << 32 | 3])
    }

    @Test("a wait of microseconds ends by itself, and at once when something is ready")
    func fineTimeout() throws {
        var epoll = try Epoll(eventsMax: 8)
        let pair = try Pair()
        try epoll.add(pair.first, token: 5, interest: .readable)
        let start = Clock.monotonicNanoseconds()
        #expect(epoll.wait(timeoutNanoseconds: 200_000) == 0)
        #expect(Clock.monotonicNanoseconds() - start >= 200_000)
        #expect(epoll.wait(timeoutNanoseconds: 0) == 0)
        #expect(send("x", to: pair.second) == .sent(1))
        #expect(epoll.wait(timeoutNanoseconds: .max) == 1)
        #expect(epoll.wait(timeoutNanoseconds: nil) == 1)
        #expect(epoll.token(at: 0) == 5)
    }

    @Test("a sleep until a time ends no earlier, and not at all if it has passed")
    func sleep() {
        let start = Clock.monotonicNanoseconds()
        Clock.sleep(untilMonotonicNanoseconds: start + 1_000_000)
        #expect(Clock.monotonicNanoseconds() >= start + 1_000_000)
        Clock.sleep(untilMonotonicNanoseconds: 0)
    }

    @Test("a sender can tell whether everything it sent was read")
    func unread() throws {
        let pair = try Pair()
        var isRead = isEverythingRead(by: pair.first)
        #expect(isRead)
        #expect(send("x", to: pair.first) == .sent(1))
        isRead = isEverythingRead(by: pair.first)
        #expect(!isRead)
        var receiver = PacketReceiver(slots: 2, packetBytesMax: 16)
        let outcome = receiver.receive(from: pair.second)
        #expect(outcome == .packets(1))
        isRead = isEverythingRead(by: pair.first)
        #expect(isRead)
    }

    @Test("interest can be changed and ended")
    func interest() throws {
        var epoll = try Epoll(eventsMax: 8)
        let pair = try Pair()
        try epoll.add(pair.first, token: 1, interest: [.readable, .writable])
        #expect(epoll.wait(timeoutMilliseconds: -1) == 1)
        #expect(epoll.readiness(at: 0) == .writable)
        try epoll.modify(pair.first, token: 2, interest: .readable)
        #expect(epoll.wait(timeoutMilliseconds: 0) == 0)
        #expect(send("x", to: pair.second) == .sent(1))
        #expect(epoll.wait(timeoutMilliseconds: -1) == 1)
        #expect(epoll.token(at: 0) == 2)
        try epoll.remove(pair.first)
        #expect(epoll.wait(timeoutMilliseconds: 0) == 0)
        let error = #expect(throws: KernelError.self) { try epoll.remove(pair.first) }
        #expect(error?.errno == .noSuchFileOrDirectory)
    }

    @Test("a peer that shuts down or closes is reported as such")
    func hangUp() throws {
        var epoll = try Epoll(eventsMax: 8)
        let pair = try Pair()
        let first = pair.first
        let second = pair.second
        try epoll.add(first, token: 1, interest: [.peerHangUp])
        try shutdownWrite(second)
        #expect(epoll.wait(timeoutMilliseconds: -1) == 1)
        #expect(epoll.readiness(at: 0) == .peerHangUp)
        try epoll.remove(first)
        _ = consume second
        try waitForHangUp(first)
        try epoll.add(first, token: 1, interest: [.peerHangUp])
        #expect(epoll.wait(timeoutMilliseconds: -1) == 1)
        #expect(epoll.readiness(at: 0) == [.peerHangUp, .hangUp])
    }

    @Test("no more events are reported than there is room for, and the rest come next")
    func room() throws {
        var epoll = try Epoll(eventsMax: 1)
        let one = try EventFD()
        let two = try EventFD()
        try epoll.add(one.descriptor, token: 1, interest: .readable)
        try epoll.add(two.descriptor, token: 2, interest: .readable)
        one.signal()
        two.signal()
        #expect(epoll.wait(timeoutMilliseconds: -1) == 1)
        let first = epoll.token(at: 0)
        if first == 1 { one.drain() } else { two.drain() }
        #expect(epoll.wait(timeoutMilliseconds: -1) == 1)
        #expect(epoll.token(at: 0) == 3 - first)
    }

    @Test("signals from another thread wake the waiter, and draining ends them")
    func wakeUp() throws {
        final class Bell: Sendable {
            let event: EventFD
            init() throws { event = try EventFD() }
        }
        var epoll = try Epoll(eventsMax: 1)
        let bell = try Bell()
        try epoll.add(bell.event.descriptor, token: 9, interest: .readable)
        let thread = SystemThread.start(name: "ringer") {
            for _ in 0..<3 { bell.event.signal() }
        }
        #expect(epoll.wait(timeoutMilliseconds: -1) == 1)
        thread.join()
        bell.event.drain()
        #expect(epoll.wait(timeoutMilliseconds: 0) == 0)
        bell.event.drain()
    }

    @Test("a thread has its name, and is joined once")
    func threadName() {
        let name = Lock("")
        let shared = Box(name)
        let thread = SystemThread.start(name: "reactor") {
            let text = try? readSmallFile("/proc/thread-self/comm", maxBytes: 64)
            shared.text.withLock { $0 = String(decoding: text ?? [], as: UTF8.self) }
        }
        thread.join()
        thread.join()
        #expect(shared.text.withLock { $0 } == "reactor\n")
    }

    @Test("monotonic time does not go back, real time is after 2020")
    func clocks() {
        let start = Clock.monotonicNanoseconds()
        #expect(Clock.monotonicNanoseconds() >= start)
        #expect(Clock.realtimeNanoseconds() > 1_577_836_800_000_000_000)
    }
}

/// A text that threads share.
private final class Box: Sendable {
    let text: Lock<String>
    init(_ text: consuming Lock<String>) { self.text = text }
}
