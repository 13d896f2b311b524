import Foundation

/// A random number generator (SplitMix64) whose seed makes a failing test repeatable. Name it in
/// every expectation that depends on it: `#expect(…, "\(random)")`.
package struct SeededRandom: RandomNumberGenerator, CustomStringConvertible, Sendable {
    package let seed: UInt64
    private var state: UInt64

    package init(seed: UInt64) {
        self.seed = seed
        state = seed
    }

    /// Takes the seed from the environment variable `BROKER_TEST_SEED`, or a new one.
    package init() {
        let given = ProcessInfo.processInfo.environment["BROKER_TEST_SEED"].flatMap(UInt64.init)
        self.init(seed: given ?? UInt64.random(in: .min ... .max))
    }

    package var description: String { "repeat with BROKER_TEST_SEED=\(seed)" }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

extension SeededRandom {
    package mutating func int(in range: ClosedRange<Int>) -> Int {
        Int.random(in: range, using: &self)
    }

    package mutating func bool() -> Bool {
        Bool.random(using: &self)
    }

    /// True once in `count` times, on average.
    package mutating func oneIn(_ count: Int) -> Bool {
        int(in: 1...count) == 1
    }

    package mutating func bytes(count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }

    /// One of `choices`, which must not be empty.
    package mutating func pick<Choices: RandomAccessCollection>(
        _ choices: Choices
    ) -> Choices.Element {
        precondition(!choices.isEmpty)
        let distance = int(in: 0...(choices.count - 1))
        return choices[choices.index(choices.startIndex, offsetBy: distance)]
    }
}
