import BrokerWire
import TestSupport
import Testing

@testable import BrokerCore

@Suite("SubscriptionTrie: filters in, matching subscriptions out")
struct SubscriptionTrieTests {
    private func matches(_ trie: SubscriptionTrie, _ topic: String) -> [UInt32] {
        var receivers: [UInt32] = []
        let name = Array(topic.utf8)
        trie.collect(name.span, into: &receivers)
        return receivers.sorted()
    }

    @discardableResult
    private func insert(
        _ trie: inout SubscriptionTrie, _ filter: String, _ subscription: UInt32
    ) -> Int32 {
        let bytes = Array(filter.utf8)
        return trie.insert(bytes.span, subscription: subscription)
    }

    @Test(
        "A filter matches the names that the protocol says",
        arguments: [
            ("a/b", ["a/b"], ["a", "a/b/c", "a/", "A/b"]),
            ("+", ["a", "é"], ["a/b", "$a", "/"]),
            ("a/+", ["a/b", "a/"], ["a", "a/b/c"]),
            ("+/+", ["/", "a/b", "/b"], ["a", "$a/b"]),
            ("#", ["a", "/", "a/b/c"], ["$SYS/x", "$"]),
            ("a/#", ["a", "a/", "a/b", "a/b/c"], ["ab", "b"]),
            ("+/b/#", ["a/b", "/b/c"], ["b", "$a/b"]),
            ("$SYS/#", ["$SYS", "$SYS/x/y"], ["SYS", "$SYSx"]),
            ("a//b", ["a//b"], ["a/b", "a/x/b"]),
        ])
    func matching(filter: String, hits: [String], misses: [String]) {
        var trie = SubscriptionTrie(hash: KeyedHash(key: 1))
        let entry = insert(&trie, filter, 7)
        for topic in hits { #expect(matches(trie, topic) == [7], "\(topic)") }
        for topic in misses { #expect(matches(trie, topic) == [], "\(topic)") }
        trie.remove(entry)
        for topic in hits { #expect(matches(trie, topic) == [], "\(topic)") }
        #expect(trie.nodeCount == 1)
    }

    @Test("The same filter twice counts twice, and is removed one by one")
    func duplicates() {
        var trie = SubscriptionTrie(hash: KeyedHash(key: 1))
        let first = insert(&trie, "a/b", 1)
        let second = insert(&trie, "a/b", 1)
        let third = insert(&trie, "a/b", 2)
        #expect(matches(trie, "a/b") == [1, 1, 2])
        trie.remove(second)
        #expect(matches(trie, "a/b") == [1, 2])
        trie.remove(third)
        trie.remove(first)
        #expect(trie.filterCount == 0)
        #expect(trie.nodeCount == 1)
    }

    @Test("Nodes go when nothing hangs on them, and stay when something does")
    func pruning() {
        var trie = SubscriptionTrie(hash: KeyedHash(key: 1))
        let long = insert(&trie, "a/b/c/d", 1)
        let short = insert(&trie, "a/b", 2)
        #expect(trie.nodeCount == 5)
        trie.remove(long)
        #expect(trie.nodeCount == 3)
        #expect(matches(trie, "a/b") == [2])
        trie.remove(short)
        #expect(trie.nodeCount == 1)
    }

    @Test("Random filters match random names as the grammar says, while they come and go")
    func bruteForce() {
        var random = SeededRandom()
        var trie = SubscriptionTrie(hash: KeyedHash(key: 1))
        var held: [(filter: [UInt8], subscription: UInt32, entry: Int32)] = []
        for _ in 0..<4_000 {
            if held.count > 60 || (random.bool() && held.count > 20) {
                let removed = held.remove(at: random.int(in: 0...(held.count - 1)))
                trie.remove(removed.entry)
            } else {
                let filter = Array(RandomTopic.filter(&random).utf8)
                let subscription = UInt32(random.int(in: 0...19))
                let entry = trie.insert(filter.span, subscription: subscription)
                held.append((filter, subscription, entry))
            }
            let name = Array(RandomTopic.name(&random).utf8)
            var receivers: [UInt32] = []
            trie.collect(name.span, into: &receivers)
            let expected = held.filter { TopicReference.matches(filter: $0.filter, name: name) }
            #expect(
                receivers.sorted() == expected.map(\.subscription).sorted(),
                "\(random)")
        }
        for item in held { trie.remove(item.entry) }
        #expect(trie.nodeCount == 1)
        #expect(trie.filterCount == 0)
    }

    @Test("Thousands of filters are found while there are more and more, and fewer and fewer")
    func manyFilters() {
        var random = SeededRandom()
        var trie = SubscriptionTrie(hash: KeyedHash(key: random.next()))
        var held = (UInt32(0)..<20_000).map { number in
            (number: number, entry: insert(&trie, "device-\(number)/\(number % 7)", number))
        }
        #expect(matches(trie, "device-19999/0") == [19_999])
        held.shuffle(using: &random)
        for removed in held.dropFirst(100) { trie.remove(removed.entry) }
        for left in held.prefix(100) {
            #expect(matches(trie, "device-\(left.number)/\(left.number % 7)") == [left.number])
        }
        for removed in held.dropFirst(100).prefix(100) {
            #expect(matches(trie, "device-\(removed.number)/\(removed.number % 7)").isEmpty)
        }
        #expect(trie.filterCount == 100, "\(random)")
        for left in held.prefix(100) { trie.remove(left.entry) }
        #expect(trie.nodeCount == 1)
    }

    @Test("Removing one of very many equal filters is no search")
    func manyEqualFilters() {
        var trie = SubscriptionTrie(hash: KeyedHash(key: 1))
        let filter = Array("a".utf8)
        let entries = (UInt32(0)..<100_000).map { trie.insert(filter.span, subscription: $0) }
        for entry in entries { trie.remove(entry) }
        #expect(trie.nodeCount == 1)
    }
}
