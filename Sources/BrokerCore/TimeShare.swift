/// How much of the time turns may take for users who want more than others who speak: so much of
/// each period, as `cpu.max` gives it to a cgroup.
///
/// When it is used up, whoever has more waiting is throttled until the period ends, as long as
/// somebody speaks who has not. Nobody is while all want more, or while only one speaks.
struct TimeShare {
    /// Short enough for nobody to notice, long enough for the processors to come to rest.
    static let periodNanoseconds: UInt64 = 1_000_000
    /// How long somebody counts as speaking after its latest message, and as wanting more after
    /// more was waiting.
    static let memoryNanoseconds: UInt64 = 100_000_000
    /// Who has had less in a period is not throttled. Turns are shorter: what took longer was
    /// interrupted, by others' programs.
    static let littleNanoseconds: UInt64 = 50_000
    /// What an interruption counts at most.
    static let turnNanosecondsMax: UInt64 = 5_000_000

    /// What one user has had, and wants.
    struct Account {
        fileprivate var usedNanoseconds: UInt64 = 0
        /// Of the period in which it was used.
        fileprivate var periodStartNanoseconds: UInt64 = .max
        fileprivate var speaksUntilNanoseconds: UInt64 = 0
        fileprivate var wantsMoreUntilNanoseconds: UInt64 = 0
        /// 0: it is not throttled.
        fileprivate(set) var throttledUntilNanoseconds: UInt64 = 0
        /// Altogether.
        fileprivate(set) var throttledNanoseconds: UInt64 = 0

        /// Whether it speaks and has little to say.
        func isModest(nowNanoseconds now: UInt64) -> Bool {
            speaksUntilNanoseconds > now && wantsMoreUntilNanoseconds <= now
        }

        /// - Returns: whether it is over.
        mutating func endThrottling(nowNanoseconds now: UInt64) -> Bool {
            guard throttledUntilNanoseconds <= now else { return false }
            throttledUntilNanoseconds = 0
            return true
        }

        mutating func speaks(nowNanoseconds now: UInt64) {
            speaksUntilNanoseconds = now + TimeShare.memoryNanoseconds
        }
    }

    private let percent: UInt64
    private var periodStartNanoseconds: UInt64 = 0
    private var periodEndNanoseconds: UInt64 = 0
    private var usedNanoseconds: UInt64 = 0

    /// - Parameter percent: of the time, 1 to 100; 100: whatever nobody else wants.
    init(percent: Int) {
        precondition(percent >= 1 && percent <= 100)
        self.percent = UInt64(percent)
    }

    /// Counts a turn that ends now.
    ///
    /// - Returns: whether the user wants more when there is no more.
    mutating func use(
        _ nanoseconds: UInt64, by account: inout Account, hasMore: Bool, nowNanoseconds now: UInt64
    ) -> Bool {
        guard percent < 100 else { return false }
        if now >= periodEndNanoseconds { beginPeriod(now - nanoseconds) }
        // All of it, and interruptions by the user's own programs as well.
        usedNanoseconds += min(nanoseconds, Self.turnNanosecondsMax)
        let worth = usedNanoseconds * 100 / percent
        periodEndNanoseconds = periodStartNanoseconds + max(worth, Self.periodNanoseconds)
        if account.periodStartNanoseconds != periodStartNanoseconds {
            account.periodStartNanoseconds = periodStartNanoseconds
            account.usedNanoseconds = 0
        }
        account.usedNanoseconds += min(nanoseconds, Self.littleNanoseconds)
        guard hasMore, worth >= Self.periodNanoseconds,
            account.usedNanoseconds >= Self.littleNanoseconds
        else { return false }
        account.wantsMoreUntilNanoseconds = now + Self.memoryNanoseconds
        return true
    }

    /// Throttles a user for the rest of the period.
    func throttle(_ account: inout Account, nowNanoseconds now: UInt64) {
        if periodEndNanoseconds > now { account.throttledNanoseconds += periodEndNanoseconds - now }
        account.throttledUntilNanoseconds = periodEndNanoseconds
    }

    private mutating func beginPeriod(_ start: UInt64) {
        periodStartNanoseconds = start
        usedNanoseconds = 0
    }
}
