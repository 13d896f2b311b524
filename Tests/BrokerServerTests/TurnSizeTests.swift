import TestSupport
import Testing

@testable import BrokerServer

@Suite("How much a turn takes in")
struct TurnSizeTests {
    @Test("Small packets are taken many at a time, large ones one by one")
    func sizes() {
        var size = TurnSize()
        size.noteReceived(size.packets, bytes: 4 * 160, nanoseconds: 1_000)
        #expect(size.packets == TurnSize.packetsMax)
        size.noteReceived(2, bytes: 2 * 65_536, nanoseconds: 1_000)
        #expect(size.packets == 1)
    }

    @Test("Packets that cost a turn each are taken one by one while there are more")
    func dear() {
        var size = TurnSize()
        size.noteReceived(size.packets, bytes: 640, nanoseconds: 48_000)
        #expect(size.packets == 1)
        size.noteReceived(1, bytes: 160, nanoseconds: 12_000)
        #expect(size.packets == 1)
        size.noteReceived(1, bytes: 160, nanoseconds: 1_000)
        #expect(size.packets == 12)
    }

    @Test("A packet that comes alone, and wakes the broker, leaves the number as it was")
    func alone() {
        var size = TurnSize()
        let first = size.packets
        for _ in 0..<100 {
            size.noteReceived(1, bytes: 160, nanoseconds: 40_000)
            #expect(size.packets == first)
        }
        size.noteReceived(size.packets, bytes: 640, nanoseconds: 480_000)
        #expect(size.packets == 1)
        size.noteDrained()
        #expect(size.packets == first)
    }

    @Test("Work that took too long becomes less, and more again, within its limits")
    func work() {
        var random = SeededRandom()
        var size = TurnSize()
        let most = size.work
        // All was done within the time: nothing is to be learned from it.
        size.noteWorked(left: most - 1, nanoseconds: 100)
        #expect(size.work == most)
        size.noteWorked(left: -10, nanoseconds: 24_000)
        #expect(size.work == (most + 10) / 2)
        size.noteWorked(left: 0, nanoseconds: 6_000)
        #expect(size.work == most)
        for _ in 0..<1_000 {
            let left = random.int(in: -100_000...size.work)
            size.noteWorked(left: left, nanoseconds: UInt64(random.int(in: 0...10_000_000)))
            #expect(size.work >= 256 && size.work <= most, "\(random)")
        }
        size.noteWorked(left: .min / 2, nanoseconds: 0)
        #expect(size.work == most)
        size.noteWorked(left: 0, nanoseconds: .max)
        #expect(size.work == 256)
    }
}
