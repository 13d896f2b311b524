import TestSupport
import Testing

@Suite("Scripts that fuzzing runs against the core")
struct BrokerScriptTests {
    @Test("Inputs that once failed do not fail again")
    func failures() throws {
        for (name, bytes) in try ProjectFiles.fuzzFailures(of: "FuzzBroker") {
            #expect(BrokerScript.violation(of: bytes) == nil, "\(name)")
        }
    }

    @Test("Random scripts leave nothing behind")
    func random() {
        var random = SeededRandom()
        for _ in 0..<300 {
            let script = random.bytes(count: random.int(in: 0...400))
            if let violation = BrokerScript.violation(of: script) {
                Issue.record("\(violation); \(random)")
            }
        }
    }
}
