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
        var cache = RouteCache(hash: KeyedHash(key: 1))
        #expect(find(cache, "a", subject: 0) == nil)
        insert(&cache, "a", subject: 0, [3, 4])
        #expect(find(cache, "a", subject: 0)?.count == 2)
        #expect(find(cache, "a", subject: 1) == nil)
        #expect(find(cache, "b", subject: 0) == nil)
        cache.invalidate()
        #expect(find(cache, "a", subject: 0) == nil)
        #expect(cache.receivers.isEmpty)
    }

    @Test("Twenty thousand topics are all kept, and the memory for them goes back when unused")
    func growth() {
        var cache = RouteCache(hash: KeyedHash(key: 1))
        for number in UInt32(0)..<20_000 { insert(&cache, "t/\(number)", subject: 7, [number]) }
        for number in UInt32(0)..<20_000 {
            let route = find(cache, "t/\(number)", subject: 7)
            #expect(route.map { cache.receivers[$0.first] } == number)
        }
        #expect(cache.slotCount == 65_536)
        // What was in use is kept room for once more, and then no longer.
        var freed = cache.trim()
        #expect(freed == 0)
        #expect(cache.slotCount == 65_536)
        #expect(find(cache, "t/1", subject: 7) == nil)
        insert(&cache, "t/1", subject: 7, [1])
        freed = cache.trim()
        #expect(freed > 64_512 * 32)
        #expect(cache.slotCount == RouteCache.slotsMin)
        insert(&cache, "t/1", subject: 7, [2])
        freed = cache.trim()
        #expect(freed == 0)
        #expect(find(cache, "t/1", subject: 7)?.count == 1, "a small cache is left alone")
    }

    @Test("Routes, topics and receivers without end stay within the bounds")
    func bounds() {
        var cache = RouteCache(hash: KeyedHash(key: 1))
        for number in 0...RouteCache.routesMax { insert(&cache, "\(number)", subject: 0, []) }
        #expect(cache.slotCount == RouteCache.slotsMax)
        #expect(find(cache, "0", subject: 0) == nil)
        #expect(find(cache, "\(RouteCache.routesMax)", subject: 0)?.count == 0)
        cache = RouteCache(hash: KeyedHash(key: 1))
        let long = String(repeating: "x", count: 1_000)
        let longTopics = RouteCache.topicBytesMax / 1_000
        for number in 0...longTopics { insert(&cache, "\(long)\(number)", subject: 0, []) }
        #expect(find(cache, "\(long)0", subject: 0) == nil)
        cache = RouteCache(hash: KeyedHash(key: 1))
        let many = [UInt32](repeating: 3, count: 100_000)
        for number in 0..<12 { insert(&cache, "\(number)", subject: 0, many) }
        #expect(find(cache, "0", subject: 0) == nil)
        #expect(find(cache, "11", subject: 0)?.count == 100_000)
        #expect(cache.receivers.count <= RouteCache.receiversMax + many.count)
    }

    @Test("Topics with the same receivers share them")
    func sharing() {
        var cache = RouteCache(hash: KeyedHash(key: 1))
        var routes: [RouteCache.Route] = []
        for receivers: [UInt32] in [[1, 2, 3], [1, 2, 3], [1, 2], [], [1, 2, 4]] {
            cache.makeRoom()
            let first = cache.receivers.count
            cache.receivers += receivers
            routes.append(
                cache.shareReceivers(
                    of: RouteCache.Route(reason: .success, first: first, count: receivers.count)))
            #expect(
                Array(cache.receivers[routes[routes.count - 1].first...].prefix(receivers.count))
                    == receivers)
        }
        #expect(routes[0] == routes[1])
        #expect(cache.receivers == [1, 2, 3, 1, 2, 1, 2, 4])
        cache.invalidate()
        cache.receivers = [1, 2, 4]
        let anew = RouteCache.Route(reason: .success, first: 0, count: 3)
        #expect(cache.shareReceivers(of: anew) == anew)
    }

    @Test("Whatever is found is what was put in last, however full it is")
    func random() {
        var random = SeededRandom()
        var cache = RouteCache(hash: KeyedHash(key: random.next()))
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
        let cache = RouteCache(hash: KeyedHash(key: 99))
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
