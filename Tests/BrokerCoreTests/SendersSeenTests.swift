import BrokerWire
import Testing

@testable import BrokerCore

@Suite("Senders seen beside the opener")
struct SendersSeenTests {
    private func record(pid: Int32, uid: UInt32 = 1000, at nanoseconds: UInt64) -> SenderRecord {
        SenderRecord(
            pid: pid, uid: uid, gid: uid, process: 0,
            opener: SenderRecord.Opener(pid: 1, uid: 0, gid: 0, process: 0),
            timeNanoseconds: nanoseconds, level: .kernel, isDelegated: true, domain: .own)
    }

    @Test("Packets and messages add up, and the last time is kept")
    func counts() {
        var seen = SendersSeen()
        seen.note(record(pid: 2, at: 10), messages: 3)
        seen.note(record(pid: 3, at: 11), messages: 0)
        seen.note(record(pid: 2, at: 12), messages: 4)
        #expect(seen.entries.map(\.pid) == [2, 3])
        #expect(seen.entries.map(\.packets) == [2, 1])
        #expect(seen.entries.map(\.messages) == [7, 0])
        #expect(seen.entries.map(\.lastNanoseconds) == [12, 11])
        #expect(seen.forgotten == 0)
    }

    @Test("One process under two uids is two entries")
    func twoUsers() {
        var seen = SendersSeen()
        seen.note(record(pid: 2, uid: 0, at: 1), messages: 1)
        seen.note(record(pid: 2, uid: 1000, at: 2), messages: 1)
        #expect(seen.entries.map(\.uid) == [0, 1000])
    }

    @Test("When all places are taken, the longest silent one makes room")
    func bound() {
        var seen = SendersSeen()
        let most = Int32(SendersSeen.entriesMax)
        for pid in 1...most { seen.note(record(pid: pid, at: UInt64(pid)), messages: 1) }
        seen.note(record(pid: 1, at: 100), messages: 1)
        seen.note(record(pid: 999, at: 101), messages: 1)
        #expect(seen.entries.count == SendersSeen.entriesMax)
        #expect(seen.forgotten == 1)
        #expect(seen.entries.contains { $0.pid == 1 })
        #expect(!seen.entries.contains { $0.pid == 2 })
        #expect(seen.entries.contains { $0.pid == 999 })
    }
}
