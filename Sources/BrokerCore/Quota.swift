package import BrokerWire

/// What one opener uid holds of the broker. Charges are taken and given back in pairs; an account
/// is removed when its last connection goes, and must then be empty.
package struct UserAccount: Equatable, Sendable {
    package let uid: UInt32
    package internal(set) var connections = 0
    /// Connections that have not sent HELLO.
    package internal(set) var greetings = 0
    /// Of them, those that came too fast and are not read yet.
    package internal(set) var held = 0
    package internal(set) var subscriptions = 0
    /// Memory of the subscriptions, as `Subscription.bytes` reckons it.
    package internal(set) var subscriptionBytes = 0
    package internal(set) var queuedBytes = 0
}

/// The limits that `QuotaTable` enforces for each opener uid.
package struct QuotaLimits: Equatable, Sendable {
    package var connections = Limits.connectionsPerUserMax
    package var greetings = Limits.greetingsPerUserMax
    package var subscriptions = Limits.subscriptionsPerUserMax
    package var subscriptionBytes = Limits.subscriptionBytesPerUserMax
    package var queuedBytes = Limits.queueBytesPerUserMax
    /// Connections that come faster are held: they are read when it is their turn; 0: no limit.
    package var connectionsPerSecond = Limits.connectionsPerSecondMax
    /// Connections that may come at once after a rest; 0: as many as the user may have.
    package var connectionBurst = 0
    /// Rates of publishing; 0: no limit.
    package var messagesPerSecond = 0
    /// Messages that may come at once after a rest; 0: those of a second.
    package var messageBurst = 0
    package var bytesPerSecond = 0
    package var byteBurst = 0

    package init() {}

    var isRateLimited: Bool { messagesPerSecond > 0 || bytesPerSecond > 0 }
}

/// The limits of each opener uid: those that are named, and the others.
package struct QuotaSettings: Equatable, Sendable {
    package struct User: Equatable, Sendable {
        package var ranges: [IDRange]
        package var limits: QuotaLimits

        package init(ranges: [IDRange], limits: QuotaLimits) {
            self.ranges = ranges
            self.limits = limits
        }
    }

    package var defaults = QuotaLimits()
    /// The first that names a uid holds for it.
    package var users: [User] = []

    package init(defaults: QuotaLimits = QuotaLimits()) {
        self.defaults = defaults
    }

    package func limits(of uid: UInt32) -> QuotaLimits {
        users.first { $0.ranges.contains { $0.contains(uid) } }?.limits ?? defaults
    }
}

/// A charge that was refused: which limit of whom.
package struct QuotaExceeded: Error, Equatable {
    package enum Resource: String, Sendable {
        case connections
        case greetings = "connections without HELLO"
        case subscriptions
        case subscriptionBytes = "bytes of subscriptions"
        case queuedBytes = "queued bytes"
        case messages = "published messages a second"
        case bytes = "published bytes a second"
    }

    package let resource: Resource
    package let limit: Int
    package let uid: UInt32

    package var explanation: String {
        "uid \(uid) is at its limit of \(limit) \(resource.rawValue)"
    }
}

/// How much of its rates a user has left. Fills up with time, to the burst at most.
struct RateAllowance: Equatable {
    private var left: Int
    private var filledNanoseconds: UInt64
    private let perSecond: Int
    private let burst: Int

    init(perSecond: Int, burst: Int, nowNanoseconds: UInt64) {
        precondition(perSecond >= 0 && burst >= 0)
        self.perSecond = perSecond
        self.burst = burst == 0 ? perSecond : burst
        left = self.burst
        filledNanoseconds = nowNanoseconds
    }

    var isLimited: Bool { perSecond > 0 }
    var limit: Int { perSecond }

    func mayTake(_ count: Int) -> Bool { !isLimited || left >= min(count, burst) }

    /// What is larger than the burst is let through when the burst is whole, and owed.
    mutating func take(_ count: Int) {
        precondition(count >= 0)
        if isLimited { left -= count }
    }

    mutating func fill(nowNanoseconds: UInt64) {
        guard isLimited, nowNanoseconds > filledNanoseconds else { return }
        let elapsed = min(nowNanoseconds - filledNanoseconds, 1 << 40)
        let (high, low) = UInt64(perSecond).multipliedFullWidth(by: elapsed)
        let (gained, _) = UInt64(1_000_000_000).dividingFullWidth((high, low))
        // Time that was too short for one more is kept.
        if gained == 0 { return }
        left = min(burst, left + Int(clamping: gained))
        let (whole, part) = gained.multipliedFullWidth(by: 1_000_000_000)
        filledNanoseconds += UInt64(perSecond).dividingFullWidth((whole, part)).quotient
        if left == burst { filledNanoseconds = nowNanoseconds }
    }

    /// When one more can be taken, as far as is known now.
    var nextNanoseconds: UInt64 {
        guard !mayTake(1) else { return filledNanoseconds }
        let missing = UInt64(1 - left).multipliedFullWidth(by: 1_000_000_000)
        return filledNanoseconds + UInt64(perSecond).dividingFullWidth(missing).quotient + 1
    }

    func isFull(nowNanoseconds: UInt64) -> Bool {
        var copy = self
        copy.fill(nowNanoseconds: nowNanoseconds)
        return !isLimited || copy.left >= burst
    }
}

/// The accounts of all opener uids, in slots that sessions refer to by index.
struct QuotaTable {
    private struct Rates: Equatable {
        var connections: RateAllowance
        var messages: RateAllowance
        var bytes: RateAllowance

        init(_ limits: QuotaLimits, nowNanoseconds: UInt64) {
            connections = RateAllowance(
                perSecond: limits.connectionsPerSecond,
                burst: limits.connectionBurst == 0 ? limits.connections : limits.connectionBurst,
                nowNanoseconds: nowNanoseconds)
            messages = RateAllowance(
                perSecond: limits.messagesPerSecond, burst: limits.messageBurst,
                nowNanoseconds: nowNanoseconds)
            bytes = RateAllowance(
                perSecond: limits.bytesPerSecond, burst: limits.byteBurst,
                nowNanoseconds: nowNanoseconds)
        }

        func isFull(nowNanoseconds: UInt64) -> Bool {
            connections.isFull(nowNanoseconds: nowNanoseconds)
                && messages.isFull(nowNanoseconds: nowNanoseconds)
                && bytes.isFull(nowNanoseconds: nowNanoseconds)
        }
    }

    /// Users without connections whose rates are remembered before the recovered are forgotten.
    private static let restingMax = 1_024

    private(set) var accounts: [UserAccount] = []
    private var limits: [QuotaLimits] = []
    private var rates: [Rates] = []
    /// Rates of users who are gone: coming back must not fill them up.
    private var resting: [UInt32: Rates] = [:]
    private var slots: [UInt32: Int] = [:]
    private var free: [Int] = []
    private(set) var settings: QuotaSettings

    init(settings: QuotaSettings) {
        self.settings = settings
    }

    init(limits: QuotaLimits) {
        self.init(settings: QuotaSettings(defaults: limits))
    }

    /// Accounts in use.
    var active: [UserAccount] {
        slots.values.map { accounts[$0] }.sorted { $0.uid < $1.uid }
    }

    /// Other limits hold from now on. Who holds more than they allow keeps it, and gets no more.
    mutating func replace(_ settings: QuotaSettings, nowNanoseconds: UInt64) {
        guard settings != self.settings else { return }
        self.settings = settings
        resting = [:]
        for slot in slots.values {
            limits[slot] = settings.limits(of: accounts[slot].uid)
            rates[slot] = Rates(limits[slot], nowNanoseconds: nowNanoseconds)
        }
    }

    /// Why a user may not open one more connection, or nil.
    func refusalOfConnection(uid: UInt32) -> QuotaExceeded? {
        let allowed = slots[uid].map { limits[$0] } ?? settings.limits(of: uid)
        let account = slots[uid].map { accounts[$0] } ?? UserAccount(uid: uid)
        if account.connections >= allowed.connections {
            return QuotaExceeded(resource: .connections, limit: allowed.connections, uid: uid)
        }
        if account.greetings >= allowed.greetings {
            return QuotaExceeded(resource: .greetings, limit: allowed.greetings, uid: uid)
        }
        return nil
    }

    /// Charges a new connection in its greeting state.
    ///
    /// - Returns: the slot of the account, to be given to `closeConnection` in the end.
    mutating func openConnection(
        uid: UInt32, nowNanoseconds: UInt64 = 0
    ) throws(QuotaExceeded) -> Int {
        precondition(uid != SenderRecord.noID, "nobody holds nothing")
        if let refusal = refusalOfConnection(uid: uid) { throw refusal }
        let allowed = settings.limits(of: uid)
        let slot = slots[uid] ?? makeAccount(uid: uid, allowed, nowNanoseconds: nowNanoseconds)
        accounts[slot].connections += 1
        accounts[slot].greetings += 1
        return slot
    }

    // MARK: Links

    /// An account of one link, with a limit of its own: nobody's uid, found under no uid, so that
    /// it is no user's and what users or other links hold leaves it as it is.
    mutating func openLink(queuedBytesMax: Int) -> Int {
        var allowed = QuotaLimits()
        allowed.queuedBytes = queuedBytesMax
        var account = UserAccount(uid: SenderRecord.noID)
        account.connections = 1
        account.subscriptions = 1
        // Messages of other brokers are not counted here, so their rates never need filling.
        return place(account, allowed, Rates(allowed, nowNanoseconds: 0))
    }

    /// Another limit; what is held beyond it is kept.
    mutating func limitLink(_ slot: Int, queuedBytesMax: Int) {
        precondition(accounts[slot].uid == SenderRecord.noID, "the account of a user")
        limits[slot].queuedBytes = queuedBytesMax
    }

    /// The link is gone, and its subscription and queue have been given back before.
    mutating func closeLink(_ slot: Int) {
        precondition(accounts[slot].uid == SenderRecord.noID, "the account of a user")
        accounts[slot].connections -= 1
        precondition(accounts[slot] == UserAccount(uid: SenderRecord.noID), "a charge leaked")
        free.append(slot)
    }

    // MARK: Charges

    mutating func finishGreeting(_ slot: Int) {
        precondition(accounts[slot].greetings > accounts[slot].held)
        accounts[slot].greetings -= 1
    }

    /// Takes one connection out of the user's rate, behind those that are held already.
    ///
    /// - Returns: false if it has to wait, and is charged as held.
    mutating func admitConnection(_ slot: Int, nowNanoseconds: UInt64) -> Bool {
        if accounts[slot].held == 0, takeConnection(slot, nowNanoseconds: nowNanoseconds) {
            return true
        }
        accounts[slot].held += 1
        precondition(accounts[slot].held <= accounts[slot].greetings)
        return false
    }

    /// A held connection may be read now, if the rate allows it.
    mutating func admitHeld(_ slot: Int, nowNanoseconds: UInt64) -> Bool {
        guard takeConnection(slot, nowNanoseconds: nowNanoseconds) else { return false }
        releaseHeld(slot)
        return true
    }

    /// A held connection is admitted, or gone.
    mutating func releaseHeld(_ slot: Int) {
        precondition(accounts[slot].held > 0)
        accounts[slot].held -= 1
    }

    /// When the next held connection of a user may be read.
    func nextAdmissionNanoseconds(_ slot: Int) -> UInt64 {
        rates[slot].connections.nextNanoseconds
    }

    private mutating func takeConnection(_ slot: Int, nowNanoseconds: UInt64) -> Bool {
        rates[slot].connections.fill(nowNanoseconds: nowNanoseconds)
        guard rates[slot].connections.mayTake(1) else { return false }
        rates[slot].connections.take(1)
        return true
    }

    mutating func closeConnection(_ slot: Int, nowNanoseconds: UInt64 = 0) {
        precondition(accounts[slot].connections > 0)
        accounts[slot].connections -= 1
        guard accounts[slot].connections == 0 else { return }
        let uid = accounts[slot].uid
        precondition(accounts[slot] == UserAccount(uid: uid), "a charge leaked")
        slots[uid] = nil
        free.append(slot)
        guard !rates[slot].isFull(nowNanoseconds: nowNanoseconds) else { return }
        if resting.count >= Self.restingMax {
            resting = resting.filter { !$0.value.isFull(nowNanoseconds: nowNanoseconds) }
        }
        resting[uid] = rates[slot]
    }

    mutating func chargeSubscription(_ slot: Int, bytes: Int) throws(QuotaExceeded) {
        let (held, allowed) = (accounts[slot], limits[slot])
        guard held.subscriptions < allowed.subscriptions else {
            throw QuotaExceeded(
                resource: .subscriptions, limit: allowed.subscriptions, uid: held.uid)
        }
        guard held.subscriptionBytes + bytes <= allowed.subscriptionBytes else {
            throw QuotaExceeded(
                resource: .subscriptionBytes, limit: allowed.subscriptionBytes, uid: held.uid)
        }
        precondition(held.connections > 0 && bytes > 0, "a charge for nobody or nothing")
        accounts[slot].subscriptions += 1
        accounts[slot].subscriptionBytes += bytes
    }

    mutating func releaseSubscription(_ slot: Int, bytes: Int) {
        precondition(accounts[slot].subscriptions > 0)
        precondition(accounts[slot].subscriptionBytes >= bytes)
        accounts[slot].subscriptions -= 1
        accounts[slot].subscriptionBytes -= bytes
    }

    func mayQueue(_ slot: Int, bytes: Int) -> Bool {
        accounts[slot].queuedBytes + bytes <= limits[slot].queuedBytes
    }

    mutating func chargeQueue(_ slot: Int, bytes: Int) {
        precondition(bytes > 0 && accounts[slot].connections > 0, "a charge for nobody")
        precondition(bytes >= 0)
        accounts[slot].queuedBytes += bytes
    }

    mutating func releaseQueue(_ slot: Int, bytes: Int) {
        precondition(accounts[slot].queuedBytes >= bytes)
        accounts[slot].queuedBytes -= bytes
    }

    // MARK: Rates

    /// Whether publishing has to be counted at all: asked once per packet.
    func isRateLimited(_ slot: Int) -> Bool { limits[slot].isRateLimited }

    mutating func fillRates(_ slot: Int, nowNanoseconds: UInt64) {
        rates[slot].messages.fill(nowNanoseconds: nowNanoseconds)
        rates[slot].bytes.fill(nowNanoseconds: nowNanoseconds)
    }

    /// Takes one message out of the user's rates.
    ///
    /// - Returns: the rate that is used up, and nothing is taken.
    mutating func chargeMessage(_ slot: Int, bytes: Int) -> QuotaExceeded? {
        if let exceeded = exceededRate(slot, bytes: bytes) { return exceeded }
        rates[slot].messages.take(1)
        rates[slot].bytes.take(bytes)
        return nil
    }

    /// The same for what costs as much as several messages.
    mutating func chargeMessages(_ slot: Int, count: Int) -> QuotaExceeded? {
        guard rates[slot].messages.mayTake(count) else {
            return QuotaExceeded(
                resource: .messages, limit: rates[slot].messages.limit, uid: accounts[slot].uid)
        }
        rates[slot].messages.take(count)
        return nil
    }

    func exceededRate(_ slot: Int, bytes: Int) -> QuotaExceeded? {
        let uid = accounts[slot].uid
        if !rates[slot].messages.mayTake(1) {
            return QuotaExceeded(
                resource: .messages, limit: rates[slot].messages.limit, uid: uid)
        }
        guard !rates[slot].bytes.mayTake(bytes) else { return nil }
        return QuotaExceeded(resource: .bytes, limit: rates[slot].bytes.limit, uid: uid)
    }

    private mutating func makeAccount(
        uid: UInt32, _ allowed: QuotaLimits, nowNanoseconds: UInt64
    ) -> Int {
        precondition(slots[uid] == nil)
        let fresh = Rates(allowed, nowNanoseconds: nowNanoseconds)
        let kept = resting.removeValue(forKey: uid) ?? fresh
        let slot = place(UserAccount(uid: uid), allowed, kept)
        slots[uid] = slot
        return slot
    }

    private mutating func place(
        _ account: UserAccount, _ allowed: QuotaLimits, _ allowance: Rates
    ) -> Int {
        guard let slot = free.popLast() else {
            accounts.append(account)
            limits.append(allowed)
            rates.append(allowance)
            return accounts.count - 1
        }
        accounts[slot] = account
        limits[slot] = allowed
        rates[slot] = allowance
        return slot
    }
}
