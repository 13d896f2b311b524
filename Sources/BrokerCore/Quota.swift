import BrokerWire

/// What one opener uid holds of the broker. Charges are taken and given back in pairs; an account
/// is removed when its last connection goes, and must then be empty.
package struct UserAccount: Equatable, Sendable {
    package let uid: UInt32
    package internal(set) var connections = 0
    /// Connections that have not sent HELLO.
    package internal(set) var greetings = 0
    package internal(set) var subscriptions = 0
    package internal(set) var queuedBytes = 0
}

/// The limits that `QuotaTable` enforces for each opener uid.
package struct QuotaLimits: Equatable, Sendable {
    package var connections = Limits.connectionsPerUserMax
    package var greetings = Limits.greetingsPerUserMax
    package var subscriptions = Limits.subscriptionsPerUserMax
    package var queuedBytes = Limits.queueBytesPerUserMax

    package init() {}
}

/// A charge that was refused: which limit of whom.
package struct QuotaExceeded: Error, Equatable {
    package enum Resource: String, Sendable {
        case connections
        case greetings = "connections without HELLO"
        case subscriptions
        case queuedBytes = "queued bytes"
    }

    package let resource: Resource
    package let limit: Int
    package let uid: UInt32

    package var explanation: String {
        "uid \(uid) is at its limit of \(limit) \(resource.rawValue)"
    }
}

/// The accounts of all opener uids, in slots that sessions refer to by index.
struct QuotaTable {
    private(set) var accounts: [UserAccount] = []
    private var slots: [UInt32: Int] = [:]
    private var free: [Int] = []
    let limits: QuotaLimits

    init(limits: QuotaLimits) {
        self.limits = limits
    }

    /// Accounts in use.
    var active: [UserAccount] { slots.values.map { accounts[$0] }.sorted { $0.uid < $1.uid } }

    /// Charges a new connection in its greeting state.
    ///
    /// - Returns: the slot of the account, to be given to `closeConnection` in the end.
    mutating func openConnection(uid: UInt32) throws(QuotaExceeded) -> Int {
        precondition(uid != SenderRecord.noID, "nobody holds nothing")
        let slot = slots[uid] ?? makeAccount(uid: uid)
        if accounts[slot].connections >= limits.connections {
            throw QuotaExceeded(resource: .connections, limit: limits.connections, uid: uid)
        }
        if accounts[slot].greetings >= limits.greetings {
            throw QuotaExceeded(resource: .greetings, limit: limits.greetings, uid: uid)
        }
        accounts[slot].connections += 1
        accounts[slot].greetings += 1
        return slot
    }

    mutating func finishGreeting(_ slot: Int) {
        precondition(accounts[slot].greetings > 0)
        accounts[slot].greetings -= 1
    }

    mutating func closeConnection(_ slot: Int) {
        precondition(accounts[slot].connections > 0)
        accounts[slot].connections -= 1
        guard accounts[slot].connections == 0 else { return }
        precondition(accounts[slot] == UserAccount(uid: accounts[slot].uid), "a charge leaked")
        slots[accounts[slot].uid] = nil
        free.append(slot)
    }

    mutating func chargeSubscription(_ slot: Int) throws(QuotaExceeded) {
        guard accounts[slot].subscriptions < limits.subscriptions else {
            throw QuotaExceeded(
                resource: .subscriptions, limit: limits.subscriptions, uid: accounts[slot].uid)
        }
        precondition(accounts[slot].connections > 0, "a charge for nobody")
        accounts[slot].subscriptions += 1
    }

    mutating func releaseSubscription(_ slot: Int) {
        precondition(accounts[slot].subscriptions > 0)
        accounts[slot].subscriptions -= 1
    }

    func mayQueue(_ slot: Int, bytes: Int) -> Bool {
        accounts[slot].queuedBytes + bytes <= limits.queuedBytes
    }

    mutating func chargeQueue(_ slot: Int, bytes: Int) {
        precondition(bytes > 0 && accounts[slot].connections > 0, "a charge for nobody")
        accounts[slot].queuedBytes += bytes
    }

    mutating func releaseQueue(_ slot: Int, bytes: Int) {
        precondition(accounts[slot].queuedBytes >= bytes)
        accounts[slot].queuedBytes -= bytes
    }

    private mutating func makeAccount(uid: UInt32) -> Int {
        let slot = free.popLast() ?? accounts.count
        if slot == accounts.count {
            accounts.append(UserAccount(uid: uid))
        } else {
            accounts[slot] = UserAccount(uid: uid)
        }
        slots[uid] = slot
        return slot
    }
}
