import Foundation
import TestSupport
import Testing

@Suite("The whole core against a judge")
struct PropertyTests {
    /// More of them by `BROKER_TEST_RUNS`.
    private static let runs =
        ProcessInfo.processInfo.environment["BROKER_TEST_RUNS"].flatMap(Int.init) ?? 2_000

    @Test("Every subscription sees what the judge says, or is told exactly what it missed")
    func judgedRuns() throws {
        var random = SeededRandom()
        var seed = random.seed
        for _ in 0..<Self.runs {
            try JudgedRun(seed: seed).run(steps: 40)
            seed = random.next()
        }
    }
}
