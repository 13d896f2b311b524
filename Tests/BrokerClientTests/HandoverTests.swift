import LinuxIO
import Testing

@testable import BrokerClient

@Suite struct HandoverTests {
    @Test func `elements come out in order, and the gate is open when all are consumed`()
        async throws
    {
        let gate = ReceiveGate(reopened: {})
        let handover = Handover<Int>(bytesMax: 100, gate: gate)
        let count = 20_000
        _ = SystemThread.start(name: "pusher") {
            for number in 0..<count { handover.push(number, bytes: 10) }
            handover.finish(nil)
        }
        var expected = 0
        while let number = try await handover.next() {
            #expect(number == expected)
            expected += 1
        }
        #expect(expected == count)
        #expect(gate.isOpen)
    }

    @Test func `the gate closes beyond the limit and opens at half of it`() async throws {
        let reopened = Flag()
        let gate = ReceiveGate(reopened: { reopened.set() })
        let handover = Handover<Int>(bytesMax: 100, gate: gate)
        for number in 0..<10 { handover.push(number, bytes: 10) }
        #expect(gate.isOpen)
        handover.push(10, bytes: 10)
        #expect(!gate.isOpen)
        for _ in 0..<5 { _ = try await handover.next() }
        #expect(!gate.isOpen && !reopened.isSet)
        _ = try await handover.next()
        #expect(gate.isOpen && reopened.isSet)
    }

    @Test func `dropping what is there opens the gate`() async throws {
        let gate = ReceiveGate(reopened: {})
        let handover = Handover<Int>(bytesMax: 1, gate: gate)
        handover.push(1, bytes: 10)
        #expect(!gate.isOpen)
        handover.finish(nil)
        #expect(!gate.isOpen)
        handover.discard()
        #expect(gate.isOpen)
        #expect(try await handover.next() == nil)
    }

    @Test func `an error comes behind the last element, once`() async throws {
        let handover = Handover<Int>(bytesMax: 1, gate: nil)
        handover.push(1, bytes: 0)
        handover.finish(.connectionLost)
        handover.push(2, bytes: 0)
        #expect(try await handover.next() == 1)
        await #expect(throws: BrokerClientError.connectionLost) { try await handover.next() }
        #expect(try await handover.next() == nil)
    }

    @Test func `a cancelled consumer always wakes`() async throws {
        for _ in 0..<2_000 {
            let handover = Handover<Int>(bytesMax: 1, gate: nil)
            let consuming = Task { try await handover.next() }
            await Task.yield()
            consuming.cancel()
            #expect(try await consuming.value == nil)
        }
    }

    @Test func `a result and a cancellation may come in any order`() async throws {
        for round in 0..<2_000 {
            let result = OneShot<Int>()
            let waiting = Task { try await result.value() }
            if round % 2 == 0 { await Task.yield() }
            let resolving = Task { result.resolve(.success(round)) }
            waiting.cancel()
            switch await waiting.result {
            case .success(let value): #expect(value == round)
            case .failure(let error): #expect((error as? BrokerClientError)?.code == .cancelled)
            }
            await resolving.value
        }
    }
}
