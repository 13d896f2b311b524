import DequeModule

/// Whose turn it is. Each turn is charged to a user, and the user who has had least is next: a
/// user with a thousand busy sessions gets as much as a user with one, and who asks for little
/// waits for one turn of somebody else's at most, whatever others ask for.
///
/// What a user has had is counted from where the others are when it comes (start-time fair
/// queueing): resting earns no credit, and nobody pays for having been served alone.
///
/// Sharing the broker is not enough: whoever floods it keeps all processors busy, its own programs
/// included, and those who ask for little wait for a processor. Therefore users who want more are
/// throttled when they have had their part of the time (`TimeShare`).
///
/// Not generic: it is used from another module, where each call would look its types up.
package struct FairQueue {
    /// What waits for its turn.
    package enum Turn: Equatable, Sendable {
        case accept
        case receive(SessionID)
        case send(SessionID)
    }

    /// What a user has waiting.
    package enum Line: Sendable {
        /// Taking input and working through it.
        case input
        /// Sending what is queued. Comes when there is no more input, or when input has had its
        /// share: so that output is gathered into few large packets, but not for ever.
        case output
    }

    private struct User {
        let uid: UInt32
        /// Everything it has been charged, on the scale of `clock`.
        var charged: UInt64
        var input = Deque<Turn>()
        var output = Deque<Turn>()
        /// Charged for input since the last output.
        var inputCost: UInt64 = 0
        var outputIsDue = false
        var share = TimeShare.Account()

        var isWaiting: Bool { !input.isEmpty || !output.isEmpty }
    }

    /// Output becomes due after this much input of the same user.
    private let inputCostMax: UInt64
    private var share: TimeShare
    private var users: [User] = []
    private var slots: [UInt32: Int] = [:]
    /// Slots of users with something waiting, in the order in which they came.
    private var waiting: [Int] = []
    /// Where the user stood who had the latest turn; when nobody waits, where the last one stands
    /// who was served.
    private var clock: UInt64 = 0
    private var chargedMax: UInt64 = 0
    /// Users that are remembered before those who are behind the clock are forgotten.
    private var usersMax = 64
    private var latest: (slot: Int, line: Line)?
    private var inputCount = 0
    /// Slot of the user who was served last: most often it is the next to come as well.
    private var served = 0

    /// - Parameters:
    ///   - inputCostMax: of a user, after which its output becomes due; nanoseconds.
    ///   - busyPercentMax: of the time, for users who want more than others who speak; 1 to 100.
    package init(inputCostMax: UInt64, busyPercentMax: Int) {
        self.inputCostMax = inputCostMax
        share = TimeShare(percent: busyPercentMax)
    }

    /// Whether anybody waits with more than output.
    package var hasInput: Bool { inputCount > 0 }

    /// When there may be a turn: now, or when the first of those who wait is no longer
    /// throttled; `.max`: nobody waits.
    package func readyNanoseconds(nowNanoseconds now: UInt64) -> UInt64 {
        var ready = UInt64.max
        for slot in waiting {
            let end = users[slot].share.throttledUntilNanoseconds
            if end <= now { return now }
            ready = min(ready, end)
        }
        return ready
    }

    /// Puts a turn at the end of a line of the user's.
    package mutating func append(_ turn: Turn, to line: Line, of uid: UInt32) {
        let slot = arrive(uid)
        switch line {
        case .input:
            users[slot].input.append(turn)
            inputCount += 1
        case .output: users[slot].output.append(turn)
        }
    }

    /// Puts a turn that was left unfinished before all others of the user's input.
    package mutating func goOn(_ turn: Turn, of uid: UInt32) {
        let slot = arrive(uid)
        users[slot].input.prepend(turn)
        inputCount += 1
    }

    /// Takes the next turn out; nil: nobody waits, or all who do are throttled. `charge` belongs
    /// to it.
    package mutating func next(nowNanoseconds now: UInt64) -> Turn? {
        var least: Int?
        for place in waiting.indices where mayHaveTurn(waiting[place], nowNanoseconds: now) {
            guard let other = least else {
                least = place
                continue
            }
            if users[waiting[place]].charged < users[waiting[other]].charged { least = place }
        }
        guard let first = least else { return nil }
        let slot = waiting[first]
        clock = users[slot].charged
        let isOutput =
            !users[slot].output.isEmpty
            && (users[slot].outputIsDue || users[slot].input.isEmpty)
        let turn = isOutput ? users[slot].output.popFirst() : users[slot].input.popFirst()
        if !isOutput { inputCount -= 1 }
        if users[slot].output.isEmpty {
            users[slot].outputIsDue = false
            if isOutput { users[slot].inputCost = 0 }
        }
        // Who stands equal with others goes behind them.
        waiting.remove(at: first)
        if users[slot].isWaiting { waiting.append(slot) }
        latest = (slot, isOutput ? .output : .input)
        served = slot
        return turn
    }

    /// Charges the user of the latest turn.
    ///
    /// - Parameters:
    ///   - nanoseconds: that it took.
    ///   - weight: how many times as much it is charged.
    ///   - spoke: whether a message of the user's was accepted. Who may say nothing, or is new and
    ///     nobody yet, throttles nobody.
    package mutating func charge(
        _ nanoseconds: UInt64, weight: UInt64 = 1, spoke: Bool, nowNanoseconds now: UInt64
    ) {
        guard let (slot, line) = latest else { return }
        latest = nil
        let cost = nanoseconds * weight
        if spoke { users[slot].share.speaks(nowNanoseconds: now) }
        let wantsMore = share.use(
            nanoseconds, by: &users[slot].share, hasMore: !users[slot].input.isEmpty,
            nowNanoseconds: now)
        if wantsMore { throttle(slot, nowNanoseconds: now) }
        users[slot].charged += max(1, cost)
        chargedMax = max(chargedMax, users[slot].charged)
        if waiting.isEmpty { clock = chargedMax }
        guard line == .input else { return }
        users[slot].inputCost = users[slot].output.isEmpty ? 0 : users[slot].inputCost + cost
        users[slot].outputIsDue = users[slot].inputCost >= inputCostMax
    }

    /// Who was throttled begins with the others, as who has rested: otherwise it would make up all
    /// at once for what they had meanwhile.
    private mutating func mayHaveTurn(_ slot: Int, nowNanoseconds now: UInt64) -> Bool {
        if users[slot].share.throttledUntilNanoseconds == 0 { return true }
        guard users[slot].share.endThrottling(nowNanoseconds: now) else { return false }
        users[slot].charged = max(users[slot].charged, clock)
        return true
    }

    /// How long the user was throttled since it was last forgotten.
    package func throttledNanoseconds(of uid: UInt32) -> UInt64 {
        slots[uid].map { users[$0].share.throttledNanoseconds } ?? 0
    }

    /// Makes a user wait who wants much, if somebody wants little.
    private mutating func throttle(_ slot: Int, nowNanoseconds now: UInt64) {
        let others = users.indices.lazy.filter { $0 != slot }
        guard others.contains(where: { users[$0].share.isModest(nowNanoseconds: now) }) else {
            return
        }
        share.throttle(&users[slot].share, nowNanoseconds: now)
    }

    private mutating func arrive(_ uid: UInt32) -> Int {
        let slot =
            served < users.count && users[served].uid == uid
            ? served : slots[uid] ?? makeUser(uid)
        guard !users[slot].isWaiting else { return slot }
        waiting.append(slot)
        // Who has just had its turn is charged for it first, and comes again behind the others.
        users[slot].charged = max(users[slot].charged, clock)
        return slot
    }

    private mutating func makeUser(_ uid: UInt32) -> Int {
        if users.count >= usersMax { forgetResting() }
        slots[uid] = users.count
        users.append(User(uid: uid, charged: clock))
        return users.count - 1
    }

    /// Forgets users who would begin at the clock if they came again.
    private mutating func forgetResting() {
        let latestUID = latest.map { users[$0.slot].uid }
        let waitingUIDs = waiting.map { users[$0].uid }
        users.removeAll { user in
            !user.isWaiting && user.charged <= clock && user.uid != latestUID
        }
        slots = Dictionary(
            uniqueKeysWithValues: users.enumerated().map { ($0.element.uid, $0.offset) })
        waiting = waitingUIDs.compactMap { slots[$0] }
        if let latestUID, let line = latest?.line, let slot = slots[latestUID] {
            latest = (slot, line)
        }
        usersMax = max(64, 2 * users.count)
    }
}
