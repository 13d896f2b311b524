import BrokerWire
import TestSupport
import Testing

@testable import BrokerCore

@Suite("TimeShare: those who say little find the broker idle")
struct TimeShareTests {
    private typealias Turn = FairQueue.Turn

    /// Takes turns by a clock of its own. Flooders always have more; the others come when they
    /// please.
    private struct Desk {
        var queue: FairQueue
        var now: UInt64 = 1_000_000_000
        var used: [UInt32: UInt64] = [:]
        var idle: UInt64 = 0
        /// Nothing that they say is accepted.
        var silent: Set<UInt32> = [SenderRecord.noID]

        init(percent: Int, flooders: [UInt32]) {
            queue = FairQueue(inputCostMax: 100_000, busyPercentMax: percent)
            for uid in flooders { append(uid) }
        }

        mutating func append(_ uid: UInt32) {
            queue.append(
                uid == SenderRecord.noID ? .accept : Turn(uid: uid, number: 0), to: .input, of: uid)
        }

        /// - Returns: whose turn it was; nil: there was none, and time went by until there is.
        mutating func step(isFlooding: (UInt32) -> Bool, took: (UInt32) -> UInt64) -> UInt32? {
            guard let turn = queue.next(nowNanoseconds: now) else {
                let ready = queue.readyNanoseconds(nowNanoseconds: now)
                // Somebody who comes may come while others are throttled.
                let wait = min(ready, now + 10_000) - now
                idle += wait
                now += wait
                return nil
            }
            let uid = turn == .accept ? SenderRecord.noID : turn.uid
            if isFlooding(uid) { append(uid) }
            let nanoseconds = took(uid)
            now += nanoseconds
            used[uid, default: 0] += nanoseconds
            queue.charge(
                nanoseconds, spoke: !silent.contains(uid),
                nowNanoseconds: now)
            return uid
        }
    }

    private static let modest: UInt32 = 500

    @Test("Beside somebody who says little, those who flood get their part of the time and no more")
    func floodIsThrottled() {
        var random = SeededRandom()
        for _ in 0..<30 {
            let percent = random.int(in: 5...90)
            var flooders = (1...UInt32(random.int(in: 1...5))).map { $0 }
            if random.int(in: 0...1) == 0 { flooders.append(SenderRecord.noID) }
            var desk = Desk(percent: percent, flooders: flooders)
            let start = desk.now
            var comes = desk.now
            var cameAt: UInt64?
            var longest: UInt64 = 0
            while desk.now < start + 100_000_000 {
                if cameAt == nil, desk.now >= comes {
                    desk.append(Self.modest)
                    cameAt = desk.now
                }
                let uid = desk.step(isFlooding: { $0 != Self.modest }) { uid in
                    uid == Self.modest ? 5_000 : UInt64(random.int(in: 1_000...12_000))
                }
                if uid == Self.modest, let came = cameAt {
                    longest = max(longest, desk.now - came)
                    cameAt = nil
                    comes = desk.now + UInt64(random.int(in: 20_000...3_000_000))
                }
            }
            let flooded = flooders.reduce(0) { $0 + desk.used[$1, default: 0] }
            let part = 100 * Double(flooded) / Double(desk.now - start)
            let all = "\(percent) percent, \(flooders.count) flooders, \(random)"
            // A turn more in each period, and the first ones before anybody has spoken.
            #expect(part <= Double(percent) + 3, "\(all)")
            #expect(part >= Double(percent) * 0.8, "\(all)")
            #expect(flooders.allSatisfy { desk.used[$0, default: 0] > 0 }, "\(all)")
            // Somebody who says little is not throttled: its own turn and a turn of each other.
            #expect(longest <= 5_000 + 12_000 * UInt64(flooders.count + 1), "\(all)")
        }
    }

    @Test("Who is alone, and those who all want more, are never throttled")
    func nobodyIsThrottledInVain() {
        var random = SeededRandom()
        for count in UInt32(1)...4 {
            var desk = Desk(percent: 10, flooders: Array(1...count))
            for _ in 0..<20_000 {
                _ = desk.step(isFlooding: { _ in true }) { _ in
                    UInt64(random.int(in: 1_000...12_000))
                }
            }
            // Until the others have shown that they want more as well.
            #expect(desk.idle <= UInt64(count) * 2_000_000, "\(count) users, \(random)")
        }
    }

    @Test("With 100 percent nobody is throttled")
    func unlimited() {
        var desk = Desk(percent: 100, flooders: [1, 2])
        for number in 0..<20_000 {
            if number % 50 == 0 { desk.append(Self.modest) }
            _ = desk.step(isFlooding: { $0 != Self.modest }) { _ in 10_000 }
        }
        #expect(desk.idle == 0)
    }

    @Test("Somebody who has said nothing for a while throttles nobody any more")
    func memoryEnds() {
        var desk = Desk(percent: 50, flooders: [1])
        desk.append(Self.modest)
        let start = desk.now
        while desk.now < start + 300_000_000 {
            _ = desk.step(isFlooding: { $0 == 1 }) { _ in 10_000 }
        }
        let memory = Double(TimeShare.memoryNanoseconds)
        #expect(Double(desk.idle) > 0.4 * memory)
        #expect(Double(desk.idle) < 0.6 * memory)
    }

    @Test("New connections and those who may publish nothing throttle nobody")
    func silence() {
        var desk = Desk(percent: 10, flooders: [1])
        desk.silent.insert(2)
        for number in 0..<10_000 {
            if number % 20 == 0 { desk.append(SenderRecord.noID) }
            if number % 20 == 10 { desk.append(2) }
            _ = desk.step(isFlooding: { $0 == 1 }) { _ in 10_000 }
        }
        #expect(desk.idle == 0)
    }

    @Test("Who sends now and then is not throttled, however long its turns are interrupted")
    func interruptions() {
        var desk = Desk(percent: 50, flooders: [])
        desk.append(Self.modest)
        for _ in 0..<1_000 {
            desk.append(1)
            _ = desk.step(isFlooding: { _ in false }) { _ in 3_000_000 }
            #expect(desk.idle == 0)
            desk.append(Self.modest)
            _ = desk.step(isFlooding: { _ in false }) { _ in 3_000_000 }
        }
        #expect(desk.idle == 0)
    }

    @Test("A turn that took long is made up for, up to a limit")
    func debt() {
        for (took, held) in [
            (1_000_000, 2_000_000), (2_000_000, 4_000_000), (60_000_000, 10_000_000),
        ]
            as [(UInt64, UInt64)]
        {
            var desk = Desk(percent: 50, flooders: [])
            desk.append(Self.modest)
            _ = desk.step(isFlooding: { _ in false }) { _ in 1_000 }
            // In a new period.
            desk.now += 20_000_000
            let start = desk.now
            desk.append(1)
            _ = desk.step(isFlooding: { _ in true }) { _ in took }
            let ready = desk.queue.readyNanoseconds(nowNanoseconds: desk.now)
            // From its beginning: while it took, time went by.
            #expect(ready == max(desk.now, start + held))
        }
    }
}
