/// How long to wait before the next attempt to connect.
package struct BackOff {
    private let policy: BrokerClient.ReconnectPolicy
    private var failures = 0

    package init(_ policy: BrokerClient.ReconnectPolicy) {
        self.policy = policy
    }

    /// A session has begun.
    package mutating func reset() {
        failures = 0
    }

    /// Nanoseconds to wait now, or nil if there is to be no further attempt.
    package mutating func next() -> UInt64? {
        var generator = SystemRandomNumberGenerator()
        return next(using: &generator)
    }

    /// The step doubles up to the maximum; the wait is random in its upper half.
    mutating func next(using generator: inout some RandomNumberGenerator) -> UInt64? {
        guard case .backOff(let initial, let max) = policy else { return nil }
        let ceiling = Swift.max(max.nanoseconds, 1)
        var step = Swift.min(Swift.max(initial.nanoseconds, 1), ceiling)
        for _ in 0..<Swift.min(failures, 64) where step < ceiling {
            step = step > ceiling / 2 ? ceiling : step * 2
        }
        failures += 1
        let random = generator.next().multipliedFullWidth(by: step / 2 + 1).high
        return step - step / 2 + random
    }
}

extension Duration {
    /// Negative durations count as 0, those beyond 292 years as that.
    var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        if seconds < 0 || attoseconds < 0 { return 0 }
        let limit: UInt64 = 9_000_000_000
        return Swift.min(UInt64(seconds), limit) * 1_000_000_000
            + UInt64(attoseconds / 1_000_000_000)
    }
}

extension UInt64 {
    func saturatingSubtract(_ other: UInt64) -> UInt64 {
        self > other ? self - other : 0
    }
}
