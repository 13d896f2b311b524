import BasicContainers
import BrokerWire

/// Outbound packets of all sessions, by slot. A packet is written, queued, sent and given back;
/// its memory is kept for the next one up to a bound. Packets of a queue are chained by `next`.
struct PacketPool: ~Copyable {
    /// One packet and what its queue needs to know of it.
    struct Packet: ~Copyable {
        var buffer: PacketBuffer
        var next = PacketPool.none
        /// DELIVER frames in it, to be counted as lost if it is dropped.
        var deliveries = 0
        /// Messages that LOST frames in it report as missing.
        var losses: UInt64 = 0
        /// Serial of the received packet whose SENDER stands last in it; 0: no SENDER yet.
        var senderSerial: UInt64 = 0
        var isLossNotice = false
        /// When the first message in it was accepted; 0: it holds none.
        var acceptedNanoseconds: UInt64 = 0

        /// Appends a message if there is room for it behind a SENDER of its received packet.
        @inline(__always)
        mutating func append(
            sequence: UInt64, subscription: UInt32, body: Span<UInt8>, topicLength: Int,
            serial: UInt64
        ) -> Bool {
            guard senderSerial == serial,
                buffer.freeBytes >= DeliverFrame.overheadBytes &+ body.count
            else { return false }
            buffer.appendDeliver(
                sequence: sequence, subscription: subscription, body: body,
                topicLength: topicLength)
            deliveries &+= 1
            return true
        }
    }

    static let none: Int32 = -1
    /// For the odd message and for replies, so that ten thousand slow subscriptions do not hold
    /// ten thousand full batches.
    static let smallBytes = 4_096
    /// For many messages; never more than the kernel lets the broker send in one packet.
    let batchBytes: Int
    /// Free packets kept in memory, 64 MiB and 4 MiB: with a thousand receivers the same packets
    /// are taken and given back again and again. `trim` gives back what is not needed any more.
    static let idleBatchesMax = 1_024
    static let idleSmallMax = 1_024

    private(set) var packets = UniqueArray<Packet>()
    private var freeSmall: [Int32] = []
    private var freeBatch: [Int32] = []
    /// How many of each have not been needed since the last `trim`.
    private var idleSmall = 0
    private var idleBatches = 0
    /// Slots whose memory has been given back.
    private var vacant: [Int32] = []
    private(set) var inUse = 0

    /// - Parameter packetBytesMax: largest packet that can be sent.
    init(packetBytesMax: Int) {
        batchBytes = min(Limits.batchBytesTarget, packetBytesMax)
    }

    /// The capacity of a packet that must hold `needed` bytes and may get `expected`, in a queue
    /// that may hold `limit`. What does not fit into a batch gets a packet of its own, and so
    /// does what is large in a queue of less than a few batches.
    func capacity(needed: Int, expected: Int, limit: Int = .max) -> Int {
        let isSmallQueue = limit < 4 * batchBytes
        if max(needed, isSmallQueue ? 0 : expected) <= Self.smallBytes { return Self.smallBytes }
        return needed > batchBytes || isSmallQueue ? needed : batchBytes
    }

    /// Takes a free packet of that capacity, cleared.
    mutating func take(capacityBytes: Int) -> Int32 {
        inUse += 1
        let reused: Int32? =
            switch capacityBytes {
            case batchBytes: freeBatch.popLast()
            case Self.smallBytes: freeSmall.popLast()
            default: nil
            }
        idleSmall = min(idleSmall, freeSmall.count)
        idleBatches = min(idleBatches, freeBatch.count)
        if let reused { return reused }
        let buffer = PacketBuffer(capacityBytes: capacityBytes)
        if let slot = vacant.popLast() {
            packets[Int(slot)].buffer = buffer
            return slot
        }
        packets.append(Packet(buffer: buffer))
        return Int32(packets.count - 1)
    }

    /// Gives a packet back that is in no queue any more.
    mutating func giveBack(_ slot: Int32) {
        precondition(inUse > 0)
        inUse -= 1
        let index = Int(slot)
        packets[index].next = Self.none
        packets[index].deliveries = 0
        packets[index].losses = 0
        packets[index].senderSerial = 0
        packets[index].isLossNotice = false
        packets[index].acceptedNanoseconds = 0
        packets[index].buffer.clear()
        switch packets[index].buffer.capacityBytes {
        case batchBytes where freeBatch.count < Self.idleBatchesMax:
            freeBatch.append(slot)
        case Self.smallBytes where freeSmall.count < Self.idleSmallMax:
            freeSmall.append(slot)
        default:
            vacate(slot)
        }
    }

    /// Gives the memory of packets back that have been free since the last time. Asked for now
    /// and then: what a burst has taken does not stay with the broker.
    ///
    /// - Returns: how many bytes that was.
    mutating func trim() -> Int {
        let bytes = idleSmall * Self.smallBytes + idleBatches * batchBytes
        for _ in 0..<idleSmall {
            if let slot = freeSmall.popLast() { vacate(slot) }
        }
        for _ in 0..<idleBatches {
            if let slot = freeBatch.popLast() { vacate(slot) }
        }
        idleSmall = freeSmall.count
        idleBatches = freeBatch.count
        if vacant.count == packets.count {
            packets = UniqueArray()
            vacant = []
        }
        return bytes
    }

    /// Packets whose memory is held.
    var heldCount: Int { packets.count - vacant.count }

    private mutating func vacate(_ slot: Int32) {
        packets[Int(slot)].buffer = PacketBuffer(capacityBytes: PacketHeader.byteCount + 1)
        vacant.append(slot)
    }

    /// In-place access to a packet.
    subscript(slot: Int32) -> Packet {
        @inline(__always) _read { yield packets[Int(slot)] }
        @inline(__always) _modify { yield &packets[Int(slot)] }
    }
}

/// A chain of packets that wait to be sent. Invariant: `head` and `tail` are both none or both a
/// packet, and `bytes` is the sum of the capacities of the chained packets.
struct PacketQueue {
    private(set) var head = PacketPool.none
    private(set) var tail = PacketPool.none
    private(set) var bytes = 0

    @inline(__always)
    var isEmpty: Bool { head == PacketPool.none }

    mutating func append(_ slot: Int32, in pool: inout PacketPool) {
        precondition(pool[slot].next == PacketPool.none, "the packet is in a queue already")
        if isEmpty {
            head = slot
        } else {
            pool[tail].next = slot
        }
        tail = slot
        bytes += pool[slot].buffer.capacityBytes
    }

    mutating func prepend(_ slot: Int32, in pool: inout PacketPool) {
        precondition(pool[slot].next == PacketPool.none, "the packet is in a queue already")
        pool[slot].next = head
        head = slot
        if tail == PacketPool.none { tail = slot }
        bytes += pool[slot].buffer.capacityBytes
    }

    /// Unchains the first packet; the caller gives it back to the pool.
    ///
    /// - Precondition: the queue is not empty.
    mutating func removeFirst(in pool: inout PacketPool) -> Int32 {
        precondition(!isEmpty)
        let slot = head
        head = pool[slot].next
        if head == PacketPool.none { tail = PacketPool.none }
        pool[slot].next = PacketPool.none
        bytes -= pool[slot].buffer.capacityBytes
        precondition(bytes >= 0 && (bytes == 0) == isEmpty, "bytes and packets disagree")
        return slot
    }
}
