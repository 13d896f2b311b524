import Testing

@testable import BrokerCore

@Suite("Messages that have been seen")
struct SeenMessagesTests {
    /// Whether each of the sequences was new, in this order.
    private func insert(_ sequences: [UInt64]) -> [Bool] {
        var seen = SeenMessages()
        let slot = seen.slot(origin: "edge", epoch: 7, link: 0, limit: 4)
        return sequences.map { seen.insert($0, at: slot) }
    }

    @Test("A peer may count up to the highest number there is", arguments: [1, 64, 200, 9_000])
    func highest(step: UInt64) {
        let sequences = [.max - step, .max, .max - step, .max, .max - 1] as [UInt64]
        let isStepOne = step == 1
        #expect(insert(sequences) == [true, true, false, false, !isStepOne])
    }

    @Test("The window grows at the highest number as anywhere else")
    func growth() {
        // What is too old is taken for seen, and makes the room in which the others are new.
        let sequences = [.max, .max - 5_000, .max - 1, .max - 1, .max] as [UInt64]
        #expect(insert(sequences) == [true, false, true, false, false])
    }
}
