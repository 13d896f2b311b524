import LinuxIO

/// A peer that is being connected to, at one of its addresses.
struct DialAttempt {
    /// How long a dial may take, from looking the name up to being connected: the kernel alone
    /// would wait for two minutes.
    static let nanosecondsMax: UInt64 = 10_000_000_000

    let target: StreamTarget
    /// Addresses that are left to be tried.
    let others: ArraySlice<StreamTarget>
    /// Of this address, and of all.
    let deadlineNanoseconds: UInt64
    let lastDeadlineNanoseconds: UInt64

    /// The first of some addresses gets its share of the time that is left; nil: there is none.
    init?(
        _ targets: ArraySlice<StreamTarget>, nowNanoseconds: UInt64,
        lastDeadlineNanoseconds last: UInt64
    ) {
        guard let first = targets.first, nowNanoseconds < last else { return nil }
        target = first
        others = targets.dropFirst()
        deadlineNanoseconds = nowNanoseconds + (last - nowNanoseconds) / UInt64(targets.count)
        lastDeadlineNanoseconds = last
        precondition(deadlineNanoseconds <= lastDeadlineNanoseconds)
    }
}

/// A name that is being looked up.
struct LookUp {
    let number: UInt64
    let deadlineNanoseconds: UInt64
}

/// Looks the names of peers up, each on a thread of its own: the name service may keep one waiting
/// for as long as it likes. There is at most one thread for each link.
final class LinkResolver: Sendable {
    struct Answer: Sendable {
        let link: String
        let number: UInt64
        let result: Result<[StreamTarget], StreamError>
    }

    private struct State {
        var answers: [Answer] = []
        /// Links with a thread that has not ended.
        var busy: Set<String> = []
        var count: UInt64 = 0
    }

    private let state = Lock(State())
    private let wakeUp: @Sendable () -> Void
    private let lookUp: @Sendable (StreamAddress) -> Result<[StreamTarget], StreamError>

    /// - Parameters:
    ///   - lookUp: waits for the name service; called on threads of its own.
    ///   - wakeUp: called on such a thread when there is an answer.
    init(
        lookUp: @escaping @Sendable (StreamAddress) -> Result<[StreamTarget], StreamError> = {
            address in
            Result { () throws(StreamError) in try StreamTarget.lookUp(address) }
        },
        wakeUp: @escaping @Sendable () -> Void
    ) {
        self.lookUp = lookUp
        self.wakeUp = wakeUp
    }

    /// Begins to look a name up.
    ///
    /// - Returns: the number of the answer; nil if an earlier look-up for this link still waits.
    /// - Throws: why there is no thread for it.
    func begin(_ address: StreamAddress, for link: String) throws(KernelError) -> UInt64? {
        let number: UInt64? = state.withLock { state in
            guard state.busy.insert(link).inserted else { return nil }
            state.count += 1
            return state.count
        }
        guard let number else { return nil }
        do throws(KernelError) {
            _ = try SystemThread(name: "broker-resolver") { [self] in
                let result = lookUp(address)
                state.withLock { state in
                    state.busy.remove(link)
                    state.answers.append(Answer(link: link, number: number, result: result))
                }
                wakeUp()
            }
        } catch {
            state.withLock { state in _ = state.busy.remove(link) }
            throw error
        }
        return number
    }

    /// The answers that have come since the last call.
    func takeAnswers() -> [Answer] {
        state.withLock { state in
            defer { state.answers = [] }
            return state.answers
        }
    }
}
