import BrokerCore
import BrokerWire
import Testing

@testable import BrokerConfig

@Suite("Lint, advice and who may")
struct AccessLintTests {
    private func load(_ rules: String) throws -> AccessFile {
        try AccessFile(parsing: Array(("version = 1\n" + rules).utf8), names: .sample)
    }

    private func findings(_ rules: String) throws -> [String] {
        AccessLint(try load(rules)) { $0 < 2000 ? "user\($0)" : nil }.findings.map(\.description)
    }

    private func expect(
        _ rules: String, _ words: String, location: SourceLocation = #_sourceLocation
    ) throws {
        let found = try findings(rules)
        #expect(found.contains { $0.contains(words) }, "\(found)", sourceLocation: location)
    }

    @Test("Sound rules are left alone")
    func sound() throws {
        let found = try findings(
            """
            [[rule]]
            uid = 1000
            allow = "publish"
            topics = ["a/#", "users/%u/#"]
            [[rule]]
            uid = 1001
            allow = "publish"
            topics = "a/#"

            """)
        #expect(found == [])
    }

    @Test("Rules that an other one makes idle are found")
    func shadows() throws {
        let wide =
            "[[rule]]\nname = \"wide\"\nuid = \"0-1999\"\nallow = \"publish\"\n"
            + "topics = \"a/#\"\n"
        try expect(
            wide + "[[rule]]\nuid = 5\nallow = \"publish\"\ntopics = [\"a/b\", \"a/%u/+\"]\n",
            "line 7: rule \"rule 2\": adds nothing to rule \"wide\" in line 2")
        try expect(
            "[[rule]]\nuid = 5\nallow = \"publish\"\ntopics = \"a/b\"\n"
                + "[[rule]]\nname = \"no\"\nuid = \"any\"\ndeny = \"publish\"\ntopics = \"a/#\"\n",
            "allows nothing: rule \"no\"")
    }

    @Test("Rules that reach further than is wise are found")
    func reach() throws {
        try expect(
            "[[rule]]\nuid = \"any\"\nallow = \"publish\"\ntopics = \"#\"\n", "everybody may")
        try expect("[[rule]]\nuid = 0\nallow = \"publish\"\ntopics = \"#\"\n", "root may publish")
        try expect(
            "[[rule]]\nuid = 0\nallow = \"publish\"\ntopics = \"a\"\ndelegated = true\n",
            "delegated = true for root")
        try expect(
            "[[rule]]\nuid = 0\nlevel = \"kernel\"\nallow = \"publish\"\ntopics = \"a\"\n",
            "never holds")
        try expect("[[rule]]\nuid = 3000\nallow = \"inspect\"\n", "no name here")
        try expect("[[rule]]\nuid = 65534\nallow = \"inspect\"\n", "nobody in particular")
    }

    @Test("Advice names the nearest rule and a rule that would allow it")
    func advice() throws {
        let file = try load(
            "[[rule]]\nname = \"near\"\nuid = 1\nallow = \"publish\"\ntopics = \"a/#\"\n")
        let policy = file.policy(brokerUID: 990)
        let topic = Array("a/100%".utf8)
        let subject = Subject.local(uid: 2, gid: 2)
        let decision = policy.decide(.publish, topic: topic, subject)
        let advice = AccessAdvice(.publish, topic, subject, decision, under: policy)
        #expect(advice.nearest?.name == "near")
        #expect(advice.obstacle == "it does not speak of uid 2")
        let fixed = try load(advice.draft.text).policy(brokerUID: 990)
        #expect(fixed.decide(.publish, topic: topic, subject).isAllowed)
    }

    @Test("Who may is told in ranges, to the largest uid")
    func survey() throws {
        let policy = try load(
            """
            [[rule]]
            name = "some"
            uid = ["10-20", 4294967294]
            allow = "publish"
            topics = "a/#"
            [[rule]]
            uid = 15
            deny = "publish"
            topics = "a/b"

            """
        ).policy(brokerUID: 990)
        func allowed(_ topic: String, isFilter: Bool) -> [ClosedRange<UInt32>] {
            AccessSurvey(.publish, Array(topic.utf8), isFilter: isFilter, under: policy)
                .entries.filter { $0.decision.isAllowed }.map { $0.range.first...$0.range.last }
        }
        let last: UInt32 = 4_294_967_294
        #expect(allowed("a/b", isFilter: false) == [10...14, 16...20, last...last])
        #expect(allowed("a/#", isFilter: true) == [10...20, last...last])
        #expect(allowed("b", isFilter: false) == [])
    }

    @Test("Who may by group, namespace or broker is told besides")
    func conditions() throws {
        let policy = try load(
            """
            [[rule]]
            gid = ["sensors", "60-70"]
            allow = "publish"
            topics = "a"
            [[rule]]
            gid = 65
            deny = "publish"
            topics = "a"
            [[rule]]
            uid = [7, "100000-165535"]
            trust_domain = 1000
            allow = "publish"
            topics = "a"
            [[rule]]
            uid = 7
            opener_groups = 9
            allow = "publish"
            topics = "a"
            [[rule]]
            uid = "any"
            origin = ["edge-*", "hub"]
            allow = "publish"
            topics = "a"
            [[rule]]
            uid = "any"
            origin = "hub"
            deny = "publish"
            topics = "a"
            [[rule]]
            uid = 8
            gid = 8
            allow = "publish"
            topics = "b"
            [[rule]]
            uid = 8
            allow = "publish"
            topics = "b"

            """
        ).policy(brokerUID: 990)
        func found(_ topic: String) -> [AccessSurvey.Condition] {
            AccessSurvey(.publish, Array(topic.utf8), isFilter: false, under: policy)
                .conditions.map(\.who)
        }
        func range(_ first: UInt32, _ last: UInt32) -> IDRange { IDRange(first: first, last: last) }
        func who(_ change: (inout AccessSurvey.Condition) -> Void) -> AccessSurvey.Condition {
            var condition = AccessSurvey.Condition()
            change(&condition)
            return condition
        }
        let expected = [
            who { $0.gids = range(50, 50) }, who { $0.gids = range(60, 64) },
            who { $0.gids = range(66, 70) },
            who { ($0.uids, $0.trustDomains) = (range(7, 7), range(1000, 1000)) },
            who { ($0.uids, $0.trustDomains) = (range(100_000, 165_535), range(1000, 1000)) },
            who { ($0.uids, $0.openerGroups) = (range(7, 7), range(9, 9)) },
            who { $0.origin = "edge-*" },
        ]
        #expect(found("a") == expected)
        // What the uid alone is enough for is not told again.
        #expect(found("b").isEmpty)
    }

    private static let rulesForNames = """
        [[map]]
        origin = "edge-1"
        uid = 1000
        name = "alice"
        [[map]]
        origin = ["edge-*", "hub"]
        uid = "1000-1999"
        name = "sensors"
        [[map]]
        origin = "far"
        uid = "any"
        name = "guest"
        [[map]]
        origin = "far"
        uid = 7
        name = "never reached"
        [[map]]
        origin = "near"
        uid = ["0-5", "0-9"]
        gid = [3, "3-4"]
        name = "staff"
        [[rule]]
        user = ["alice", "sensors", "never reached"]
        allow = "publish"
        topics = ["a", "users/%u"]
        [[rule]]
        user = "sensors"
        origin = "hub"
        uid = "1500-1599"
        deny = "publish"
        topics = "a"
        [[rule]]
        user = "staff"
        allow = "publish"
        topics = "c"
        [[rule]]
        user = "guest"
        allow = "publish"
        topics = ["b", "home/%n/#"]
        [[rule]]
        uid = "any"
        origin = "*"
        allow = "publish"
        topics = ["open", "named/%n"]

        """

    @Test("Who may by a name of the identity map is told, with the uid at the other broker")
    func mappedNames() throws {
        let policy = try load(Self.rulesForNames).policy(brokerUID: 990)
        func found(_ topic: String, isFilter: Bool = false) -> [String] {
            let survey = AccessSurvey(
                .publish, Array(topic.utf8), isFilter: isFilter, under: policy)
            #expect(survey.mapped.cutShort.isEmpty)
            return survey.mapped.found.map { who, decision in
                let uids = who.uids.map { "\($0.first)-\($0.last)" } ?? "any"
                let gids = who.gids.map { " gid \($0.first)-\($0.last)" } ?? ""
                #expect(decision.isAllowed)
                return "\(who.mapped ?? "") \(uids) \(who.origin ?? "")\(gids)"
            }
        }
        #expect(
            found("a") == [
                "alice 1000-1000 edge-1", "sensors 1000-1999 edge-*", "sensors 1000-1499 hub",
                "sensors 1600-1999 hub",
            ])
        #expect(
            found("users/1000") == [
                "alice 1000-1000 edge-1", "sensors 1000-1000 edge-*", "sensors 1000-1000 hub",
            ])
        #expect(found("users/1001") == ["sensors 1001-1001 edge-*", "sensors 1001-1001 hub"])
        #expect(found("b") == ["guest any far"])
        #expect(found("c") == ["staff 0-9 near gid 3-4"])
        #expect(found("home/guest/x") == ["guest any far"])
        #expect(found("home/#", isFilter: true) == ["guest any far"])
        // Without a name as well, or with no name at all.
        #expect(found("open") == [])
        #expect(found("home/alice/x") == [])
        // A rule for brokers that asks for the name in the topic.
        #expect(found("named/alice") == ["alice 1000-1000 edge-1"])
        // Each sender is judged as it would be if it published.
        for (topic, uid, origin, isAllowed) in [
            ("a", 1000, "edge-1", true), ("a", 1550, "hub", false), ("a", 1550, "edge-2", true),
            ("a", 2000, "hub", false), ("b", 7, "far", true), ("a", 7, "far", false),
        ] {
            var subject = Subject.local(uid: UInt32(uid), gid: 1)
            subject.origin = Array(origin.utf8)
            subject.level = .remote
            let decision = policy.decide(.publish, topic: Array(topic.utf8), subject)
            #expect(decision.isAllowed == isAllowed, "\(topic) \(uid) \(origin)")
        }
    }

    @Test("What the survey of the map leaves out is said")
    func mapCutShort() throws {
        let rules = (0..<300).map { number in
            """
            [[rule]]
            user = "all"
            uid = \(2 * number + 10)
            allow = "publish"
            topics = "a"

            """
        }
        let map = "[[map]]\norigin = \"edge\"\nuid = \"any\"\nname = \"all\"\n"
        let policy = try load(map + rules.joined()).policy(brokerUID: 990)
        let mapped = AccessSurvey(.publish, Array("a".utf8), isFilter: false, under: policy).mapped
        #expect(mapped.cutShort.map(\.name) == ["all"])
        #expect(mapped.found.count == AccessSurvey.conditionsMax / 2)
    }
}
