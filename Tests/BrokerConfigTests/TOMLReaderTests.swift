import Foundation
import TestSupport
import Testing

@testable import BrokerConfig

/// What Python's `tomllib` reads is the truth here.
@Suite("The reader of TOML")
struct TOMLReaderTests {
    private static let python = "/usr/bin/python3"

    private static let samples = [
        "", "# nothing\n", "a = 1\n",
        "a=+1\nb=-17\nc=1_000\nd=0xDEAD_beef\ne=0o17\nf=0b1_0\n",
        "a = \"x\\ty\\\\\\\"\\u00e9\\U0001F600\"\nb = 'c:\\x'\nc = \"\"\nd = ''\n",
        "a = \"\"\"\none\\\n   two \\\n\n three\"\"\"\n",
        "b = '''\n'x'\\'''\nc = \"\"\"\"a\"\"\"\"\"\n",
        "a = [1, 2, [\"x\", []], {b = 1, c.d = 2}, ]\nb = [\n # no ]\n 1 , # \"\n 2\n]\nc = {}\n",
        "a = 1.5\nb = 1e10\nc = inf\nd = -nan\ne = 1_0.0_1e-3\n",
        "a = 1979-05-27\nb = 07:32:00.5\nc = 1979-05-27T07:32:00Z\n",
        "d = 1979-05-27 07:32:00-07:00\n",
        "a.b.c = 1\na.\"b\".d = true\n'x.y' . z = false\n1-2_3 = 0\n",
        "[a]\nb = 1\n[a.c]\nd = 2\n[[e]]\nf = 1\n[[e]]\n[e.g]\nh = 1\n[[e.i]]\n",
        "[ \"j\" . k ]\nl=1\n",
        "[[q.u]]\na = 1\n[q]\nb = 2\n", "a = '''\r\nx\r\ny'''\r\nb = 1 \t# c\r\n",
        "a.b = 1\n[a.c]\nd = 2\n", "[f]\na.c = 1\n[f.a.d]\n", "[a.b.c]\n[a.b]\nx = 1\n[a]\n",
    ]

    @Test(
        "20,000 texts: what tomllib takes has the same values, and what it refuses is refused",
        .enabled(if: FileManager.default.isExecutableFile(atPath: python), "needs python3"))
    func comparison() throws {
        var random = SeededRandom()
        let texts = Self.samples + (0..<20_000).map { _ in Self.mutation(&random) }
        let truths = try Self.truths(of: texts)
        try #require(truths.count == texts.count)
        for (text, truth) in zip(texts, truths) {
            let read = try? TOMLReader.read(Array(text.utf8))
            let values = read.map { Self.text(of: $0) }
            // Of dates only the shape is looked at, and NUL and what is beyond 64 bits refused.
            let isDate = truth == nil && values?.contains("date") == true
            let isNUL = values == nil && truth?.contains("00") == true
            let isLarge = values == nil && truth?.contains("large") == true
            #expect(
                values == truth || isDate || isNUL || isLarge,
                "\(text.debugDescription); \(random)")
        }
        let taken = truths.count { $0 != nil }
        #expect(taken > 3_000 && taken < 17_000, "both happen often")
    }

    private static func mutation(_ random: inout SeededRandom) -> String {
        let alphabet = Array("[]{}\"'\\=.,#\n\r\t _-+01e:Tuab\u{E9}")
        var text = Array(random.pick(samples) + random.pick(samples))
        for _ in 0..<random.int(in: 0...3) where !text.isEmpty {
            let place = random.int(in: 0...(text.count - 1))
            switch random.int(in: 0...3) {
            case 0: text.remove(at: place)
            case 1: text.insert(random.pick(alphabet), at: place)
            case 2: text[place] = random.pick(alphabet)
            default:
                let end = min(text.count, place + random.int(in: 1...12))
                text.insert(contentsOf: text[place..<end], at: random.int(in: 0...place))
            }
        }
        return String(text)
    }

    @Test("Keys stand in their lines, behind strings and lists of many")
    func lines() throws {
        let text = "a = \"\"\"\n\n\"\"\"\nb = [\n1,\n]\nc = '''\n''' # \nd.e = 1\n\n[[f]]\ng = 1\n"
        let root = try TOMLReader.read(Array(text.utf8))
        let lines = ["a", "b", "c", "d", "f"].map { root[$0]?.line }
        #expect(lines == [1, 4, 7, 9, 11])
        let section = try #require(root.elements(of: "f").first)
        #expect(section.line == 11 && section.lastLine == 12)
        #expect(section["g"]?.line == 12)
    }

    @Test("What is deep or long beyond reason is an error, not a full stack")
    func depth() {
        for text in [
            "a = " + String(repeating: "[", count: 1_000_000),
            "a = " + String(repeating: "{b=", count: 1_000_000),
            String(repeating: "a.", count: 1_000_000) + "b = 1",
            "[" + String(repeating: "a.", count: 1_000_000) + "b]",
        ] {
            #expect(throws: ConfigurationProblem.self) { try TOMLReader.read(Array(text.utf8)) }
        }
    }

    // MARK: The values as text

    private static func truths(of texts: [String]) throws -> [String?] {
        let directory = try TemporaryDirectory(mode: 0o755)
        let file = directory.url.appendingPathComponent("texts.json")
        try JSONEncoder().encode(texts).write(to: file)
        let process = try ChildProcess([python, "-c", script, file.path])
        guard process.wait(seconds: 120) == 0 else {
            throw BrokerUnderTest.Failure(description: process.errorText)
        }
        return try JSONDecoder().decode([String?].self, from: Data(process.outputText.utf8))
    }

    private static let script = """
        import json, sys, tomllib
        def show(v):
            if isinstance(v, dict):
                return "{" + ", ".join(hexed(k) + ": " + show(v[k]) for k in sorted(v)) + "}"
            if isinstance(v, list): return "[" + ", ".join(map(show, v)) + "]"
            if isinstance(v, bool): return str(v).lower()
            if isinstance(v, str): return hexed(v)
            if isinstance(v, int): return str(v) if -2**63 <= v < 2**63 else "large"
            return "fraction" if isinstance(v, float) else "date"
        def hexed(s): return "'" + s.encode().hex() + "'"
        def read(s):
            try: return show(tomllib.loads(s))
            except (ValueError, RecursionError): return None
        print(json.dumps([read(s) for s in json.load(open(sys.argv[1], newline=""))]))
        """

    private static func text(of section: TOMLSection) -> String {
        let keys = section.keys(besides: []).map(\.key)
        let sorted = keys.sorted {
            $0.unicodeScalars.lexicographicallyPrecedes($1.unicodeScalars)
        }
        let members = sorted.map { key in
            hexed(key) + ": " + (section[key].map { text(of: $0.value) } ?? "")
        }
        return "{" + members.joined(separator: ", ") + "}"
    }

    private static func text(of value: TOMLTree) -> String {
        switch value {
        case .table(let section): text(of: section)
        case .array(let values): "[" + values.map { text(of: $0) }.joined(separator: ", ") + "]"
        case .string(let string): hexed(string)
        case .integer(let number): "\(number)"
        case .boolean(let flag): "\(flag)"
        case .other(let kind): kind.contains("date") ? "date" : "fraction"
        }
    }

    private static func hexed(_ text: String) -> String {
        "'" + HexText.text(Array(text.utf8)) + "'"
    }
}
