import BrokerCore
import BrokerWire
import TestSupport
import Testing

@testable import BrokerConfig

extension NameDirectory {
    static let sample = AccessFileInspection.names
}

@Suite("Access files: what loads, what does not, and in which line")
struct AccessFileTests {
    private func load(_ text: String) throws -> AccessFile {
        try AccessFile(parsing: Array(text.utf8), names: .sample)
    }

    /// A rule with one more line in it; the line is number 6.
    private func rule(_ line: String) -> String {
        """
        version = 1
        [[rule]]
        name = "x"
        allow = ["publish"]
        topics = ["t"]
        \(line)

        """
    }

    private func problems(_ text: String) -> [ConfigurationProblem] {
        do {
            _ = try AccessFile(parsing: Array(text.utf8), names: .sample)
            return []
        } catch {
            return error.problems
        }
    }

    private func expect(
        _ text: String, _ line: Int, _ words: String,
        location: SourceLocation = #_sourceLocation
    ) {
        problems(text).expect(line, words, location: location)
    }

    @Test("A whole rule is read: numbers, names, ranges, lines")
    func wholeRule() throws {
        let file = try load(
            """
            # who may
            version = 1

            [[rule]]
            name   = "sensors report"
            uid    = [1000, "high", "2000-2999"]
            gid    = ["sensors"]
            allow  = ["publish"]
            topics = ["sensors/+/reading",
                      "users/%u/#"]
            [[rule]]
            name = "second"
            uid = "any"
            deny = ["subscribe", "inspect"]
            topics = "secret/#"

            """)
        let first = try #require(file.rules.first)
        #expect(first.name == "sensors report")
        #expect(first.line == 4)
        #expect(first.uids.map(\.first) == [1000, 2_147_483_648, 2000])
        #expect(first.gids == [IDRange(first: 50, last: 50)])
        #expect(first.allows.actions == [.publish])
        #expect(first.topics.map(\.text) == ["sensors/+/reading", "users/%u/#"])
        #expect(file.rules.last?.line == 11)
        #expect(file.rules.last?.denies.actions == [.subscribe, .inspect])
        #expect(file.rules.last?.uids.isEmpty == true)
        #expect(file.warnings.isEmpty)
    }

    @Test(
        "Empty files and files of comments deny everything and say so",
        arguments: ["", "# no\n", "\n\n"])
    func empty(_ text: String) throws {
        let file = try load(text)
        #expect(file.rules.isEmpty)
        #expect(file.warnings.map(\.text).contains { $0.contains("everything is denied") })
        let policy = file.policy(brokerUID: 990)
        let topic = Array("t".utf8)
        #expect(!policy.decide(.publish, topic: topic, .local(uid: 0, gid: 0)).isAllowed)
        #expect(policy.decide(.administer, topic: [], .local(uid: 0, gid: 0)).isAllowed)
        #expect(!policy.decide(.inspect, topic: [], .local(uid: 1, gid: 1)).isAllowed)
    }

    @Test("Files that were cut off are refused, wherever the cut is")
    func truncated() throws {
        let whole = Array(rule("uid = [1000, 2000]").utf8)
        #expect(throws: Never.self) { try AccessFile(parsing: whole, names: .sample) }
        for length in 1..<whole.count - 1 {
            let cut = Array(whole[..<length])
            do {
                let file = try AccessFile(parsing: cut, names: .sample)
                // What is left says less, never more.
                #expect(file.rules.isEmpty, "cut at \(length)")
            } catch {
                #expect(error.problems.allSatisfy { $0.line >= 0 })
            }
        }
    }

    @Test("Byte order marks, NUL and bytes that are no UTF-8 are refused")
    func encodings() {
        let text = Array(rule("uid = 1").utf8)
        for (mark, word) in [
            ([0xEF, 0xBB, 0xBF], "UTF-8"), ([0xFF, 0xFE], "UTF-16"), ([0xFE, 0xFF], "UTF-16"),
        ] as [([UInt8], String)] {
            let error = #expect(throws: ConfigurationError.self) {
                try AccessFile(parsing: mark + text, names: .sample)
            }
            #expect(error?.problems.first?.line == 1)
            #expect(error?.description.contains(word) == true)
        }
        let error = #expect(throws: ConfigurationError.self) {
            try AccessFile(parsing: text + [0xFF, 0x0A], names: .sample)
        }
        #expect(error?.description.hasPrefix("line 7: bytes that are not UTF-8: save") == true)
        expect(rule("uid = \"a\\u0000b\""), 6, "NUL")
        expect(rule("uid = 1\n# \u{0}"), 7, "NUL")
    }

    @Test("Uids run to 4294967294; 4294967295 is nobody's")
    func largeUIDs() throws {
        let file = try load(rule("uid = [2147483648, \"3000000000-4294967294\"]"))
        #expect(file.rules[0].uids.map(\.last) == [2_147_483_648, 4_294_967_294])
        expect(rule("uid = [4294967295]"), 6, "never a uid")
        expect(rule("uid = \"0-4294967295\""), 6, "never a uid")
        expect(rule("uid = \"4294967295\""), 6, "never a uid")
        expect(rule("uid = \"none\""), 6, "never a uid")
        expect(rule("gid = 4294967295"), 6, "never a gid")
        expect(rule("uid = 4294967296"), 6, "is no uid")
        expect(rule("uid = -1"), 6, "is no uid")
        expect(rule("uid = 18446744073709551616"), 6, "")
    }

    @Test("Unknown names are refused with their line")
    func unknownNames() {
        expect(
            rule("uid = [1000,\n\"mallory\"]"), 6,
            "no user \"mallory\" on this machine: give a number, or a name that getpwnam(3)")
        expect(rule("gid = \"nogroup\""), 6, "a name that getgrnam(3) finds")
        expect(rule("uid = \"20-10\""), 6, "empty")
        for text in ["1-2-3", "1-", "-1", "-"] {
            expect(rule("uid = \"\(text)\""), 6, "not a uid")
        }
        expect(rule("uid = \"\""), 6, "no user")
        expect(rule("uid = []"), 6, "nobody")
        expect(rule("uid = true"), 6, "number, a name or a range")
    }

    @Test("Names that mean the same uid, and ranges that overlap, are reported")
    func overlaps() throws {
        let file = try load(rule("uid = [\"alice\", \"alice2\", \"900-1100\"]"))
        #expect(file.warnings.count == 2)
        #expect(file.warnings.allSatisfy { $0.line == 6 && $0.text.contains("overlaps") })
    }

    /// Comparing each with all others would take minutes.
    @Test("A list of 200,000 uids is read, and what overlaps in it is found")
    func longLists() throws {
        // Backwards, with room between for one range that is as wide as three of them.
        let uids = (0..<200_000).reversed().map { String(10 * $0) }.joined(separator: ", ")
        let file = try load(rule("uid = [\(uids), \"500005-500025\"]"))
        #expect(file.rules[0].uids.count == 200_001)
        #expect(
            file.warnings.map(\.text) == [
                "uid 500005-500025 overlaps 500020 in the same list",
                "uid 500005-500025 overlaps 500010 in the same list",
            ])
        let decision = file.policy(brokerUID: 990).decide(
            .publish, topic: Array("t".utf8), .local(uid: 1_999_990, gid: 1))
        #expect(decision.isAllowed)
    }

    @Test("A list is warned of if two of its ranges overlap, and of ranges that do")
    func overlapsOfAnyKind() throws {
        var random = SeededRandom()
        for _ in 0..<1_000 {
            let ranges = (0...random.int(in: 0...5)).map { _ in
                let first = random.int(in: 0...20)
                return first...(first + random.int(in: 0...3))
            }
            let texts = ranges.map { "\"\($0.lowerBound)-\($0.upperBound)\"" }
            let warnings = try load(rule("uid = [\(texts.joined(separator: ", "))]")).warnings
            func overlapsBefore(_ index: Int) -> [String] {
                ranges[..<index].filter { $0.overlaps(ranges[index]) }.map {
                    let other =
                        $0.count == 1
                        ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)"
                    let range = "\(ranges[index].lowerBound)-\(ranges[index].upperBound)"
                    return "uid \(range) overlaps \(other) in the same list"
                }
            }
            let real = Set(ranges.indices.flatMap(overlapsBefore))
            #expect(warnings.isEmpty == real.isEmpty, "\(texts); \(random)")
            #expect(warnings.allSatisfy { real.contains($0.text) }, "\(texts); \(random)")
        }
    }

    @Test("Two rules of one name are refused, with both lines")
    func duplicateNames() {
        expect(
            rule("uid = 1") + "[[rule]]\nname = \"x\"\nuid = 2\nallow = \"inspect\"\n", 8,
            "line 2")
    }

    @Test("What nobody knows or nothing means is refused")
    func nonsense() {
        expect(rule("uid = 1\nuids = 2"), 7, "unknown key 'uids'")
        expect(rule("uid = 1\nlevel = \"sure\""), 7, "unknown level")
        expect(rule("uid = 1\nlevel = []"), 7, "empty list of levels")
        expect(rule("uid = 1\ndelegated = 1"), 7, "true or false")
        for origin in ["", "a b", "a/b", "ä", String(repeating: "a", count: 65)] {
            expect(rule("uid = 1\norigin = \"\(origin)\""), 7, "is the name of no broker")
        }
        for origin in ["*", "edge-*", "*-1", "e*1", "A.b_9"] {
            #expect(problems(rule("uid = 1\norigin = \"\(origin)\"")).isEmpty, "\(origin)")
        }
        expect(rule(""), 2, "names nobody")
        expect("version = 1\n[[rule]]\nuid = 1\ntopics = \"t\"\n", 2, "neither allows nor denies")
        expect("version = 1\n[[rule]]\nuid = 1\nallow = \"publish\"\n", 2, "topics are missing")
        expect("version = 1\n[[rule]]\nuid = 1\nallow = \"fly\"\n", 4, "unknown action")
        expect(rule("uid = 1\ndeny = [\"publish\"]"), 7, "both allows and denies")
        expect("version = 2\n", 1, "not known")
        expect("[[rule]]\nuid = 1\nallow = \"inspect\"\n", 1, "'version = 1' is missing")
        expect("version = 1\nrules = 3\n", 2, "unknown key 'rules'")
        expect("version = 1\n[rule]\nuid = 1\n", 2, "two pairs of brackets")
        expect("version = 1\nuid = [1\n", 2, "not TOML")
    }

    @Test("Topics are filters, and placeholders keep to their level")
    func topics() throws {
        for text in ["a/#/b", "a+", "", "%x", "%", "$share/g/t", "a/%u+", "x\\u0007"] {
            expect(
                "version = 1\n[[rule]]\nuid = 1\nallow = \"publish\"\ntopics = [\"\(text)\"]\n", 5,
                "")
        }
        let file = try load(
            "version = 1\n[[rule]]\nuid = 1\nallow = \"publish\"\n"
                + "topics = [\"%%/x%u/#\", \"%n/+\"]\n")
        let patterns = file.rules[0].topics
        #expect(
            patterns[0].filter(uid: 7, gid: 8, userName: nil, origin: [])
                == Array("%/x7/#".utf8))
        #expect(patterns[1].filter(uid: 7, gid: 8, userName: nil, origin: []) == nil)
    }

    @Test("Names with wildcards or separators in them never become part of a filter")
    func hiddenWildcards() throws {
        let file = try load(
            "version = 1\n[[rule]]\nuid = \"any\"\nallow = \"publish\"\ntopics = \"home/%n/x\"\n")
        #expect(file.userNames[1000] == "alice")
        #expect(file.warnings.count { $0.text.contains("cannot stand in a topic") } == 3)
        #expect(file.warnings.contains { $0.text.contains("has the names") })
        let policy = file.policy(brokerUID: 990)
        func may(_ uid: UInt32, _ topic: String) -> Bool {
            policy.decide(.publish, topic: Array(topic.utf8), .local(uid: uid, gid: uid)).isAllowed
        }
        #expect(may(1000, "home/alice/x"))
        #expect(!may(1000, "home/alice2/x"))
        #expect(!may(1001, "home/anything/x"))
        #expect(!may(1002, "home/c/d/x"))
        #expect(!may(1003, "home/e/x"))
        #expect(!may(4000, "home//x"))
    }

    @Test("A range does not take the unmapped along; naming them does")
    func unmapped() throws {
        let wide = try load(rule("uid = \"0-4294967294\"")).policy(brokerUID: 990)
        let topic = Array("t".utf8)
        #expect(wide.decide(.publish, topic: topic, .local(uid: 65_533, gid: 1)).isAllowed)
        #expect(wide.decide(.publish, topic: topic, .local(uid: 65_535, gid: 1)).isAllowed)
        #expect(!wide.decide(.publish, topic: topic, .local(uid: 65_534, gid: 1)).isAllowed)
        let named = try load(rule("uid = 65534")).policy(brokerUID: 990)
        #expect(named.decide(.publish, topic: topic, .local(uid: 65_534, gid: 1)).isAllowed)
    }

    @Test("Inputs that once made the fuzzer fail do not fail again")
    func fuzzFailures() throws {
        for (name, bytes) in try ProjectFiles.fuzzFailures(of: "FuzzAccess") {
            #expect(AccessFileInspection.violation(of: bytes) == nil, "\(name)")
        }
    }

    @Test("Whole files with random bytes in them are read, judged by and edited, or refused")
    func mutated() throws {
        var random = SeededRandom()
        let whole = Array(
            """
            version = 1
            [[rule]] # "first"
            name = "sensors report"
            uid = [1000, "high", "2000-2999"]
            allow = ["publish"]
            topics = ["sensors/+/reading", 'users/%u/#']
            [[rule]]
            gid = "sensors"
            deny = "subscribe"
            topics = "#"
            [quota]
            connections = 10

            """.utf8)
        for _ in 0..<3_000 {
            var bytes = whole
            for _ in 0...random.int(in: 0...2) {
                let place = random.int(in: 0...(bytes.count - 1))
                bytes[place] = random.oneIn(2) ? random.pick(whole) : UInt8(random.int(in: 0...255))
            }
            let violation = AccessFileInspection.violation(of: bytes)
            let text = String(decoding: bytes, as: UTF8.self).debugDescription
            #expect(violation == nil, "\(text); \(random)")
        }
    }

    @Test("What is wrong is told once, and as such")
    func oneProblemForOneMistake() {
        for (line, words) in [
            ("level = 1", "strings, not a number"), ("origin = 1", "strings, not a number"),
            ("user = 1", "strings, not a number"), ("gid = 007", "begins with 0"),
            ("gid = 18446744073709551616", "too large"), ("gid = sensors", "stands in quotes"),
        ] {
            let found = problems(rule("uid = 1\n" + line))
            #expect(found.count == 1, "\(found)")
            found.expect(7, words, location: #_sourceLocation)
        }
    }

    @Test("A value that goes on for thousands of letters is not repeated as a whole")
    func longValues() {
        let long = String(repeating: "a", count: 100_000)
        for text in [
            rule("uid = \"\(long)\""), rule("\(long) = 1"), rule("uid = \(long)"),
            rule("uid = \(long.replacing("a", with: "1"))"), rule("uid = 1\norigin = \"\(long)\""),
            rule("uid = \"\(long.replacing("a", with: "1"))\""), rule("[\(long)]"),
            rule("uid = 1\nlevel = \"\(long)\""), rule("uid = 1\n\(long) = 1\n\(long) = 1"),
        ] {
            let found = problems(text)
            #expect(!found.isEmpty)
            #expect(found.allSatisfy { $0.text.utf8.count < 1_100 }, "\(text.prefix(100))")
        }
        problems(rule("uid = \"\(long)\"")).expect(
            6, "a name that getpwnam(3) finds", location: #_sourceLocation)
    }

    @Test("Of thousands of problems the first are told, and how many more there are")
    func manyProblems() throws {
        let text = "version = 1\n" + String(repeating: "[[rule]]\nfoo = 1\n", count: 10_000)
        let error = #expect(throws: ConfigurationError.self) {
            try AccessFile(parsing: Array(text.utf8), names: .sample)
        }
        let lines = error?.description.split(separator: "\n") ?? []
        #expect(lines.count == 21)
        #expect(lines.first?.hasPrefix("line 2: ") == true)
        #expect(lines.last == "and \((error?.problems.count ?? 0) - 20) more")
    }

    @Test("Quotas have defaults and users of their own")
    func quotas() throws {
        let file = try load(
            """
            version = 1
            [quota]
            connections = 10
            messages_per_second = 100
            [[quota.user]]
            uid = ["alice", "2000-2999"]
            connections = 20

            """)
        #expect(file.quotas.limits(of: 5).connections == 10)
        #expect(file.quotas.limits(of: 1000).connections == 20)
        #expect(file.quotas.limits(of: 2500).messagesPerSecond == 100)
        for value in ["0", "-1", "1099511627777", "\"many\"", "1.5", "[1]", "true"] {
            expect(
                "version = 1\n[quota]\nconnections = \(value)\n", 3,
                "'connections' is 1 to 1099511627776")
        }
        expect("version = 1\n[quota]\nspeed = 1\n", 3, "unknown key 'speed'")
        expect("version = 1\n[[quota.user]]\nconnections = 1\n", 2, "uid is missing")
    }
}
