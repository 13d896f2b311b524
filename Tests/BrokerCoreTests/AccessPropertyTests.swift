import BrokerCore
import BrokerWire
import TestSupport
import Testing

@Suite("Access rules, against a judge who looks at every topic on its own")
struct AccessPropertyTests {
    @Test("No path delivers what the rules forbid, or withholds what they allow")
    func everyPath() throws {
        var seeds = SeededRandom()
        var judgements = 0
        var delivered = 0
        var rounds = 0
        while judgements < 150_000 {
            let run = AccessRun(SeededRandom(seed: seeds.next()))
            try run.run()
            judgements += run.judgements
            delivered += run.delivered
            rounds += 1
            try #require(run.failures.isEmpty, "\(run.failures.prefix(3)); \(seeds)")
        }
        print("\(judgements) judgements in \(rounds) runs, \(delivered) deliveries; \(seeds)")
        #expect(delivered > 1_000)
    }

    @Test("What has only the empty topic in common has nothing in common")
    func emptyTopic() {
        #expect(Topic.intersection(Array("+".utf8), Array("/#".utf8)) == nil)
        #expect(Topic.intersection(Array("/#".utf8), Array("+".utf8)) == nil)
        #expect(Topic.intersection(Array("#".utf8), Array("/#".utf8)) == Array("/#".utf8))
        #expect(Topic.intersection(Array("a/+".utf8), Array("a//#".utf8)) == Array("a/".utf8))
    }

    @Test("Intersection and covering of filters agree with matching topic by topic")
    func filterAlgebra() {
        var random = SeededRandom()
        for _ in 0..<20_000 {
            let first = Array(RandomTopic.filter(&random).utf8)
            let second = Array(RandomTopic.filter(&random).utf8)
            let common = Topic.intersection(first, second)
            #expect(common != [], "\(random)")
            let covers = Topic.covers(pattern: first, filter: second)
            for _ in 0..<5 {
                let name = Array(RandomTopic.name(&random).utf8)
                let isFirst = TopicReference.matches(filter: first, name: name)
                let isSecond = TopicReference.matches(filter: second, name: name)
                let isCommon = common.map { TopicReference.matches(filter: $0, name: name) }
                #expect((isCommon ?? false) == (isFirst && isSecond), "\(random)")
                if covers { #expect(isFirst || !isSecond, "\(random)") }
            }
            #expect(Topic.covers(pattern: first, filter: first))
            if let common { #expect(Topic.covers(pattern: first, filter: common), "\(random)") }
        }
    }
}
