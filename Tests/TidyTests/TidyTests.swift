import Foundation
import Testing

/// The numbers and bans that keep this tree readable, checked on every file of it.
@Suite struct `The tree is tidy` {
    private func expectTidy(
        _ rule: Rule, at location: SourceLocation = #_sourceLocation
    ) throws {
        for file in try SourceFile.all() {
            for finding in rule.findings(in: file) {
                Issue.record("\(finding)", sourceLocation: location)
            }
        }
    }

    @Test func `Functions have at most 70 lines`() throws { try expectTidy(.functionLines) }
    @Test func `Functions have at most 6 parameters`() throws { try expectTidy(.parameters) }
    @Test func `Files have at most 600 lines, tests 800`() throws { try expectTidy(.fileLines) }
    @Test func `Lines have at most 100 columns`() throws { try expectTidy(.columns) }
    @Test func `Only the kernel boundary leaves memory safety`() throws {
        try expectTidy(.kernelBoundary)
    }
    @Test func `No error is forced`() throws { try expectTidy(.forcedTry) }
    @Test func `No cast is forced`() throws { try expectTidy(.forcedCast) }
    @Test func `No optional is forced`() throws { try expectTidy(.forcedUnwrap) }
    @Test func `Nothing is left for later`() throws { try expectTidy(.unfinished) }
    @Test func `Unchecked concurrency has a reason`() throws {
        try expectTidy(.uncheckedSendability)
    }
    @Test func `The core and the wire layer are pure`() throws { try expectTidy(.pure) }
    @Test func `Imports point down only`() throws { try expectTidy(.imports) }
    @Test func `The server uses Foundation for JSON only`() throws { try expectTidy(.foundation) }

    @Test func `Preconditions are never compiled out`() throws {
        for name in ["Package.swift", "Makefile"] {
            let file = SourceFile.root.appending(path: name)
            let text = try String(contentsOf: file, encoding: .utf8)
            let findings = Rule.unchecked.findings(in: SourceFile(path: name, text: text))
            #expect(findings.isEmpty, "\(findings)")
        }
    }

    /// What is checked at run time, per 1,000 lines of code, where memory and permission hang on
    /// it.
    @Test(arguments: ["BrokerCore", "BrokerWire", "LinuxIO"])
    func `There are at least 15 checks in 1000 lines`(_ target: String) throws {
        let files = try SourceFile.all().filter { $0.target == "Sources/" + target }
        let code = files.flatMap(\.code)
        let density = CheckDensity(code: code)
        #expect(
            density.isEnough,
            "\(target): \(density.checks) checks in \(density.lines) lines; assert what must hold")
    }
}
