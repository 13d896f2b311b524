import BrokerWire

/// All topic filters, level by level. Nodes live in one array and refer to each other by index;
/// `+` and `#` have places of their own, other levels are found by (parent, label) in a
/// dictionary. Looking a topic up allocates nothing. Its cost grows with the levels of the topic
/// and the filters that match, not with the filters there are.
struct SubscriptionTrie {
    private struct Node {
        var parent: Int32
        var label: [UInt8] = []
        var key: EdgeKey?
        /// Next node with the same key: different labels with equal hashes.
        var nextWithKey = SubscriptionTrie.none
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

    private struct EdgeKey: Hashable {
        let parent: Int32
        let labelHash: Int
    }

    private static let none: Int32 = -1
    private static let root: Int32 = 0

    private var nodes: [Node] = [Node(parent: SubscriptionTrie.none)]
    private var freeNodes: [Int32] = []
    private var entries: [Entry] = []
    private var freeEntries: [Int32] = []
    private var edges: [EdgeKey: Int32] = [:]

    /// Filters held, each counted once per subscription.
    private(set) var filterCount = 0

    var nodeCount: Int { nodes.count - freeNodes.count }

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

    /// Appends the subscriptions whose filters match a valid topic name. One with several
    /// matching filters comes several times.
    func collect(_ topic: Span<UInt8>, into receivers: inout [UInt32]) {
        visit(Self.root, topic, offset: 0, into: &receivers)
    }

    /// Matches the levels of `topic` from `offset` on against the children of `node`.
    private func visit(
        _ node: Int32, _ topic: Span<UInt8>, offset: Int, into receivers: inout [UInt32]
    ) {
        let hidesWildcards = offset == 0 && !topic.isEmpty && topic[0] == Topic.dollar
        if !hidesWildcards { collectEntries(nodes[Int(node)].multi, into: &receivers) }
        guard offset <= topic.count else {
            collectEntries(node, into: &receivers)
            return
        }
        let end = Topic.levelEnd(in: topic, from: offset)
        if nodes[Int(node)].namedChildren > 0 {
            let named = namedChild(of: node, label: topic.extracting(offset..<end))
            if named != Self.none { visit(named, topic, offset: end + 1, into: &receivers) }
        }
        let single = nodes[Int(node)].single
        if single != Self.none && !hidesWildcards {
            visit(single, topic, offset: end + 1, into: &receivers)
        }
    }

    private func collectEntries(_ node: Int32, into receivers: inout [UInt32]) {
        guard node != Self.none else { return }
        var entry = nodes[Int(node)].entries
        while entry != Self.none {
            receivers.append(entries[Int(entry)].subscription)
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
        var node = edges[Self.key(parent, label)] ?? Self.none
        while node != Self.none {
            let candidate = nodes[Int(node)].label
            if candidate.span.equals(label) { break }
            node = nodes[Int(node)].nextWithKey
        }
        return node
    }

    private mutating func makeChild(of parent: Int32, label: Span<UInt8>) -> Int32 {
        let slot = freeNodes.popLast() ?? Int32(nodes.count)
        var node = Node(parent: parent, label: label.copied())
        if Self.isWildcard(label, Topic.singleLevelWildcard) {
            nodes[Int(parent)].single = slot
        } else if Self.isWildcard(label, Topic.multiLevelWildcard) {
            nodes[Int(parent)].multi = slot
        } else {
            let key = Self.key(parent, label)
            node.key = key
            node.nextWithKey = edges[key] ?? Self.none
            edges[key] = slot
            nodes[Int(parent)].namedChildren += 1
        }
        if Int(slot) == nodes.count {
            nodes.append(node)
        } else {
            nodes[Int(slot)] = node
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
            if let key = value.key {
                unlinkEdge(key, to: node)
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

    private mutating func unlinkEdge(_ key: EdgeKey, to node: Int32) {
        let next = nodes[Int(node)].nextWithKey
        guard var other = edges[key], other != node else {
            edges[key] = next == Self.none ? nil : next
            return
        }
        while nodes[Int(other)].nextWithKey != node {
            other = nodes[Int(other)].nextWithKey
            precondition(other != Self.none)
        }
        nodes[Int(other)].nextWithKey = next
    }

    private static func isWildcard(_ label: Span<UInt8>, _ wildcard: UInt8) -> Bool {
        label.count == 1 && label[0] == wildcard
    }

    /// Hashed with the process's random seed: labels are the clients' choice.
    private static func key(_ parent: Int32, _ label: Span<UInt8>) -> EdgeKey {
        var hasher = Hasher()
        var offset = 0
        while offset + 8 <= label.count {
            hasher.combine(label.loadUInt64(at: offset))
            offset += 8
        }
        while offset < label.count {
            hasher.combine(label[offset])
            offset += 1
        }
        return EdgeKey(parent: parent, labelHash: hasher.finalize())
    }
}
