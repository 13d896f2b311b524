/// How much of a turn each user has had. A user with a thousand busy connections gets as much of
/// one turn as a user with a single one, so that others wait for one share of it, not for a
/// thousand.
struct TurnShare {
    /// What one system call costs, in bytes: also packets of few bytes take time.
    private static let bytesPerReceive = 1_024

    private let bytesMax: Int
    /// Users are few in a turn: a list is faster than a table.
    private var taken: [(uid: UInt32, bytes: Int)] = []

    init(bytesMax: Int) {
        self.bytesMax = bytesMax
    }

    mutating func begin() {
        taken.removeAll(keepingCapacity: true)
    }

    /// Whether the user has something left of its share. It may take more than that at once:
    /// what has been received has to be worked through.
    func mayReceive(from uid: UInt32) -> Bool {
        (taken.first { $0.uid == uid }?.bytes ?? 0) < bytesMax
    }

    mutating func note(_ uid: UInt32, bytes: Int) {
        let cost = bytes + Self.bytesPerReceive
        if let index = taken.firstIndex(where: { $0.uid == uid }) {
            taken[index].bytes += cost
        } else {
            taken.append((uid, cost))
        }
    }
}
