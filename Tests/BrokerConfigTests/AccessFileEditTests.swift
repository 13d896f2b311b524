import BrokerCore
import TestSupport
import Testing

@testable import BrokerConfig

@Suite("Edits keep everything they do not touch")
struct AccessFileEditTests {
    private let text = """
        # The rules of this host.
        version = 1   # the only one

        # Sensors.
        [[rule]]
        name = "one"
        uid = 1   # a sensor
        allow = ["publish"]
        topics = [
            "a",  # first
            'b"[[rule]]',
        ]

        # Humans.
        [[rule]]
        name = "two"
        uid = 2
        allow = "inspect"

        # The end.

        """

    private func load(_ bytes: [UInt8]) throws -> AccessFile {
        try AccessFile(parsing: bytes, names: .sample)
    }

    @Test("Lines of rules and keys are found, also with headers inside of strings")
    func lines() throws {
        let rules = try TOMLReader.read(Array(text.utf8)).elements(of: "rule")
        #expect(rules.map(\.line) == [5, 15])
        #expect(rules.map(\.lastLine) == [12, 18])
        let lines = ["name", "uid", "allow", "topics"].map { rules[0][$0]?.line }
        #expect(lines == [6, 7, 8, 9])
        let tricky =
            "a = \"\"\"\n[[rule]]\n\"\"\"\nb = '''\n[[rule]]'''\n[[ \"rule\" ]]\nx.y = 1\n"
        let found = try TOMLReader.read(Array(tricky.utf8)).elements(of: "rule")
        #expect(found.map(\.line) == [6])
        #expect(found.first?["x"]?.line == 7)
    }

    @Test("A rule is appended, and the rest stays byte for byte")
    func append() throws {
        var draft = RuleDraft(name: "a \"quoted\" \\ name")
        draft.uids = ["1000", "alice", "5-6"]
        draft.allows = [.publish]
        draft.topics = ["t/%u/#"]
        let new = AccessFileEdit.appending(draft, to: Array(text.utf8))
        #expect(new.starts(with: Array(text.utf8)))
        let rule = try #require(try load(new).rules.last)
        #expect(rule.name == draft.name)
        #expect(rule.uids.count == 3)
        #expect(rule.topics.map(\.text) == ["t/%u/#"])
        let fresh = AccessFileEdit.appending(draft, to: [])
        #expect(try load(fresh).rules.count == 1)
        let comment = AccessFileEdit.appending(draft, to: Array("# mine".utf8))
        #expect(try load(comment).rules.count == 1)
        #expect(comment.starts(with: Array("# mine\n".utf8)))
    }

    @Test("A rule is removed with its lines and no others")
    func remove() throws {
        let first = try AccessFileEdit.removing(ruleAt: 0, from: Array(text.utf8))
        #expect(try load(first).rules.map(\.name) == ["two"])
        let rest = String(decoding: first, as: UTF8.self)
        #expect(
            rest.contains("# Sensors.") && rest.contains("# Humans.") && rest.contains("# The end.")
        )
        #expect(!rest.contains("# first"))
        let second = try AccessFileEdit.removing(ruleAt: 1, from: Array(text.utf8))
        #expect(try load(second).rules.map(\.name) == ["one"])
        #expect(throws: ConfigurationError.self) {
            try AccessFileEdit.removing(ruleAt: 2, from: Array(text.utf8))
        }
    }

    @Test("What cannot be seen is escaped, and means the same")
    func unseenCharacters() throws {
        let topic = "u/\u{202E}x\u{2028}y\u{200B}z\u{AD}\u{E0041}é"
        var draft = RuleDraft(name: "learned: \(topic)")
        draft.uids = ["3000"]
        draft.allows = [.publish]
        draft.topics = [topic]
        #expect(
            draft.text.contains(#"topics = ["u/\u202Ex\u2028y\u200Bz\u00AD\U000E0041é"]"#),
            "\(draft.text)")
        let loaded = try load(AccessFileEdit.appending(draft, to: Array(text.utf8)))
        #expect(loaded.rules.last?.name == draft.name)
    }

    @Test("What is appended and removed again leaves the file as it was, for many drafts")
    func roundTrip() throws {
        var random = SeededRandom()
        let original = Array(text.utf8)
        for _ in 0..<200 {
            let length = random.int(in: 1...20)
            let scalars = (0..<length).map { _ in random.pick(Array("ab\"\\#[]='é%\t")) }
            var draft = RuleDraft(name: String(scalars).filter { $0 != "\t" } + "x")
            draft.uids = [String(random.int(in: 0...4_294_967_294))]
            draft.allows = [.subscribe]
            draft.topics = ["t/\(random.int(in: 0...9))"]
            let added = AccessFileEdit.appending(draft, to: original)
            let loaded = try load(added)
            #expect(loaded.rules.last?.name == draft.name, "\(random)")
            let removed = try AccessFileEdit.removing(ruleAt: 2, from: added)
            #expect(removed == original, "\(random)")
        }
    }
}
