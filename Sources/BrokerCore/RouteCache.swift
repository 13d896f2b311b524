import BrokerWire

/// Remembers, for a pair of topic and subject, the decision on publishing and who receives it, so
/// that a repeated pair costs one lookup, whatever the number of rules and filters.
///
/// An open hash table that doubles as it fills, up to a bound, and then starts over: whoever
/// floods it with new topics makes it miss now and then, and never use more than `bytesMax`.
/// Entries hold the topic itself, never just its hash, since a decision hangs on it. When
/// subscriptions or rules change, the generation moves on and all entries are stale.
struct RouteCache {
    /// What is known of a topic and subject.
    struct Route: Equatable {
        var reason: ReasonCode
        /// Where in `receivers` the subscriptions stand.
        var first: Int
        var count: Int
    }

    /// 32 bytes: two to a line of the processor's cache.
    private struct Entry {
        var hash: UInt64 = 0
        var generation: UInt32 = 0
        var subject: UInt32 = 0
        var topicStart: UInt32 = 0
        var topicLength: UInt16 = 0
        var reason: UInt16 = 0
        var first: UInt32 = 0
        var count: UInt32 = 0
    }

    /// Twice the routes there may be: chains stay short.
    static let slotsMin = 1_024
    static let slotsMax = 262_144
    static let routesMax = slotsMax / 2
    /// Bytes of topics and receivers kept before the cache starts over.
    static let topicBytesMax = 8 * 1_048_576
    static let receiversMax = 1_048_576
    /// What the cache may take: 20 MiB.
    static let bytesMax =
        slotsMax * MemoryLayout<Entry>.stride + topicBytesMax
        + receiversMax * MemoryLayout<UInt32>.stride

    /// A power of two. Those in use follow each other from where their hash points to, up to a
    /// slot that is stale; at least half of all are.
    private var slots = Array(repeating: Entry(), count: RouteCache.slotsMin)
    private var mask = RouteCache.slotsMin - 1
    /// Topics of all valid routes, side by side.
    private var topics: [UInt8] = []
    /// Subscriptions of all valid routes, route by route.
    var receivers: [UInt32] = []
    /// The route whose receivers stand last.
    private var latest = Route(reason: .success, first: 0, count: 0)
    private var routeCount = 0
    /// The most routes there have been since the last `trim`.
    private var routesPeak = 0
    /// Never 0 in use, so that a fresh entry is stale.
    private var generation: UInt32 = 1
    private let hashOf: KeyedHash

    /// - Parameter hash: keyed, so that clients cannot choose which topics meet.
    init(hash: KeyedHash) {
        hashOf = hash
    }

    var slotCount: Int { slots.count }

    /// Makes all entries stale.
    mutating func invalidate() {
        routesPeak = max(routesPeak, routeCount)
        routeCount = 0
        latest = Route(reason: .success, first: 0, count: 0)
        receivers.removeAll(keepingCapacity: true)
        topics.removeAll(keepingCapacity: true)
        generation &+= 1
        guard generation == 0 else { return }
        generation = 1
        for index in slots.indices { slots[index].generation = 0 }
    }

    /// Gives back what has not been needed since the last time. Asked for now and then: a cache
    /// that has grown starts over then, to see how much is still in use.
    ///
    /// - Returns: how many bytes that was.
    mutating func trim() -> Int {
        guard slots.count > Self.slotsMin else { return 0 }
        invalidate()
        var needed = Self.slotsMin
        while needed < 4 * routesPeak && needed < slots.count { needed *= 2 }
        routesPeak = 0
        guard needed < slots.count else { return 0 }
        let bytes =
            (slots.count - needed) * MemoryLayout<Entry>.stride + topics.capacity
            + receivers.capacity * MemoryLayout<UInt32>.stride
        slots = Array(repeating: Entry(), count: needed)
        mask = needed - 1
        receivers = []
        topics = []
        return bytes
    }

    /// Makes room before receivers of a new route are appended.
    mutating func makeRoom() {
        let isFull =
            routeCount >= Self.routesMax || receivers.count >= Self.receiversMax
            || topics.count + Limits.topicBytesMax > Self.topicBytesMax
        if isFull {
            invalidate()
        } else if 2 * routeCount >= slots.count {
            grow()
        }
    }

    /// Many topics have the same receivers: those of a new route, which stand last, are dropped
    /// if the route before it has the same ones.
    mutating func shareReceivers(of route: Route) -> Route {
        precondition(route.first + route.count == receivers.count, "its receivers stand last")
        var shared = route
        if route.count == latest.count
            && receivers[route.first...].elementsEqual(
                receivers[latest.first..<(latest.first + latest.count)])
        {
            receivers.removeLast(route.count)
            shared.first = latest.first
        }
        latest = shared
        return shared
    }

    @inline(__always)
    func hash(_ topic: Span<UInt8>, subject: UInt32) -> UInt64 {
        hashOf(topic, with: subject)
    }

    @inline(__always)
    func find(_ topic: Span<UInt8>, subject: UInt32, hash: UInt64) -> Route? {
        var index = Int(truncatingIfNeeded: hash) & mask
        while slots[index].generation == generation {
            let isHit =
                slots[index].hash == hash && slots[index].subject == subject
                && Int(slots[index].topicLength) == topic.count
            if isHit, storedTopicEquals(topic, at: index) {
                return Route(
                    reason: ReasonCode(rawValue: slots[index].reason),
                    first: Int(slots[index].first), count: Int(slots[index].count))
            }
            index = (index &+ 1) & mask
        }
        return nil
    }

    /// Remembers a route that is not known yet.
    ///
    /// - Precondition: `makeRoom` was called before its receivers were appended.
    mutating func insert(
        _ route: Route, topic: Span<UInt8>, subject: UInt32, hash: UInt64
    ) {
        precondition(route.first + route.count <= receivers.count, "receivers out of reach")
        precondition(route.reason == .success || route.count == 0, "a refusal has no receivers")
        precondition(topic.count <= Limits.topicBytesMax, "topics are validated before")
        precondition(2 * routeCount < slots.count, "no room was made")
        put(
            Entry(
                hash: hash, generation: generation, subject: subject,
                topicStart: UInt32(topics.count), topicLength: UInt16(topic.count),
                reason: route.reason.rawValue, first: UInt32(route.first),
                count: UInt32(route.count)))
        topics.append(addingCapacity: topic.count) { output in
            for offset in 0..<topic.count { output.append(topic[offset]) }
        }
        routeCount += 1
    }

    private mutating func put(_ entry: Entry) {
        var index = Int(truncatingIfNeeded: entry.hash) & mask
        while slots[index].generation == generation { index = (index + 1) & mask }
        slots[index] = entry
    }

    private mutating func grow() {
        precondition(2 * slots.count <= Self.slotsMax)
        let old = slots
        slots = Array(repeating: Entry(), count: 2 * old.count)
        mask = slots.count - 1
        for entry in old where entry.generation == generation { put(entry) }
    }

    @inline(__always)
    private func storedTopicEquals(_ topic: Span<UInt8>, at index: Int) -> Bool {
        let start = Int(slots[index].topicStart)
        return topics.span.extracting(start..<(start &+ topic.count)).equals(topic)
    }
}

extension ReasonCode {
    /// Never on the wire: the import filters of the link do not let the topic in.
    static let notImported = ReasonCode(rawValue: 0xFFFF)
}
