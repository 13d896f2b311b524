import Foundation

/// `make sim`: many seeds, with optimisation. Ends with status 1 if one breaks a promise.
@main
enum Simulate {
    nonisolated static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        guard let count = arguments.first.flatMap(Int.init), count > 0, arguments.count == 1 else {
            print("usage: Simulate SEEDS; BROKER_TEST_SEED=… says which one is the first")
            exit(64)
        }
        let begin = ProcessInfo.processInfo.systemUptime
        @Sendable func seconds() -> Int { Int(ProcessInfo.processInfo.systemUptime - begin) }
        let tally = SeedRun.run(first: SeedRun.firstSeed, count: count) { done in
            if done % 1_000 == 0 { print("sim: \(done) of \(count) seeds, \(seconds()) s") }
        }
        print("sim: \(tally.description); \(seconds()) s")
        for (seed, failure) in tally.failures.sorted(by: { $0.key < $1.key }) {
            print("sim: FAILED, repeat with BROKER_TEST_SEED=\(seed) make sim SEEDS=1\n\(failure)")
        }
        exit(tally.failures.isEmpty ? 0 : 1)
    }
}
