package import BrokerWire

/// Who has sent on one connection, other than the process and user that opened it. Kept for
/// people to look at: nothing is decided by it. A few entries; the one that was silent for
/// longest makes room.
package struct SendersSeen: Sendable {
    package struct Entry: Equatable, Sendable {
        package let pid: Int32
        package let uid: UInt32
        package let gid: UInt32
        /// Inode of its pidfd; 0: not known.
        package let process: UInt64
        package let level: SenderRecord.Level
        package fileprivate(set) var packets: UInt64 = 0
        package fileprivate(set) var messages: UInt64 = 0
        /// When the kernel queued its last packet.
        package fileprivate(set) var lastNanoseconds: UInt64 = 0

        fileprivate func isSender(of record: SenderRecord) -> Bool {
            pid == record.pid && uid == record.uid && gid == record.gid
                && process == record.process && level == record.level
        }
    }

    static let entriesMax = 16

    package private(set) var entries: [Entry] = []
    /// Entries that made room.
    package private(set) var forgotten: UInt64 = 0
    /// Most packets come from the sender of the last one.
    private var latest = 0

    /// A delegated packet came, or the rest of one (0 packets), with so many accepted messages.
    mutating func note(_ record: SenderRecord, packets: UInt64 = 1, messages: UInt64) {
        precondition(record.isDelegated, "the opener is no other sender")
        let index = index(of: record)
        precondition(entries.count <= Self.entriesMax, "the entries are few")
        latest = index
        entries[index].packets &+= packets
        entries[index].messages &+= messages
        entries[index].lastNanoseconds = record.timeNanoseconds
    }

    private mutating func index(of record: SenderRecord) -> Int {
        if latest < entries.count, entries[latest].isSender(of: record) { return latest }
        if let known = entries.firstIndex(where: { $0.isSender(of: record) }) { return known }
        let entry = Entry(
            pid: record.pid, uid: record.uid, gid: record.gid, process: record.process,
            level: record.level)
        if entries.count < Self.entriesMax {
            entries.append(entry)
            return entries.count - 1
        }
        var oldest = 0
        for index in entries.indices
        where entries[index].lastNanoseconds < entries[oldest].lastNanoseconds {
            oldest = index
        }
        entries[oldest] = entry
        forgotten &+= 1
        return oldest
    }
}
