import BrokerWire
import Testing

@testable import BrokerCore

@Suite("Connections that come too fast are held")
struct HeldConnectionTests {
    private func harness(
        rate: Int = 10, burst: Int = 3, greetings: Int = 20
    ) -> CoreHarness {
        var configuration = Sample.configuration()
        configuration.quotaLimits.connectionsPerSecond = rate
        configuration.quotaLimits.connectionBurst = burst
        configuration.quotaLimits.greetings = greetings
        return CoreHarness(configuration)
    }

    private func account(_ harness: CoreHarness, _ uid: UInt32) throws -> UserAccount {
        try #require(harness.broker.quotas.active.first { $0.uid == uid })
    }

    @Test("Beyond the burst they are held, in order, each for its time, and others' are not")
    func heldAndReleased() throws {
        let harness = harness()
        let clients = try (0..<6).map { _ in try harness.connectAsUser() }
        #expect(harness.reading(clients) == [true, true, true, false, false, false])
        #expect(try account(harness, 1000).held == 3)
        let other = try harness.join(uid: 1001)
        #expect(harness.clients[other].isReading)
        #expect(try account(harness, 1001).held == 0)
        for released in 4...6 {
            harness.pass(seconds: 0.1)
            #expect(
                harness.reading(clients)
                    == (1...6).map { $0 <= released })
        }
        #expect(try account(harness, 1000).held == 0)
        #expect(harness.broker.statistics.connectionsHeld == 3)
        harness.expectNothingLeft()
    }

    @Test("The broker wakes up for the next of them, and not before")
    func deadline() throws {
        let harness = harness(rate: 4, burst: 1)
        _ = try harness.connectAsUser()
        let held = try harness.connectAsUser()
        let due = harness.broker.nextDeadlineNanoseconds
        #expect(due > harness.now && due <= harness.now + Sample.second / 4 + 1)
        harness.now = due
        harness.pass(seconds: 0)
        #expect(harness.reading([held]) == [true])
        #expect(harness.broker.nextDeadlineNanoseconds > due + Sample.second / 4)
        harness.expectNothingLeft()
    }

    @Test("They are bounded as those without HELLO are, and the refusal names the limit")
    func bounded() throws {
        let harness = harness(burst: 1, greetings: 4)
        for _ in 0..<4 { _ = try harness.connectAsUser() }
        let refused = try #require(throws: CoreHarness.Refused.self) {
            try harness.connectAsUser()
        }
        #expect(
            refused.outcome
                == .refused(
                    .quotaExceeded,
                    explanation: "uid 1000 is at its limit of 4 connections without HELLO"))
        #expect(try account(harness, 1000).held == 3)
        harness.expectNothingLeft()
    }

    @Test("Who gives up takes nothing out of the rate, and its charges return")
    func givenUp() throws {
        let harness = harness(burst: 1, greetings: 100)
        _ = try harness.connectAsUser()
        let impatient = try (0..<50).map { _ in try harness.connectAsUser() }
        let patient = try harness.connectAsUser()
        for client in impatient { harness.close(client) }
        #expect(try account(harness, 1000).held == 1)
        harness.pass(seconds: 0.1)
        #expect(harness.reading([patient]) == [true])
        harness.expectNothingLeft()
        #expect(harness.broker.heldConnections.isEmpty)
    }

    @Test("The time for HELLO begins when the connection is read")
    func handshakeTime() throws {
        let harness = harness(rate: 1, burst: 1, greetings: 20)
        for _ in 0..<15 { _ = try harness.connectAsUser() }
        let last = harness.clients.count - 1
        for _ in 0..<14 { harness.pass(seconds: 1) }
        #expect(harness.reading([last]) == [true])
        #expect(harness.take(last).isEmpty)
        harness.pass(seconds: 9.9)
        #expect(harness.take(last).isEmpty)
        harness.pass(seconds: 0.2)
        #expect(harness.take(last).map(\.disconnectReason) == [.handshakeTimeout])
        harness.expectNothingLeft()
    }

    @Test("A broker that stops, and rules that change, leave nobody held")
    func ends() throws {
        let stopping = harness(burst: 1)
        for _ in 0..<4 { _ = try stopping.connectAsUser() }
        stopping.shutDown()
        #expect(stopping.take(3).map(\.disconnectReason) == [.serverShuttingDown])
        stopping.expectNothingLeft()

        let changing = harness(burst: 1)
        let clients = try (0..<4).map { _ in try changing.connectAsUser() }
        var quotas = changing.broker.configuration.quotas
        quotas.defaults.connectionsPerSecond = 0
        var effects = Effects()
        _ = changing.broker.policyChanged(
            changing.broker.policy, quotas: quotas, nowNanoseconds: changing.now, into: &effects)
        changing.pass(seconds: 0)
        #expect(changing.reading(clients) == [true, true, true, true])
        changing.expectNothingLeft()
    }

    @Test("Coming back does not fill the rate up again")
    func reconnecting() throws {
        let harness = harness(burst: 2, greetings: 100)
        for _ in 0..<2 { harness.close(try harness.connectAsUser()) }
        let third = try harness.connectAsUser()
        #expect(harness.reading([third]) == [false])
        harness.expectNothingLeft()
    }

    @Test("A rate is kept to over a long time, however often one looks")
    func exactRate() {
        var allowance = RateAllowance(perSecond: 300, burst: 2, nowNanoseconds: 0)
        var taken = 0
        // Every 1.1 ms for 11 seconds: no multiple of the 3.3 ms that one takes.
        for look in 0..<10_000 {
            allowance.fill(nowNanoseconds: UInt64(look) * 1_100_000)
            if allowance.mayTake(1) {
                allowance.take(1)
                taken += 1
            }
        }
        #expect(taken >= 3_295 && taken <= 3_302)
    }
}

extension CoreHarness {
    fileprivate func connectAsUser() throws -> Int {
        try connect(Sample.peer(uid: 1000))
    }

    fileprivate func reading(_ clients: [Int]) -> [Bool] {
        clients.map { self.clients[$0].isReading }
    }
}
