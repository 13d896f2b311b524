/// What to do when the queue of a subscription is full. Protocol/README.md, section 5.5.
public enum OverflowPolicy: UInt8, Sendable, CaseIterable {
    /// The session is ended.
    case disconnect = 0
    /// The oldest deliveries are dropped, and the subscriber is told how many.
    case dropOldest = 1
    /// Publishers wait, for a bounded time.
    case block = 2
}

/// A closed range of uids or gids that a subscription wants its senders to be in.
public struct IDRange: Hashable, Sendable {
    public let first: UInt32
    public let last: UInt32

    /// - Precondition: `first <= last`.
    public init(first: UInt32, last: UInt32) {
        precondition(first <= last)
        self.first = first
        self.last = last
    }

    @inlinable
    public func contains(_ id: UInt32) -> Bool {
        first <= id && id <= last
    }
}

/// SUBSCRIBE, with its lists copied out: subscribing is not the hot path.
package struct SubscribeFrame: Equatable, Sendable {
    package static let overheadBytes =
        PacketHeader.byteCount + FrameHeader.byteCount + FrameType.subscribe.fixedBytes

    package var token: UInt32
    package var subscription: UInt32
    /// 0: the broker's default.
    package var queueBytesMax: UInt32
    /// Raw, since a value out of range is answered, not malformed.
    package var overflow: UInt8
    /// As many as were sent: more than `Limits.filtersPerSubscriptionMax`, or none, is answered.
    package var filters: [[UInt8]]
    /// First and last id of each range as sent; `first > last` is answered, not malformed.
    package var uidRanges: [(first: UInt32, last: UInt32)]
    package var gidRanges: [(first: UInt32, last: UInt32)]

    package init(
        token: UInt32, subscription: UInt32, queueBytesMax: UInt32, overflow: OverflowPolicy,
        filters: [[UInt8]], uidRanges: [IDRange], gidRanges: [IDRange]
    ) {
        self.token = token
        self.subscription = subscription
        self.queueBytesMax = queueBytesMax
        self.overflow = overflow.rawValue
        self.filters = filters
        self.uidRanges = uidRanges.map { ($0.first, $0.last) }
        self.gidRanges = gidRanges.map { ($0.first, $0.last) }
    }

    package init(_ header: FrameHeader, in packet: Span<UInt8>) throws(WireError) {
        precondition(header.type == .subscribe)
        token = packet.loadUInt32(at: header.fixed)
        subscription = packet.loadUInt32(at: header.fixed + 4)
        queueBytesMax = packet.loadUInt32(at: header.fixed + 8)
        overflow = packet[header.fixed + 12]
        let filterCount = Int(packet[header.fixed + 13])
        let uidRangeCount = Int(packet[header.fixed + 14])
        let gidRangeCount = Int(packet[header.fixed + 15])
        var tail = TailReader(header)
        filters = []
        for _ in 0..<filterCount {
            filters.append(try tail.readFilter(in: packet))
        }
        uidRanges = try tail.readRanges(uidRangeCount, in: packet)
        gidRanges = try tail.readRanges(gidRangeCount, in: packet)
        guard tail.isAtEnd else {
            throw WireError(.leftOver(bytes: tail.bytesLeft), at: header.offset)
        }
    }

    package static func == (left: Self, right: Self) -> Bool {
        left.token == right.token && left.subscription == right.subscription
            && left.queueBytesMax == right.queueBytesMax && left.overflow == right.overflow
            && left.filters == right.filters
            && left.uidRanges.elementsEqual(right.uidRanges, by: ==)
            && left.gidRanges.elementsEqual(right.gidRanges, by: ==)
    }

    /// What is wrong with the lengths of the lists, or nil.
    package var countViolation: String? {
        if !(1...Limits.filtersPerSubscriptionMax).contains(filters.count) {
            return "a subscription has 1 to \(Limits.filtersPerSubscriptionMax) filters, "
                + "not \(filters.count)"
        }
        let ranges = max(uidRanges.count, gidRanges.count)
        if ranges > Limits.rangesPerSubscriptionMax {
            return "a subscription has at most \(Limits.rangesPerSubscriptionMax) ranges of a "
                + "kind, not \(ranges)"
        }
        return nil
    }

    /// Bytes of the tail that the lists make.
    package var tailBytes: Int {
        filters.reduce(0) { $0 + 2 + $1.count } + 8 * (uidRanges.count + gidRanges.count)
    }
}

private struct TailReader {
    private let frame: Int
    private var offset: Int
    private let end: Int

    init(_ header: FrameHeader) {
        frame = header.offset
        offset = header.tail.lowerBound
        end = header.tail.upperBound
    }

    var isAtEnd: Bool { offset == end }
    var bytesLeft: Int { end - offset }

    mutating func readFilter(in packet: Span<UInt8>) throws(WireError) -> [UInt8] {
        guard bytesLeft >= 2 else { throw WireError(.tail(.filterTruncated), at: frame) }
        let length = Int(packet.loadUInt16(at: offset))
        guard bytesLeft - 2 >= length else {
            throw WireError(.tail(.filterTruncated), at: frame)
        }
        let filter = packet.extracting((offset + 2)..<(offset + 2 + length)).copied()
        offset += 2 + length
        return filter
    }

    mutating func readRanges(
        _ count: Int, in packet: Span<UInt8>
    ) throws(WireError) -> [(first: UInt32, last: UInt32)] {
        guard bytesLeft >= 8 * count else { throw WireError(.tail(.rangeTruncated), at: frame) }
        var ranges: [(first: UInt32, last: UInt32)] = []
        for _ in 0..<count {
            ranges.append((packet.loadUInt32(at: offset), packet.loadUInt32(at: offset + 4)))
            offset += 8
        }
        return ranges
    }
}
