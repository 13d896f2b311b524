/// When to try again to reach a peer, to set links up or to read a file: later each time, and not
/// all brokers at the same moment.
struct RetryTimer {
    private static let firstNanoseconds: UInt64 = 100_000_000
    private static let lastNanoseconds: UInt64 = 10_000_000_000

    private var delayNanoseconds = RetryTimer.firstNanoseconds
    private(set) var nextNanoseconds: UInt64 = 0

    mutating func failed(nowNanoseconds: UInt64) {
        let jittered = UInt64.random(in: delayNanoseconds / 2...delayNanoseconds)
        nextNanoseconds = nowNanoseconds + jittered
        delayNanoseconds = min(delayNanoseconds * 2, Self.lastNanoseconds)
    }

    mutating func succeeded() {
        delayNanoseconds = Self.firstNanoseconds
    }
}
