import BrokerWire
import TestSupport
import Testing

@testable import BrokerCore

@Suite("Names that the identity map gives senders of other brokers")
struct IdentityMapTests {
    private static func entry(
        _ name: String, _ origins: [String], uids: [ClosedRange<UInt32>] = [],
        gids: [ClosedRange<UInt32>] = []
    ) -> IdentityMap.Entry {
        func ranges(_ ranges: [ClosedRange<UInt32>]) -> [IDRange] {
            ranges.map { IDRange(first: $0.lowerBound, last: $0.upperBound) }
        }
        return IdentityMap.Entry(
            line: 1, origins: origins.map { Array($0.utf8) }, uids: ranges(uids),
            gids: ranges(gids), name: name)
    }

    private static func remote(
        _ uid: UInt32, at origin: String, gid: UInt32 = 7, opener: UInt32? = nil
    ) -> Subject {
        Subject(
            uid: uid, gid: gid, openerUID: opener ?? uid, openerGID: gid, openerGroups: [],
            isDelegated: opener != nil, isOpenersProcess: opener == nil, level: .remote,
            domain: .own, origin: Array(origin.utf8))
    }

    private static func local(_ uid: UInt32) -> Subject {
        Subject(
            uid: uid, gid: 7, openerUID: uid, openerGID: 7, openerGroups: [],
            isDelegated: false, isOpenersProcess: true, level: .kernel, domain: .own, origin: [])
    }

    private static func rule(
        _ topic: String, _ change: (inout AccessRule) -> Void
    ) throws -> AccessRule {
        var rule = AccessRule(name: topic, line: 1)
        rule.allows = ActionSet([.publish, .subscribe])
        rule.topics = [try TopicPattern(topic)]
        change(&rule)
        return rule
    }

    private static func allows(
        _ policy: AccessPolicy, _ topic: String, _ subject: Subject
    ) -> Bool {
        policy.decide(.publish, topic: Array(topic.utf8), subject).isAllowed
    }

    @Test func `origins, ranges and groups say who has a name, and the first entry counts`() {
        let map = IdentityMap([
            Self.entry("alice", ["edge-1"], uids: [1000...1000]),
            Self.entry("sensors", ["edge-*", "hub"], uids: [1000...1999, 5000...5000]),
            Self.entry("staff", ["*"], gids: [50...50]),
        ])
        func name(_ subject: Subject) -> String? { map.entry(for: subject, as: .sender)?.name }
        #expect(name(Self.remote(1000, at: "edge-1")) == "alice")
        #expect(name(Self.remote(1000, at: "edge-2")) == "sensors")
        #expect(name(Self.remote(1999, at: "hub")) == "sensors")
        #expect(name(Self.remote(5000, at: "edge-")) == "sensors")
        #expect(name(Self.remote(2000, at: "hub")) == nil)
        #expect(name(Self.remote(1000, at: "my-edge-1")) == nil)
        #expect(name(Self.remote(9, at: "any", gid: 50)) == "staff")
        #expect(name(Self.local(1000)) == nil)
    }

    @Test func `a mapped name is no uid, and no uid is a mapped name`() throws {
        let map = IdentityMap([Self.entry("alice", ["edge-1"], uids: [1000...1000])])
        let policy = AccessPolicy.rules(
            [
                try Self.rule("local") { $0.uids = [IDRange(first: 1000, last: 1000)] },
                try Self.rule("mapped") { $0.users = ["alice"] },
                try Self.rule("home/%n") { $0.users = ["alice"] },
                try Self.rule("both") {
                    $0.users = ["alice"]
                    $0.origins = [Array("edge-2".utf8)]
                },
            ], brokerUID: 990, userNames: [1000: "alice"], map: map)
        let there = Self.remote(1000, at: "edge-1")
        #expect(Self.allows(policy, "mapped", there) && Self.allows(policy, "home/alice", there))
        #expect(!Self.allows(policy, "local", there) && !Self.allows(policy, "both", there))
        let here = Self.local(1000)
        #expect(Self.allows(policy, "local", here))
        #expect(!Self.allows(policy, "mapped", here) && !Self.allows(policy, "home/alice", here))
        let unmapped = Self.remote(1001, at: "edge-1")
        for topic in ["local", "mapped", "home/alice", "both"] {
            #expect(!Self.allows(policy, topic, unmapped))
        }
    }

    @Test func `sender and opener have their names each`() throws {
        let map = IdentityMap([
            Self.entry("sender", ["edge"], uids: [1...1]),
            Self.entry("opener", ["edge"], uids: [2...2]),
        ])
        let rules = [try Self.rule("t") { $0.users = ["sender"] }]
        let strict = AccessPolicy.rules(rules, brokerUID: 990, map: map)
        let delegated = Self.remote(1, at: "edge", opener: 2)
        #expect(
            strict.decide(.publish, topic: Array("t".utf8), delegated)
                == .denied(uid: 2, as: .opener, rule: nil))
        let both = AccessPolicy.rules(
            rules + [try Self.rule("t") { $0.users = ["opener"] }], brokerUID: 990, map: map)
        #expect(Self.allows(both, "t", delegated))
    }

    /// Whatever the map says: a rule with neither origin nor user never matches a remote sender,
    /// and one with either never a local one.
    @Test func `rules speak of local or of remote senders, never of both`() throws {
        var random = SeededRandom()
        let names = ["alice", "bob", "carol"]
        let brokers = ["edge-1", "edge-2", "hub"]
        var matched = [0, 0]
        for _ in 0..<20_000 {
            let map = IdentityMap(
                (0..<random.int(in: 0...4)).map { _ in
                    let first = UInt32(random.int(in: 0...3))
                    return Self.entry(
                        random.pick(names), [random.pick(brokers + ["edge-*", "*"])],
                        uids: [first...(first + UInt32(random.int(in: 0...2)))])
                })
            let rule = try Self.rule("t") {
                if random.oneIn(2) { $0.uids = [IDRange(first: 0, last: 3)] }
                if random.oneIn(3) { $0.origins = [Array(random.pick(brokers + ["*"]).utf8)] }
                if random.oneIn(3) { $0.users = [random.pick(names)] }
            }
            let policy = AccessPolicy.rules([rule], brokerUID: 990, map: map)
            let uid = UInt32(random.int(in: 0...5))
            let isRemote = random.bool()
            let subject =
                isRemote ? Self.remote(uid, at: random.pick(brokers)) : Self.local(uid)
            let speaksOfRemote = !rule.origins.isEmpty || !rule.users.isEmpty
            let isAllowed = Self.allows(policy, "t", subject)
            if isAllowed { matched[isRemote ? 1 : 0] += 1 }
            #expect(!isAllowed || speaksOfRemote == isRemote, "\(rule) \(subject) \(random)")
            guard isRemote, !rule.users.isEmpty, isAllowed else { continue }
            let name = map.entry(for: subject, as: .sender)?.name
            #expect(name.map(rule.users.contains) == true, "\(random)")
        }
        #expect(matched[0] > 1_000 && matched[1] > 500)
    }
}
