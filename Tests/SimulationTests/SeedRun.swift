import BrokerCore
import BrokerWire
import Dispatch
import Foundation
import LinuxIO

/// Many seeds, on all processors.
enum SeedRun {
    /// What all runs together have seen.
    struct Tally: Sendable {
        var seeds = 0
        var deliveries = 0
        var rotations = 0
        var restarts = 0
        var losses = 0
        var faults: [LinkFault.Reason: Int] = [:]
        /// What went wrong, by seed.
        var failures: [UInt64: String] = [:]

        mutating func add(_ seed: UInt64, _ world: World) {
            seeds += 1
            deliveries += world.deliveredCount
            rotations += world.rotatedCount
            restarts += world.restartCount
            losses += world.isTight ? Int(world.lostCount) : 0
            faults.merge(world.faults, uniquingKeysWith: +)
            if !world.failures.isEmpty {
                failures[seed] = world.failures.joined(separator: "\n")
            }
        }

        var description: String {
            let reasons = faults.sorted { $0.key.rawValue < $1.key.rawValue }
                .map { "\($0.key) \($0.value)" }.joined(separator: ", ")
            return "\(seeds) seeds, \(deliveries) deliveries, \(rotations) keys rotated, "
                + "\(restarts) restarts, \(losses) losses told; connections ended: \(reasons)"
        }
    }

    /// The seed to begin with: `BROKER_TEST_SEED`, or 1.
    static var firstSeed: UInt64 {
        ProcessInfo.processInfo.environment["BROKER_TEST_SEED"].flatMap(UInt64.init) ?? 1
    }

    /// Runs `count` seeds from `first` on; after a failure those that have begun.
    ///
    /// - Parameter progress: told after each seed how many have been run.
    static func run(
        first: UInt64, count: Int, progress: @Sendable (Int) -> Void = { _ in }
    ) -> Tally {
        let next = Lock(0)
        let tally = Lock(Tally())
        let workers = ProcessInfo.processInfo.activeProcessorCount
        DispatchQueue.concurrentPerform(iterations: workers) { _ in
            while true {
                let index = next.withLock { value in
                    value += 1
                    return value - 1
                }
                let hasFailed = tally.withLock { !$0.failures.isEmpty }
                guard index < count, !hasFailed else { return }
                let seed = first + UInt64(index)
                let world = World(seed: seed)
                world.run()
                let done = tally.withLock { total in
                    total.add(seed, world)
                    return total.seeds
                }
                progress(done)
            }
        }
        return tally.withLock { $0 }
    }
}
