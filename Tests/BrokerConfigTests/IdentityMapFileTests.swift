import BrokerCore
import BrokerWire
import Testing

@testable import BrokerConfig

@Suite("[[map]] in access files")
struct IdentityMapFileTests {
    private static let rule = """
        [[rule]]
        user = ["alice", "sensors"]
        allow = "publish"
        topics = "home/%n/#"

        """

    private func load(_ text: String) throws -> AccessFile {
        try AccessFile(parsing: Array(("version = 1\n" + text).utf8), names: .sample)
    }

    private func expectProblem(
        _ lines: String, _ line: Int, _ words: String, location: SourceLocation = #_sourceLocation
    ) {
        var found: [ConfigurationProblem] = []
        do throws(ConfigurationError) {
            _ = try AccessFile(
                parsing: Array(("version = 1\n[[map]]\n" + lines).utf8), names: .sample)
        } catch {
            found = error.problems
        }
        #expect(
            found.contains { $0.line == line && $0.text.contains(words) },
            "\(found.map(\.description))", sourceLocation: location)
    }

    private func findings(_ text: String) throws -> [String] {
        AccessLint(try load(text)) { _ in "somebody" }.findings.map(\.description)
    }

    @Test func `a map is read with its origins, ids and lines`() throws {
        let file = try load(
            """
            [[map]]
            origin = "edge-1"
            uid = 1000
            name = "alice"
            [[map]]
            origin = ["edge-*", "hub"]
            uid = ["2000-2999", 5]
            gid = 50
            name = "sensors"
            [[map]]
            origin = "hub"
            uid = "any"
            name = "somebody"

            """ + Self.rule)
        let entries = file.map.entries
        #expect(entries.map(\.name) == ["alice", "sensors", "somebody"])
        #expect(entries.map(\.line) == [2, 6, 11])
        #expect(entries[1].origins == [Array("edge-*".utf8), Array("hub".utf8)])
        #expect(
            entries[1].uids == [IDRange(first: 2000, last: 2999), IDRange(first: 5, last: 5)])
        #expect(entries[1].gids == [IDRange(first: 50, last: 50)])
        #expect(entries[2].uids == [])
        #expect(file.rules[0].users == ["alice", "sensors"])
        #expect(file.policy(brokerUID: 990).map == file.map)
    }

    @Test func `what is wrong with a map is said with its line`() {
        expectProblem("uid = 1\nname = \"x\"\n", 2, "'origin' is missing")
        expectProblem("origin = \"e\"\nname = \"x\"\n", 2, "names nobody")
        expectProblem("origin = \"e\"\nuid = 1\n", 2, "'name' is missing")
        expectProblem("origin = \"e\"\nuid = \"alice\"\nname = \"x\"\n", 4, "\"alice\" is a name")
        expectProblem("origin = \"e\"\nuid = 1\nname = 7\n", 5, "a string, not a number")
        expectProblem("origin = \"e f\"\nuid = 1\nname = \"x\"\n", 3, "the name of no broker")
        expectProblem("origin = [1]\nuid = 1\nname = \"x\"\n", 3, "strings, not a number")
        expectProblem("origin = \"e\"\nuid = 4294967295\nname = \"x\"\n", 4, "never a uid")
        expectProblem("origin = []\nuid = 1\nname = \"x\"\n", 3, "no broker")
        expectProblem("origin = \"e\"\nuid = 1\nname = \"\"\n", 5, "1 to 64 bytes")
        expectProblem("origin = \"e\"\nuid = 1\nname = \"x\"\nuser = 1\n", 6, "unknown key 'user'")
    }

    @Test func `a rule may name nobody but a mapped user`() throws {
        #expect(try load(Self.rule).rules[0].users == ["alice", "sensors"])
    }

    @Test func `lint knows maps`() throws {
        let map = "[[map]]\norigin = \"edge-*\"\nuid = \"1000-1999\"\nname = \"sensors\"\n"
        #expect(
            try findings(Self.rule).contains {
                $0.contains("no [[map]] gives anybody the name \"alice\"")
            })
        let shadowed = map + "[[map]]\norigin = \"edge-1\"\nuid = 1000\nname = \"alice\"\n"
        #expect(
            try findings(shadowed + Self.rule).contains(
                "line 6: map to \"alice\": is never reached behind the map in line 2"))
        #expect(try findings(map).contains { $0.contains("no rule speaks of it") })
        let all = "[[map]]\norigin = \"*\"\nuid = \"any\"\nname = \"alice\"\n"
        #expect(try findings(all + Self.rule).contains { $0.contains("everybody of every other") })
        let never =
            "[[rule]]\nuser = \"sensors\"\nlevel = \"kernel\"\n"
            + "allow = \"publish\"\ntopics = \"t\"\n"
        #expect(try findings(map + never).contains { $0.contains("the rule never holds") })
    }

    @Test func `advice for a remote sender never gives the right to a local uid`() throws {
        let file = try load("[[map]]\norigin = \"edge-1\"\nuid = 1000\nname = \"alice\"\n")
        let policy = file.policy(brokerUID: 990)
        func draft(_ uid: UInt32) -> RuleDraft {
            var subject = Subject.local(uid: uid, gid: uid)
            subject.level = .remote
            subject.origin = Array("edge-1".utf8)
            let topic = Array("t".utf8)
            let decision = policy.decide(.publish, topic: topic, subject)
            return AccessAdvice(.publish, topic, subject, decision, under: policy).draft
        }
        #expect(draft(1000).users == ["alice"] && draft(1000).uids == [])
        #expect(draft(1001).uids == ["1001"] && draft(1001).origins == ["edge-1"])
        for uid: UInt32 in [1000, 1001] {
            let fixed = try load(
                "[[map]]\norigin = \"edge-1\"\nuid = 1000\nname = \"alice\"\n" + draft(uid).text)
            let here = Subject.local(uid: uid, gid: uid)
            #expect(
                !fixed.policy(brokerUID: 990).decide(.publish, topic: Array("t".utf8), here)
                    .isAllowed)
        }
    }
}
