import BrokerWire
import TestSupport
import Testing

@testable import BrokerCore

@Suite("RouteCache: what is known of a topic and subject")
struct RouteCacheTests {
    private func find(_ cache: RouteCache, _ topic: String, subject: UInt32) -> RouteCache.Route? {
        let name = Array(topic.utf8)
        let hash = cache.hash(name.span, subject: subject)
        return cache.find(name.span, subject: subject, hash: hash)
    }

    private func insert(
        _ cache: inout RouteCache, _ topic: String, subject: UInt32, _ receivers: [UInt32]
    ) {
        let name = Array(topic.utf8)
        cache.makeRoom()
        let first = cache.receivers.count
        cache.receivers += receivers
        let route = RouteCache.Route(reason: .success, first: first, count: receivers.count)
        let hash = cache.hash(name.span, subject: subject)
        cache.insert(route, topic: name.span, subject: subject, hash: hash)
    }

    @Test("A route is found for its topic and subject, and for no other")
    func findAndMiss() {
        var cache = RouteCache(seed: 1)
        #expect(find(cache, "a", subject: 0) == nil)
        insert(&cache, "a", subject: 0, [3, 4])
        #expect(find(cache, "a", subject: 0)?.count == 2)
        #expect(find(cache, "a", subject: 1) == nil)
        #expect(find(cache, "b", subject: 0) == nil)
        cache.invalidate()
        #expect(find(cache, "a", subject: 0) == nil)
        #expect(cache.receivers.isEmpty)
    }

    @Test("Topics of 128 bytes are kept, longer ones leave no receivers behind")
    func longTopics() {
        var cache = RouteCache(seed: 1)
        let longest = String(repeating: "x", count: 128)
        insert(&cache, longest, subject: 0, [1])
        #expect(find(cache, longest, subject: 0)?.count == 1)
        for _ in 0..<100 { insert(&cache, longest + "y", subject: 0, [1, 2, 3]) }
        #expect(find(cache, longest + "y", subject: 0) == nil)
        #expect(cache.receivers.count == 4)
        insert(&cache, "z", subject: 0, [9])
        #expect(cache.receivers == [1, 9])
        #expect(find(cache, longest, subject: 0)?.first == 0)
    }

    @Test("Whatever is found is what was put in last, however full it is")
    func random() {
        var random = SeededRandom()
        var cache = RouteCache(seed: random.next())
        var last: [String: UInt32] = [:]
        for step in UInt32(0)..<20_000 {
            let topic = "t/\(random.int(in: 0...9_000))"
            let subject = UInt32(random.int(in: 0...1))
            let key = "\(topic) \(subject)"
            if let route = find(cache, topic, subject: subject) {
                #expect(route.count == 1)
                if cache.receivers[route.first] != last[key] {
                    Issue.record("wrong route for \(key); \(random)")
                }
            } else {
                insert(&cache, topic, subject: subject, [step])
                last[key] = step
            }
        }
    }

    @Test("Topics that differ in one byte or in length have different hashes")
    func hashes() {
        let cache = RouteCache(seed: 99)
        var seen: Set<UInt64> = []
        var count = 0
        for length in 1...40 {
            for position in 0..<length {
                var name = [UInt8](repeating: 0x61, count: length)
                name[position] = 0x62
                seen.insert(cache.hash(name.span, subject: 0))
                count += 1
            }
        }
        #expect(seen.count == count)
    }
}
