import BrokerWire

/// How much of one connection's input a turn takes: as much as fits into a few microseconds, going
/// by what came and what it cost. What cannot be known before is measured: the same packets cost
/// ten times as much when their sender is woken for each one that is taken, and runs first, and the
/// same work thrice when others use the processor in between.
struct TurnSize {
    static let packetsMax = 16
    private static let packetsFirst = 4
    private static let bytes = Limits.batchBytesTarget
    private static let workMin = 256
    private static let workMax = 1_024
    private static let nanoseconds = 12_000

    /// How many packets to take at once: few large ones, so that others need not wait and they
    /// stay in the processor's cache, more small ones, so that the system calls are shared.
    private(set) var packets = TurnSize.packetsFirst
    /// Work of the core.
    private(set) var work = TurnSize.workMax

    /// - Parameter count: how many packets there were, at most as many as were asked for.
    mutating func noteReceived(_ count: Int, bytes: Int, nanoseconds: UInt64) {
        let fitting = count * Self.bytes / max(1, bytes)
        // With fewer than were asked for it was the waking up that took its time.
        let inTime =
            count < packets
            ? packets : count * Self.nanoseconds / max(1, Int(clamping: nanoseconds))
        packets = max(1, min(Self.packetsMax, fitting, inTime))
    }

    /// There was nothing more: the next packets come after a rest.
    mutating func noteDrained() {
        packets = max(packets, Self.packetsFirst)
    }

    /// - Parameter left: of `work`; 0 or less when it was used up.
    mutating func noteWorked(left: Int, nanoseconds: UInt64) {
        let took = max(1, Int(clamping: nanoseconds))
        guard left <= 0 || took > Self.nanoseconds else { return }
        let (product, overflows) = (work - left).multipliedReportingOverflow(by: Self.nanoseconds)
        let fitting = overflows ? Self.workMax : product / took
        work = max(Self.workMin, min(Self.workMax, fitting))
    }
}
