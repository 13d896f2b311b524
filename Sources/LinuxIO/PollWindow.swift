/// How long a thread goes on looking for events before it sleeps.
///
/// A thread that sleeps has to be woken, and its processor as well if nothing else runs there: on
/// a virtual machine that takes tens of microseconds, where to look once more takes less than
/// one. Whoever is spoken to in quick succession therefore looks for a while. It works as KVM
/// does with an idle guest: the window opens when a sleep was short, and closes when one was
/// long, so that it costs processor time only between events that follow each other closely.
///
/// To look in vain is worse than to sleep: the other side may be waiting for this very processor.
/// Success earns credit, failure takes it; without any the thread sleeps at once for a while,
/// longer each time.
public struct PollWindow: Sendable {
    /// The window that opens first.
    static let firstNanoseconds: UInt64 = 10_000
    /// A sleep that was this much longer than the widest window was still short: it takes that
    /// long to wake both sides.
    static let wakeNanoseconds: UInt64 = 25_000
    static let creditMax = 32
    /// What a thread that has rested begins with.
    static let creditAfterRest = 4
    /// Short sleeps without looking before it, at first and at most.
    static let restMin = 128
    static let restMax = 65_536

    /// The widest window. 0: sleep at once.
    public let nanosecondsMax: UInt64
    /// How long to look before the next sleep.
    public private(set) var nanoseconds: UInt64 = 0
    private var credit = PollWindow.creditMax
    private var rest = 0
    private var nextRest = PollWindow.restMin

    /// With one processor, looking would only keep the others from what is waited for.
    public init(
        nanosecondsMax: UInt64, processorCount: Int = CurrentProcess.processorCount
    ) {
        self.nanosecondsMax = processorCount > 1 ? nanosecondsMax : 0
    }

    /// Something came before the window closed.
    mutating func found() {
        credit = min(credit + 1, Self.creditMax)
        if credit == Self.creditMax { nextRest = Self.restMin }
    }

    /// Nothing came before the window closed, or there was none.
    ///
    /// - Parameter nanoseconds: until something came, the window included; nil: nothing did.
    mutating func slept(nanoseconds: UInt64?) {
        let longest = nanosecondsMax + Self.wakeNanoseconds + self.nanoseconds
        guard let nanoseconds, nanosecondsMax > 0, nanoseconds <= longest else {
            self.nanoseconds = 0
            return
        }
        if rest > 0 {
            rest -= 1
            return
        }
        if self.nanoseconds > 0 { credit -= 1 }
        if credit > 0 {
            let wider = max(Self.firstNanoseconds, 2 * self.nanoseconds)
            self.nanoseconds = min(nanosecondsMax, wider)
        } else {
            self.nanoseconds = 0
            credit = Self.creditAfterRest
            rest = nextRest
            nextRest = min(2 * nextRest, Self.restMax)
        }
    }
}
