import BrokerCore
import BrokerWire
import Foundation
import TestSupport
import Testing

/// Whole networks from one seed each. `make sim SEEDS=10000` runs many; a seed that fails prints
/// itself, and `BROKER_TEST_SEED=… make sim SEEDS=1` runs it again.
struct SimulationTests {
    /// How many seeds to run, and with which to begin.
    private static var seeds: (first: UInt64, count: UInt64) {
        let environment = ProcessInfo.processInfo.environment
        let count = environment["BROKER_SIM_SEEDS"].flatMap(UInt64.init) ?? 200
        let first = environment["BROKER_TEST_SEED"].flatMap(UInt64.init) ?? 1
        return (first, count)
    }

    private static func run(_ seed: UInt64, _ prepare: (World) -> Void = { _ in }) -> World {
        let world = World(seed: seed)
        prepare(world)
        world.run()
        return world
    }

    @Test func `no seed breaks a promise`() {
        let (first, count) = Self.seeds
        var delivered = 0
        var faults: [LinkFault.Reason: Int] = [:]
        var rotated = 0
        for seed in first..<(first + count) {
            let world = Self.run(seed)
            delivered += world.deliveredCount
            faults.merge(world.faults, uniquingKeysWith: +)
            rotated += world.rotatedCount
            #expect(
                world.failures.isEmpty,
                "repeat with BROKER_TEST_SEED=\(seed): \(world.failures.joined(separator: "\n"))")
            if !world.failures.isEmpty { break }
        }
        let reasons = faults.sorted { $0.key.rawValue < $1.key.rawValue }
            .map { "\($0.key) \($0.value)" }.joined(separator: ", ")
        print("\(count) seeds, \(delivered) deliveries, \(rotated) keys rotated; \(reasons)")
        let hasTampered = faults[.tagMismatch] != nil && faults[.sequenceWrong] != nil
        #expect(count < 100 || (delivered > 0 && rotated > 0 && hasTampered))
    }

    @Test func `a broker that forgets what it has seen is caught`() {
        let caught = (1...300 as ClosedRange<UInt64>).first { seed in
            let world = Self.run(seed) { $0.nodes.forEach { $0.forgetsSeen = true } }
            return world.failures.contains { $0.contains("twice") }
        }
        #expect(caught != nil)
    }

    @Test func `a broker that checks no tags is caught`() {
        let caught = (1...300 as ClosedRange<UInt64>).first { seed in
            !Self.runInBitFlips(seed, isBroken: true).failures.isEmpty
        }
        #expect(caught != nil)
        let missed = (1...(caught ?? 1)).first { seed in
            !Self.runInBitFlips(seed, isBroken: false).failures.isEmpty
        }
        #expect(missed == nil)
    }

    private static func runInBitFlips(_ seed: UInt64, isBroken: Bool) -> World {
        run(seed) { world in
            world.weather = World.Weather(tampering: 10, steps: 400, flipsOnly: true)
            for node in world.nodes { node.security.isBroken = isBroken }
        }
    }

    @Test func `a seed gives the same run each time`() {
        let runs = (0..<2).map { _ in Self.run(7) }
        #expect(runs[0].deliveredCount == runs[1].deliveredCount)
        #expect(runs[0].now == runs[1].now)
        #expect(runs[0].faults == runs[1].faults)
    }
}
