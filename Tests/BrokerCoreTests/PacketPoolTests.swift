import BrokerWire
import Testing

@testable import BrokerCore

@Suite("PacketPool, PacketQueue and DeadlineQueue")
struct PacketPoolTests {
    @Test("The capacity follows what is needed, expected and allowed")
    func capacity() {
        let pool = PacketPool(packetBytesMax: 262_144)
        let large = [
            pool.capacity(needed: 100, expected: 100),
            pool.capacity(needed: 100, expected: 5_000),
            pool.capacity(needed: 5_000, expected: 0),
            pool.capacity(needed: 65_536, expected: 0),
            pool.capacity(needed: 65_537, expected: 0),
        ]
        #expect(large == [4_096, 65_536, 65_536, 65_536, 65_537])
        let small = [
            pool.capacity(needed: 100, expected: 60_000, limit: 8_192),
            pool.capacity(needed: 5_000, expected: 60_000, limit: 8_192),
        ]
        #expect(small == [4_096, 5_000])
        let narrow = PacketPool(packetBytesMax: 16_384)
        let batch = narrow.capacity(needed: 9, expected: 60_000)
        #expect(batch == 16_384)
    }

    @Test("A packet that is given back is cleared and used again; odd sizes are not kept")
    func reuse() {
        var pool = PacketPool(packetBytesMax: 262_144)
        for bytes in [4_096, 65_536, 100_000] {
            let slot = pool.take(capacityBytes: bytes)
            pool[slot].buffer.appendPing(nonce: 1)
            pool[slot].deliveries = 3
            pool[slot].losses = 4
            pool[slot].senderSerial = 9
            pool[slot].isLossNotice = true
            pool.giveBack(slot)
            let again = pool.take(capacityBytes: bytes)
            #expect(again == slot)
            let isEmpty = pool[again].buffer.isEmpty
            let capacity = pool[again].buffer.capacityBytes
            let counts = [
                UInt64(pool[again].deliveries), pool[again].losses, pool[again].senderSerial,
            ]
            let isLossNotice = pool[again].isLossNotice
            #expect(isEmpty && !isLossNotice)
            #expect(capacity == bytes)
            #expect(counts == [0, 0, 0])
            pool.giveBack(again)
        }
        let inUse = pool.inUse
        #expect(inUse == 0)
    }

    @Test("What a burst has taken is given back when it has not been needed for a while")
    func trim() {
        var pool = PacketPool(packetBytesMax: 262_144)
        let burst = (0..<200).map { pool.take(capacityBytes: $0 < 100 ? 4_096 : 65_536) }
        for slot in burst { pool.giveBack(slot) }
        var bytes = pool.trim()
        var held = pool.heldCount
        #expect(bytes == 0)
        #expect(held == 200, "they were in use just now")
        let few = (0..<3).map { _ in pool.take(capacityBytes: 65_536) }
        for slot in few { pool.giveBack(slot) }
        bytes = pool.trim()
        #expect(bytes == 100 * 4_096 + 97 * 65_536)
        held = pool.heldCount
        #expect(held == 3)
        let last = pool.take(capacityBytes: 65_536)
        bytes = pool.trim()
        #expect(bytes == 2 * 65_536)
        held = pool.heldCount
        #expect(held == 1, "the other two were not needed since")
        pool.giveBack(last)
        bytes = pool.trim() + pool.trim()
        #expect(bytes == 65_536)
        held = pool.heldCount
        #expect(held == 0)
    }

    @Test("A queue is first in, first out, and counts its bytes")
    func queue() {
        var pool = PacketPool(packetBytesMax: 262_144)
        var queue = PacketQueue()
        let slots = [4_096, 65_536, 70_000].map { pool.take(capacityBytes: $0) }
        queue.append(slots[1], in: &pool)
        queue.append(slots[2], in: &pool)
        queue.prepend(slots[0], in: &pool)
        #expect(queue.bytes == 4_096 + 65_536 + 70_000)
        var removed: [Int32] = []
        while !queue.isEmpty { removed.append(queue.removeFirst(in: &pool)) }
        #expect(removed == slots)
        #expect(queue.isEmpty)
        #expect(queue.tail == PacketPool.none)
        #expect(queue.bytes == 0)
        queue.prepend(slots[1], in: &pool)
        #expect(queue.tail == slots[1])
    }

    @Test("Deadlines expire in the order in which they were added, each once")
    func deadlines() {
        var queue = DeadlineQueue<Int>(delaySeconds: 2)
        #expect(queue.nextNanoseconds == nil)
        for number in 0..<100 {
            queue.append(number, nowNanoseconds: UInt64(number) * Sample.second)
        }
        #expect(queue.nextNanoseconds == 2 * Sample.second)
        #expect(queue.popExpired(nowNanoseconds: 2 * Sample.second - 1) == nil)
        var expired: [Int] = []
        while let number = queue.popExpired(nowNanoseconds: 51 * Sample.second) {
            expired.append(number)
        }
        #expect(expired == Array(0..<50))
        #expect(queue.nextNanoseconds == 52 * Sample.second)
    }
}
