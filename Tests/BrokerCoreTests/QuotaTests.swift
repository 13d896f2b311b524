import BrokerWire
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
        try quotas.chargeSubscription(account, bytes: 600)
        try quotas.chargeSubscription(account, bytes: 600)
        let error = #expect(throws: QuotaExceeded.self) {
            try quotas.chargeSubscription(account, bytes: 600)
        }
        #expect(error?.explanation == "uid 7 is at its limit of 2 subscriptions")
        quotas.releaseSubscription(account, bytes: 600)
        try quotas.chargeSubscription(account, bytes: 600)
    }

    @Test("Long filters use the user's memory for subscriptions up, and give it back")
    func subscriptionBytes() throws {
        var configuration = Sample.configuration()
        configuration.quotaLimits.subscriptionBytes = 100_000
        let harness = CoreHarness(configuration)
        let greedy = try harness.join(uid: 1001)
        let modest = try harness.join(uid: 1002)
        let filter = String(repeating: "a/", count: 60) + String(repeating: "b", count: 800)
        var number: UInt32 = 0
        var answer: ReplyFrame?
        repeat {
            number += 1
            answer = harness.subscribe(greedy, number, "\(number)/" + filter)
        } while answer?.reason == .success && number < 1_000
        #expect(answer?.reason == .quotaExceeded)
        #expect(answer?.explanation == "uid 1001 is at its limit of 100000 bytes of subscriptions")
        let held = try #require(harness.broker.quotas.active.first { $0.uid == 1001 })
        #expect(held.subscriptionBytes > 80_000 && held.subscriptionBytes <= 100_000)
        #expect(harness.subscribe(modest, 1, filter)?.reason == .success)
        harness.unsubscribe(greedy, 1)
        #expect(harness.subscribe(greedy, number, "1/" + filter)?.reason == .success)
        for other in 1...number { harness.unsubscribe(greedy, other) }
        let left = try #require(harness.broker.quotas.active.first { $0.uid == 1001 })
        #expect(left.subscriptionBytes == 0 && left.subscriptions == 0)
        harness.expectNothingLeft()
    }

    @Test("Asking for documents counts as publishing many messages")
    func documents() throws {
        var configuration = Sample.configuration()
        configuration.quotaLimits.messagesPerSecond = 40
        let harness = CoreHarness(configuration)
        let client = try harness.join(uid: 1000)
        func ask() -> ReplyFrame? {
            harness.send(client) { $0.appendStatusRequest(token: 9) }
            return harness.take(client).compactMap(\.reply).first
        }
        // One session and no subscription: 11 messages each.
        #expect((0..<3).allSatisfy { _ in ask() == nil })
        let refusal = try #require(ask())
        #expect(
            refusal.reason == .quotaExceeded && refusal.request == FrameType.statusRequest.rawValue)
        #expect(
            refusal.explanation == "uid 1000 is at its limit of 40 published messages a second")
        harness.pass(seconds: 1)
        #expect(ask() == nil)
        harness.expectNothingLeft()
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
