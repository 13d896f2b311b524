import BrokerWire

/// Remembers, for a pair of topic and subject, the decision on publishing and who receives it, so
/// that a repeated pair costs one lookup, whatever the number of rules and filters.
///
/// Two-way set associative with a fixed number of entries: whoever floods it with new topics only
/// makes it miss. Entries hold the topic itself, never just its hash, since a decision hangs on
/// it. When subscriptions or rules change, the generation moves on and all entries are stale.
struct RouteCache {
    /// What is known of a topic and subject.
    struct Route: Equatable {
        var reason: ReasonCode
        /// Where in `receivers` the subscriptions stand.
        var first: Int
        var count: Int
    }

    private struct Entry {
        var hash: UInt64 = 0
        var generation: UInt32 = 0
        var subject: UInt32 = 0
        var topicLength: Int32 = 0
        var route = Route(reason: .unspecifiedError, first: 0, count: 0)
    }

    private static let setCount = 2_048
    private static let ways = 2
    /// Longer topics are looked up anew each time.
    private static let cachedTopicBytesMax = 128
    /// Receivers kept before the cache starts over.
    private static let receiversMax = 1 << 20

    private var entries: [Entry]
    private var topics: [UInt8]
    /// Subscriptions of all valid routes, route by route.
    var receivers: [UInt32] = []
    /// Where in `receivers` a route begins that no entry refers to: it is good for one message.
    private var transient: Int?
    /// Never 0 in use, so that a fresh entry is stale.
    private var generation: UInt32 = 1
    private let seed: UInt64
    private(set) var missCount: UInt64 = 0

    /// - Parameter seed: random, so that clients cannot choose which topics share a set.
    init(seed: UInt64) {
        self.seed = seed
        entries = Array(repeating: Entry(), count: Self.setCount * Self.ways)
        topics = Array(repeating: 0, count: entries.count * Self.cachedTopicBytesMax)
    }

    /// Makes all entries stale.
    mutating func invalidate() {
        receivers.removeAll(keepingCapacity: true)
        transient = nil
        generation &+= 1
        guard generation == 0 else { return }
        generation = 1
        for index in entries.indices { entries[index].generation = 0 }
    }

    /// Makes room before receivers of a new route are appended.
    mutating func makeRoom() {
        if let start = transient {
            receivers.removeSubrange(start...)
            transient = nil
        }
        if receivers.count >= Self.receiversMax { invalidate() }
        missCount += 1
    }

    @inline(__always)
    func find(_ topic: Span<UInt8>, subject: UInt32, hash: UInt64) -> Route? {
        guard topic.count <= Self.cachedTopicBytesMax else { return nil }
        let set = Self.set(of: hash)
        for way in 0..<Self.ways {
            let index = set &+ way
            let isHit =
                entries[index].hash == hash && entries[index].generation == generation
                && entries[index].subject == subject
                && Int(entries[index].topicLength) == topic.count
            if isHit, storedTopicEquals(topic, at: index) { return entries[index].route }
        }
        return nil
    }

    /// Remembers a route, if its topic is short enough: in place of a stale one of its set, or of
    /// either in turn.
    mutating func insert(
        _ route: Route, topic: Span<UInt8>, subject: UInt32, hash: UInt64
    ) {
        precondition(route.first + route.count <= receivers.count, "receivers out of reach")
        precondition(route.reason == .success || route.count == 0, "a refusal has no receivers")
        guard topic.count <= Self.cachedTopicBytesMax else {
            transient = route.first
            return
        }
        let set = Self.set(of: hash)
        let turn = Int(truncatingIfNeeded: missCount) & (Self.ways - 1)
        let stale = (set..<(set + Self.ways)).first { entries[$0].generation != generation }
        let index = stale ?? set + turn
        entries[index] = Entry(
            hash: hash, generation: generation, subject: subject,
            topicLength: Int32(topic.count), route: route)
        let start = index * Self.cachedTopicBytesMax
        for offset in 0..<topic.count { topics[start + offset] = topic[offset] }
    }

    @inline(__always)
    func hash(_ topic: Span<UInt8>, subject: UInt32) -> UInt64 {
        var hash = seed ^ (UInt64(subject) &* 0x9E37_79B9_7F4A_7C15) ^ UInt64(topic.count)
        var offset = 0
        if topic.count >= 8 {
            while offset &+ 8 < topic.count {
                hash = Self.mix(hash ^ topic.loadUInt64(at: offset))
                offset &+= 8
            }
            // The last eight bytes overlap those before them; the length is in the hash.
            return Self.mix(hash ^ topic.loadUInt64(at: topic.count &- 8))
        }
        var last: UInt64 = 0
        while offset < topic.count {
            last = last << 8 | UInt64(topic[offset])
            offset &+= 1
        }
        return Self.mix(hash ^ last)
    }

    @inline(__always)
    private static func mix(_ value: UInt64) -> UInt64 {
        let product = value.multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
        return product.high ^ product.low
    }

    @inline(__always)
    private static func set(of hash: UInt64) -> Int {
        Int(truncatingIfNeeded: hash & UInt64(setCount &- 1)) &* ways
    }

    @inline(__always)
    private func storedTopicEquals(_ topic: Span<UInt8>, at index: Int) -> Bool {
        let start = index &* Self.cachedTopicBytesMax
        return topics.span.extracting(start..<(start &+ topic.count)).equals(topic)
    }
}

extension ReasonCode {
    /// Never on the wire: the import filters of the link do not let the topic in.
    static let notImported = ReasonCode(rawValue: 0xFFFF)
}
