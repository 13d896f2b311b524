import BrokerWire

/// All topic filters, level by level. Nodes live in one array and refer to each other by index;
/// `+` and `#` have places of their own, other levels are found by (parent, label) in a hash
/// table over the nodes. Looking a topic up allocates nothing. Its cost grows with the levels of
/// the topic and the filters that match, not with the filters there are.
struct SubscriptionTrie {
    private struct Node {
        var parent: Int32
        var label: [UInt8] = []
        /// Of parent and label; only nodes that are neither `+` nor `#` are found by it.
        var hash: UInt64 = 0
        var isNamed = false
        /// Next node in the same bucket.
        var nextInBucket = SubscriptionTrie.none
        var single = SubscriptionTrie.none
        var multi = SubscriptionTrie.none
        var namedChildren = 0
        /// First entry of the subscriptions that end here.
        var entries = SubscriptionTrie.none
    }

    /// A subscription's place in the chain of a node.
    private struct Entry {
        var subscription: UInt32
        var node: Int32
        var previous: Int32
        var next: Int32
    }

    private static let none: Int32 = -1
    private static let root: Int32 = 0

    private var nodes: [Node] = [Node(parent: SubscriptionTrie.none)]
    private var freeNodes: [Int32] = []
    private var entries: [Entry] = []
    private var freeEntries: [Int32] = []
    /// The first named node of each bucket; a power of two, at least as many as nodes.
    private var buckets = [Int32](repeating: SubscriptionTrie.none, count: 8)
    private let hashOf: KeyedHash

    /// Filters held, each counted once per subscription.
    private(set) var filterCount = 0

    var nodeCount: Int { nodes.count - freeNodes.count }

    /// - Parameter hash: keyed where filters are the clients' choice.
    init(hash: KeyedHash) {
        hashOf = hash
    }

    /// Adds a valid filter. Adding the same pair twice counts twice.
    ///
    /// - Returns: the entry, to be given to `remove`: finding it again among a hundred thousand
    ///   subscriptions with the same filter would cost more than all else.
    mutating func insert(_ filter: Span<UInt8>, subscription: UInt32) -> Int32 {
        precondition(!filter.isEmpty, "filters are validated before")
        var node = Self.root
        var offset = 0
        while offset <= filter.count {
            let end = Topic.levelEnd(in: filter, from: offset)
            node = child(of: node, label: filter.extracting(offset..<end))
            offset = end + 1
        }
        let entry = freeEntries.popLast() ?? Int32(entries.count)
        let next = nodes[Int(node)].entries
        let value = Entry(
            subscription: subscription, node: node, previous: Self.none, next: next)
        if Int(entry) == entries.count {
            entries.append(value)
        } else {
            entries[Int(entry)] = value
        }
        if next != Self.none { entries[Int(next)].previous = entry }
        nodes[Int(node)].entries = entry
        filterCount += 1
        return entry
    }

    /// Removes what `insert` added.
    mutating func remove(_ entry: Int32) {
        let value = entries[Int(entry)]
        precondition(value.node != Self.none, "the entry was removed before")
        if value.previous == Self.none {
            nodes[Int(value.node)].entries = value.next
        } else {
            entries[Int(value.previous)].next = value.next
        }
        if value.next != Self.none { entries[Int(value.next)].previous = value.previous }
        entries[Int(entry)].node = Self.none
        freeEntries.append(entry)
        filterCount -= 1
        prune(from: value.node)
    }

    /// Calls `body` for the subscriptions whose filters match a valid topic name. One with several
    /// matching filters comes several times.
    func forEach(_ topic: Span<UInt8>, _ body: (UInt32) -> Void) {
        visit(Self.root, topic, offset: 0, body)
    }

    /// The same, appended.
    func collect(_ topic: Span<UInt8>, into receivers: inout [UInt32]) {
        forEach(topic) { receivers.append($0) }
    }

    /// Matches the levels of `topic` from `offset` on against the children of `node`.
    private func visit(
        _ start: Int32, _ topic: Span<UInt8>, offset startOffset: Int, _ body: (UInt32) -> Void
    ) {
        var node = start
        var offset = startOffset
        while true {
            let hidesWildcards = offset == 0 && !topic.isEmpty && topic[0] == Topic.dollar
            if !hidesWildcards { forEachEntry(of: nodes[Int(node)].multi, body) }
            guard offset <= topic.count else { return forEachEntry(of: node, body) }
            let end = Topic.levelEnd(in: topic, from: offset)
            let single = hidesWildcards ? Self.none : nodes[Int(node)].single
            let named =
                nodes[Int(node)].namedChildren > 0
                ? namedChild(of: node, label: topic.extracting(offset..<end)) : Self.none
            offset = end + 1
            if named != Self.none && single != Self.none {
                visit(named, topic, offset: offset, body)
            }
            node = single != Self.none ? single : named
            if node == Self.none { return }
        }
    }

    private func forEachEntry(of node: Int32, _ body: (UInt32) -> Void) {
        guard node != Self.none else { return }
        var entry = nodes[Int(node)].entries
        while entry != Self.none {
            body(entries[Int(entry)].subscription)
            entry = entries[Int(entry)].next
        }
    }

    // MARK: Nodes

    private mutating func child(of parent: Int32, label: Span<UInt8>) -> Int32 {
        let found =
            if Self.isWildcard(label, Topic.singleLevelWildcard) {
                nodes[Int(parent)].single
            } else if Self.isWildcard(label, Topic.multiLevelWildcard) {
                nodes[Int(parent)].multi
            } else {
                namedChild(of: parent, label: label)
            }
        return found == Self.none ? makeChild(of: parent, label: label) : found
    }

    private func namedChild(of parent: Int32, label: Span<UInt8>) -> Int32 {
        let hash = hashOf(label, with: UInt32(bitPattern: parent))
        var node = buckets[bucket(of: hash)]
        while node != Self.none {
            if nodes[Int(node)].hash == hash && nodes[Int(node)].parent == parent {
                let candidate = nodes[Int(node)].label
                if candidate.span.equals(label) { break }
            }
            node = nodes[Int(node)].nextInBucket
        }
        return node
    }

    private mutating func makeChild(of parent: Int32, label: Span<UInt8>) -> Int32 {
        let slot = freeNodes.popLast() ?? Int32(nodes.count)
        var node = Node(parent: parent, label: label.copied())
        node.isNamed =
            !Self.isWildcard(label, Topic.singleLevelWildcard)
            && !Self.isWildcard(label, Topic.multiLevelWildcard)
        if node.isNamed {
            node.hash = hashOf(label, with: UInt32(bitPattern: parent))
            nodes[Int(parent)].namedChildren += 1
        } else if Self.isWildcard(label, Topic.singleLevelWildcard) {
            nodes[Int(parent)].single = slot
        } else {
            nodes[Int(parent)].multi = slot
        }
        if Int(slot) == nodes.count {
            nodes.append(node)
        } else {
            nodes[Int(slot)] = node
        }
        if nodes.count > buckets.count {
            growBuckets()
        } else if node.isNamed {
            link(slot)
        }
        return slot
    }

    /// Removes nodes that hold nothing any more, upwards.
    private mutating func prune(from start: Int32) {
        var node = start
        while node != Self.root {
            let value = nodes[Int(node)]
            guard value.entries == Self.none, value.single == Self.none,
                value.multi == Self.none, value.namedChildren == 0
            else { return }
            if value.isNamed {
                unlink(node)
                nodes[Int(value.parent)].namedChildren -= 1
            } else if nodes[Int(value.parent)].single == node {
                nodes[Int(value.parent)].single = Self.none
            } else {
                nodes[Int(value.parent)].multi = Self.none
            }
            nodes[Int(node)] = Node(parent: Self.none)
            freeNodes.append(node)
            node = value.parent
        }
    }

    // MARK: Buckets

    private func bucket(of hash: UInt64) -> Int {
        Int(truncatingIfNeeded: hash) & (buckets.count &- 1)
    }

    private mutating func link(_ node: Int32) {
        let bucket = bucket(of: nodes[Int(node)].hash)
        nodes[Int(node)].nextInBucket = buckets[bucket]
        buckets[bucket] = node
    }

    private mutating func unlink(_ node: Int32) {
        let bucket = bucket(of: nodes[Int(node)].hash)
        let next = nodes[Int(node)].nextInBucket
        var other = buckets[bucket]
        if other == node {
            buckets[bucket] = next
            return
        }
        while nodes[Int(other)].nextInBucket != node {
            other = nodes[Int(other)].nextInBucket
            precondition(other != Self.none, "a named node is in its bucket")
        }
        nodes[Int(other)].nextInBucket = next
    }

    private mutating func growBuckets() {
        buckets = Array(repeating: Self.none, count: 2 * buckets.count)
        for node in nodes.indices where nodes[node].isNamed { link(Int32(node)) }
    }

    private static func isWildcard(_ label: Span<UInt8>, _ wildcard: UInt8) -> Bool {
        label.count == 1 && label[0] == wildcard
    }
}
