import Glibc

/// The kernel's clocks, in nanoseconds.
public enum Clock {
    /// Time that never goes back, from an arbitrary start: for timeouts.
    ///
    /// The corresponding C function is `clock_gettime` with `CLOCK_MONOTONIC`.
    public static func monotonicNanoseconds() -> UInt64 {
        read(CLOCK_MONOTONIC)
    }

    /// Nanoseconds since 1970, the clock of SCM_TIMESTAMPNS: for people. It may be set back.
    ///
    /// The corresponding C function is `clock_gettime` with `CLOCK_REALTIME`.
    public static func realtimeNanoseconds() -> UInt64 {
        read(CLOCK_REALTIME)
    }

    /// Sleeps until then, on the scale of `monotonicNanoseconds`; not at all if it has passed.
    ///
    /// The corresponding C function is `clock_nanosleep` with `TIMER_ABSTIME`.
    public static func sleep(untilMonotonicNanoseconds time: UInt64) {
        var deadline = timespec(
            tv_sec: Int(time / 1_000_000_000), tv_nsec: Int(time % 1_000_000_000))
        var result: Int32
        repeat {
            result = unsafe clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, nil)
        } while result == EINTR
        precondition(result == 0, "clock_nanosleep failed")
    }

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        let result = unsafe clock_gettime(clock, &time)
        precondition(result == 0, "clock_gettime failed")
        return nanoseconds(time)
    }
}

/// A time before 1970 becomes 0.
func nanoseconds(_ time: timespec) -> UInt64 {
    guard let seconds = UInt64(exactly: time.tv_sec) else { return 0 }
    return seconds &* 1_000_000_000 &+ UInt64(clamping: time.tv_nsec)
}
