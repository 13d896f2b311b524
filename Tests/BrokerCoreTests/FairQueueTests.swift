import TestSupport
import Testing

@testable import BrokerCore

@Suite("FairQueue: one user never exhausts another")
struct FairQueueTests {
    private typealias Turn = FairQueue.Turn

    private func queue(inputCostMax: UInt64 = 1_000) -> FairQueue {
        FairQueue(inputCostMax: inputCostMax, busyPercentMax: 100)
    }

    @Test("Beside a user with a thousand busy sessions another's single one is next")
    func manySessions() {
        var queue = queue()
        for number in 0..<1_000 {
            queue.append(Turn(uid: 1, number: number), to: .input, of: 1)
        }
        for round in 0..<50 {
            // The flooder comes back as often as it is served.
            for _ in 0..<20 {
                guard let turn = queue.next() else { return }
                #expect(turn.uid == 1)
                queue.append(turn, to: .input, of: 1)
                queue.charge(25)
            }
            queue.append(Turn(uid: 2, number: round), to: .input, of: 2)
            #expect(queue.next() == Turn(uid: 2, number: round))
            queue.charge(5)
            queue.append(Turn(uid: 2, number: round), to: .output, of: 2)
            #expect(queue.next() == Turn(uid: 2, number: round))
            queue.charge(5)
        }
    }

    @Test("Users who always have work get the same, whatever their turns cost")
    func equalShares() {
        var random = SeededRandom()
        var queue = queue()
        let costs: [UInt32: UInt64] = [1: 40, 2: 7, 3: 100]
        var had: [UInt32: UInt64] = [:]
        for uid in costs.keys.sorted() {
            for number in 0..<random.int(in: 1...50) {
                queue.append(Turn(uid: uid, number: number), to: .input, of: uid)
            }
        }
        for _ in 0..<10_000 {
            guard let turn = queue.next() else { return }
            queue.append(turn, to: .input, of: turn.uid)
            let cost = costs[turn.uid] ?? 0
            had[turn.uid, default: 0] += cost
            queue.charge(cost)
            let most = had.values.max() ?? 0
            // Never further apart than a turn of each.
            #expect(had.count < 3 || most - (had.values.min() ?? 0) <= 200, "\(random)")
        }
    }

    @Test("Who has rested does not make others wait for what it did not use")
    func restEarnsNothing() {
        var queue = queue()
        queue.append(Turn(uid: 1, number: 0), to: .input, of: 1)
        for _ in 0..<1_000 {
            guard let turn = queue.next() else { return }
            queue.append(turn, to: .input, of: 1)
            queue.charge(100)
        }
        for number in 0..<10 { queue.append(Turn(uid: 2, number: number), to: .input, of: 2) }
        var uids: [UInt32] = []
        for _ in 0..<8 {
            guard let turn = queue.next() else { return }
            uids.append(turn.uid)
            if turn.uid == 1 { queue.append(turn, to: .input, of: 1) }
            queue.charge(100)
        }
        #expect(uids == [2, 1, 2, 1, 2, 1, 2, 1])
    }

    @Test("A user who was served alone begins with the others")
    func noDebt() {
        var queue = queue()
        for _ in 0..<100 {
            queue.append(Turn(uid: 1, number: 0), to: .input, of: 1)
            _ = queue.next()
            queue.charge(1_000)
        }
        queue.append(Turn(uid: 1, number: 1), to: .input, of: 1)
        queue.append(Turn(uid: 2, number: 1), to: .input, of: 2)
        #expect(queue.next()?.uid == 1)
        queue.charge(1)
        #expect(queue.next()?.uid == 2)
        queue.charge(1)
        #expect(queue.isEmpty)
    }

    @Test("What was left unfinished goes on before other input of its user")
    func goOn() {
        var queue = queue()
        queue.append(Turn(uid: 1, number: 1), to: .input, of: 1)
        queue.append(Turn(uid: 1, number: 2), to: .input, of: 1)
        let first = queue.next()
        #expect(first?.number == 1)
        queue.goOn(Turn(uid: 1, number: 1), of: 1)
        queue.charge(10)
        #expect(queue.next()?.number == 1)
        queue.charge(10)
        #expect(queue.next()?.number == 2)
    }

    @Test("Output waits for input to be gathered, but not for more than its share")
    func outputGathers() {
        var queue = queue(inputCostMax: 100)
        for number in 0..<10 { queue.append(Turn(uid: 1, number: number), to: .input, of: 1) }
        queue.append(Turn(uid: 1, number: 100), to: .output, of: 1)
        queue.append(Turn(uid: 1, number: 101), to: .output, of: 1)
        var numbers: [Int] = []
        while let turn = queue.next() {
            numbers.append(turn.number)
            queue.charge(30)
        }
        #expect(numbers == [0, 1, 2, 3, 100, 101, 4, 5, 6, 7, 8, 9])
    }

    @Test("Whether anybody has input is known whatever comes and goes")
    func hasInput() {
        var random = SeededRandom()
        var queue = queue(inputCostMax: 50)
        var inputs = 0
        #expect(!queue.hasInput)
        for number in 0..<20_000 {
            let uid = UInt32(random.int(in: 0...200))
            switch random.int(in: 0...4) {
            case 0:
                queue.append(Turn(uid: uid, number: number), to: .input, of: uid)
                inputs += 1
            case 1:
                // Output is marked by its number.
                queue.append(Turn(uid: uid, number: -1), to: .output, of: uid)
            default:
                guard let turn = queue.next() else { break }
                if turn.number >= 0 { inputs -= 1 }
                if turn.number >= 0, random.int(in: 0...3) == 0 {
                    queue.goOn(turn, of: turn.uid)
                    inputs += 1
                }
                queue.charge(UInt64(random.int(in: 0...30)))
            }
            #expect(queue.hasInput == (inputs > 0), "\(random)")
        }
    }

    @Test("Users who have gone are forgotten, and those who come are served once each")
    func manyUsers() {
        var queue = queue()
        for uid in UInt32(0)..<10_000 {
            queue.append(Turn(uid: uid, number: 0), to: .input, of: uid)
            if uid % 3 == 0 {
                #expect(queue.next() != nil)
                queue.charge(UInt64(uid % 7))
            }
        }
        var served = Set<UInt32>()
        while let turn = queue.next() {
            #expect(served.insert(turn.uid).inserted)
            queue.charge(1)
        }
        #expect(queue.isEmpty)
        #expect(served.count == 10_000 - 3_334)
    }
}

extension FairQueue {
    /// Nobody is throttled here: what time it is does not matter.
    fileprivate mutating func next() -> Turn? { next(nowNanoseconds: 0) }

    fileprivate var isEmpty: Bool { readyNanoseconds(nowNanoseconds: 0) == .max }

    fileprivate mutating func charge(_ cost: UInt64) {
        charge(cost, spoke: true, nowNanoseconds: 0)
    }
}

/// Turns here say whose they are and which, in the place of a session.
extension FairQueue.Turn {
    init(uid: UInt32, number: Int) {
        self = .receive(SessionID(slot: Int32(number), generation: uid))
    }

    private var session: SessionID {
        guard case .receive(let session) = self else { preconditionFailure("none of these") }
        return session
    }

    var uid: UInt32 { session.generation }
    var number: Int { Int(session.slot) }
}
