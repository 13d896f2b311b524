import Testing

/// Every rule can fail, and lets pass what only looks like an offence.
@Suite struct `Rules` {
    private func findings(
        _ rule: Rule, _ text: String, path: String = "Sources/BrokerCore/Session.swift"
    ) -> [Int] {
        rule.findings(in: SourceFile(path: path, text: text)).map(\.line)
    }

    @Test func `A function of 71 lines is found`() {
        func function(lines: Int) -> String {
            "struct S {\n    private mutating func f(\n        a: Int\n    ) {\n"
                + String(repeating: "        g()\n", count: lines - 4) + "    }\n}\n"
        }
        #expect(findings(.functionLines, function(lines: 71)) == [2])
        #expect(findings(.functionLines, function(lines: 70)).isEmpty)
        let property = "var p: Int {\n" + String(repeating: "    g()\n", count: 70) + "}\n"
        #expect(findings(.functionLines, property) == [1])
        let requirement = "protocol P {\n    func f()\n}\n" + function(lines: 20)
        #expect(findings(.functionLines, requirement).isEmpty)
    }

    @Test func `Seven parameters are found`() {
        let seven = "func f(a: Int, b: Int, c: Int, d: Int, e: Int, f: Int, g: Int) {}"
        let six = "func f(a: Int, b: Int, c: Int, d: Int, e: Int, f: [Int: Int]) {}"
        #expect(findings(.parameters, seven) == [1])
        #expect(findings(.parameters, six).isEmpty)
    }

    @Test func `A long file is found`() {
        let text = String(repeating: "let a = 1\n", count: 601)
        #expect(findings(.fileLines, text) == [601])
        #expect(findings(.fileLines, text, path: "Tests/BrokerCoreTests/A.swift").isEmpty)
        let long = String(repeating: "let a = 1\n", count: 801)
        #expect(findings(.fileLines, long, path: "Tests/BrokerCoreTests/A.swift") == [801])
    }

    @Test func `A long line is found`() {
        #expect(findings(.columns, "\n// " + String(repeating: "a", count: 98)) == [2])
        #expect(findings(.columns, "// " + String(repeating: "a", count: 97)).isEmpty)
    }

    @Test func `Leaving memory safety is found outside of the boundary`() {
        let text = "// unsafe\nlet unsafeCount = 1\nlet a = unsafe f()\n"
        #expect(findings(.kernelBoundary, text) == [3])
        #expect(findings(.kernelBoundary, text, path: "Sources/LinuxIO/Epoll.swift").isEmpty)
        #expect(findings(.kernelBoundary, text, path: "Sources/LinuxIOMore/A.swift") == [3])
    }

    @Test func `Forced errors and casts are found`() {
        #expect(findings(.forcedTry, "let a = try! f()\nlet b = try? f() // try!") == [1])
        #expect(findings(.forcedCast, "let a = b as! C\nlet b = \"as!\"") == [1])
    }

    @Test(arguments: ["a!", "f()!.b", "a[0]!", "\"5\"!", "var a: Int!", "f(a!, b)", "\"\\(a!)\""])
    func `A forced optional is found`(_ line: String) {
        #expect(findings(.forcedUnwrap, line) == [1])
    }

    @Test(arguments: ["!a", "a != b", "a!=b", "f(!a)", "\"Stop!\"", "// a!", "try! f()", "a as! B"])
    func `What is no forced optional is not`(_ line: String) {
        #expect(findings(.forcedUnwrap, line).isEmpty)
    }

    @Test func `Notes for later are found, in comments too`() {
        let mark = "TO" + "DO"
        #expect(findings(.unfinished, "// \(mark): later\nfatalError(\"\(mark)\")") == [1, 2])
        #expect(findings(.unfinished, "let to\("DO") = 1\n// all done").isEmpty)
    }

    @Test func `Unchecked concurrency without a reason is found`() {
        let text = "// The lock below guards it.\nclass A: @unchecked Sendable {}\n"
        let setting = "// never -Ounchecked\nlet flags = [\"-Ounchecked\"] // -O"
        #expect(findings(.unchecked, setting, path: "Package.swift") == [2])
        let recipe = "# never -Ounchecked\n\tswift build -Xswiftc -Ounchecked"
        #expect(findings(.unchecked, recipe, path: "Makefile") == [2])
        #expect(findings(.uncheckedSendability, "let b = 1\n" + text.dropFirst(29)) == [2])
        let below = "/// A.\nclass A: @unchecked Sendable {\n    // The lock guards it.\n}"
        #expect(findings(.uncheckedSendability, below).isEmpty)
        #expect(findings(.uncheckedSendability, "/// A.\nclass A: @unchecked Sendable {}") == [2])
        #expect(findings(.uncheckedSendability, "nonisolated(unsafe) var a = 1") == [1])
    }

    @Test(arguments: [
        "func f() async {}", "await g()", "Task { }", "let now = Date()",
        "let clock = ContinuousClock()", "let a = Int.random(in: 0...1)",
    ])
    func `What the shell does is found in the core`(_ line: String) {
        #expect(findings(.pure, line) == [1])
        #expect(findings(.pure, line, path: "Sources/BrokerServer/Reactor.swift").isEmpty)
    }

    @Test func `Imports that point up or out are found`() {
        let text = "import BrokerWire\npackage import BasicContainers\nimport Foundation\n"
        #expect(findings(.imports, text) == [3])
        #expect(findings(.imports, "import BrokerServer") == [1])
        #expect(findings(.imports, "internal import struct Glibc.stat") == [1])
        #expect(findings(.imports, "import Logging", path: "Sources/New/A.swift") == [1])
        #expect(findings(.imports, "// import Foundation\nlet a = \"import Foundation\"").isEmpty)
    }

    @Test func `Foundation in the server without JSON is found`() {
        let path = "Sources/BrokerServer/Status.swift"
        #expect(findings(.foundation, "import Foundation\nlet a = Date()", path: path) == [1])
        let json = "import Foundation\nlet a = JSONEncoder()"
        #expect(findings(.foundation, json, path: path).isEmpty)
    }

    @Test func `Compiling preconditions out is found`() {
        #expect(findings(.unchecked, "// never -Ounchecked\nflags += -Ounchecked") == [2])
    }

    @Test func `Too few checks are found`() {
        let line = "let a = 1"
        let few = [String](repeating: line, count: 1_000) + ["precondition(a == 1)"]
        #expect(!CheckDensity(code: few).isEnough)
        #expect(CheckDensity(code: [line, "checkInvariants()"]).isEnough)
    }

    @Test func `Comments and literals are no code`() {
        let text = ##"""
            a /* b /* c */ d */ e
            f("g \(h("i")) j", #"k " \#(l)"#) // m
            /* n
            o */ p
            """##
        let file = SourceFile(path: "Sources/A/B.swift", text: text)
        #expect(file.code == ["a  e", "f(\"(h(\"\"))\", \"(l)\") ", "", " p"])
    }

    @Test func `Text over several lines is no code`() {
        let quotes = "\"\"\""
        let file = SourceFile(path: "a/b", text: "let a = \(quotes)\n  try! b\n  \(quotes) + c")
        #expect(file.code == ["let a = \"", "", "\" + c"])
    }
}
