/// Deadlines that all lie the same time ahead when they are added, so that the order of adding is
/// the order of expiry. What was added is not removed early: whoever takes an expired entry checks
/// whether it still means something.
struct DeadlineQueue<Subject> {
    private var entries: [(subject: Subject, deadlineNanoseconds: UInt64)] = []
    private var first = 0
    private let delayNanoseconds: UInt64

    init(delaySeconds: Int) {
        delayNanoseconds = UInt64(delaySeconds) * 1_000_000_000
    }

    /// When the next entry expires.
    var nextNanoseconds: UInt64? {
        first < entries.count ? entries[first].deadlineNanoseconds : nil
    }

    mutating func append(_ subject: Subject, nowNanoseconds: UInt64) {
        let deadline = nowNanoseconds + delayNanoseconds
        precondition(entries.last?.deadlineNanoseconds ?? 0 <= deadline, "time ran back")
        entries.append((subject, deadline))
    }

    mutating func popExpired(nowNanoseconds: UInt64) -> Subject? {
        guard let next = nextNanoseconds, next <= nowNanoseconds else { return nil }
        let subject = entries[first].subject
        first += 1
        if first * 2 > entries.count {
            entries.removeFirst(first)
            first = 0
        }
        return subject
    }
}
