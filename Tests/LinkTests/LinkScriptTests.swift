import TestSupport
import Testing

/// Scripts that fuzzing runs against one end of a link.
struct LinkScriptTests {
    @Test func `inputs that once failed do not fail again`() throws {
        for (name, bytes) in try ProjectFiles.fuzzFailures(of: "FuzzLink") {
            #expect(LinkScript.violation(of: bytes) == nil, "\(name)")
        }
    }

    @Test(arguments: [0, 1] as [UInt8])
    func `an honest peer brings its messages through, in both roles`(role: UInt8) {
        let script: [UInt8] = [role, 1, 0, 5, 0, 5, 0, 6, 60, 5, 0, 15, 0, 1, 0, 5, 0]
        #expect(LinkScript.violation(of: script) == nil)
        #expect(LinkScript.deliveredCount(of: script) == 4)
    }

    @Test func `nothing is delivered behind a raw byte, a gap or a malformed batch`() {
        let broken: [[UInt8]] = [[0, 1, 7], [20, 0], [2, 3, 1, 2, 3], [4, 0], [3, 1, 9]]
        for step in broken {
            let script = [0, 1, 0, 5, 0] + step + [5, 0, 5, 0]
            #expect(LinkScript.violation(of: script) == nil)
            #expect(LinkScript.deliveredCount(of: script) == 1, "\(step)")
        }
    }

    @Test func `random scripts break nothing`() {
        var random = SeededRandom()
        for _ in 0..<300 {
            let prefix: [UInt8] = random.bool() ? [0, 1, 0] : [1, 1, 0]
            let script = prefix + random.bytes(count: random.int(in: 0...400))
            if let violation = LinkScript.violation(of: script) {
                Issue.record("\(violation); \(random)")
            }
        }
    }
}
