import Testing

@testable import BrokerCore

@Suite("QuotaTable: charges that return to zero")
struct QuotaTests {
    private func table(_ change: (inout QuotaLimits) -> Void) -> QuotaTable {
        var limits = QuotaLimits()
        change(&limits)
        return QuotaTable(limits: limits)
    }

    @Test("A user's limits are the user's own, up to the largest uid")
    func limitsPerUser() throws {
        var quotas = table { $0.connections = 1 }
        let first = try quotas.openConnection(uid: 4_294_967_294)
        #expect(throws: QuotaExceeded.self) { try quotas.openConnection(uid: 4_294_967_294) }
        let second = try quotas.openConnection(uid: 2_147_483_648)
        #expect(first != second)
        #expect(quotas.active.map(\.uid) == [2_147_483_648, 4_294_967_294])
    }

    @Test("A refusal names the limit and the uid")
    func explanation() throws {
        var quotas = table { $0.subscriptions = 2 }
        let account = try quotas.openConnection(uid: 7)
        try quotas.chargeSubscription(account)
        try quotas.chargeSubscription(account)
        let error = #expect(throws: QuotaExceeded.self) {
            try quotas.chargeSubscription(account)
        }
        #expect(error?.explanation == "uid 7 is at its limit of 2 subscriptions")
        quotas.releaseSubscription(account)
        try quotas.chargeSubscription(account)
    }

    @Test("Bytes may be queued up to the limit and not one more")
    func queuedBytes() throws {
        var quotas = table { $0.queuedBytes = 100 }
        let account = try quotas.openConnection(uid: 1)
        quotas.chargeQueue(account, bytes: 60)
        #expect(quotas.mayQueue(account, bytes: 40))
        #expect(!quotas.mayQueue(account, bytes: 41))
        quotas.releaseQueue(account, bytes: 60)
        #expect(quotas.mayQueue(account, bytes: 100))
    }

    @Test("The slot of a user who has gone is used again, empty")
    func slotReuse() throws {
        var quotas = table { _ in }
        let first = try quotas.openConnection(uid: 1)
        quotas.finishGreeting(first)
        quotas.closeConnection(first)
        #expect(quotas.active.isEmpty)
        let second = try quotas.openConnection(uid: 2)
        #expect(first == second)
        #expect(quotas.accounts[second].uid == 2)
        #expect(quotas.accounts[second].connections == 1)
    }

    @Test("A charge that was not returned is found when the last connection goes")
    func leak() async {
        await #expect(processExitsWith: .failure) {
            var quotas = QuotaTable(limits: QuotaLimits())
            let account = try quotas.openConnection(uid: 1)
            quotas.finishGreeting(account)
            quotas.chargeQueue(account, bytes: 1)
            quotas.closeConnection(account)
        }
    }

    @Test("More cannot be returned than was charged")
    func overRelease() async {
        await #expect(processExitsWith: .failure) {
            var quotas = QuotaTable(limits: QuotaLimits())
            let account = try quotas.openConnection(uid: 1)
            quotas.releaseQueue(account, bytes: 1)
        }
    }
}
