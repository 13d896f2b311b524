/// Which messages of which origins have been accepted, so that what comes over two paths, or
/// again, is delivered once. Protocol/forwarding.md, section 6.
struct SeenMessages {
    private struct Key: Hashable {
        let origin: String
        let epoch: UInt64
    }

    /// The last sequences of one origin and epoch: a ring of bits behind the newest.
    private struct Window {
        static let bitsMin = 4_096
        static let bitsMax = 1_048_576

        var newest: UInt64 = 0
        var bits = [UInt64](repeating: 0, count: Window.bitsMin / 64)

        var capacity: UInt64 { UInt64(bits.count * 64) }

        /// Whether the sequence is new; afterwards it is not.
        mutating func insert(_ sequence: UInt64) -> Bool {
            if sequence > newest {
                forget(upTo: sequence)
                newest = sequence
                set(sequence)
                return true
            }
            let age = newest - sequence
            guard age < capacity else {
                if age < UInt64(Self.bitsMax) { grow() }
                return false
            }
            if isSet(sequence) { return false }
            set(sequence)
            return true
        }

        /// Clears the places that sequences up to `sequence` will take.
        private mutating func forget(upTo sequence: UInt64) {
            guard sequence - newest < capacity else {
                for index in bits.indices { bits[index] = 0 }
                return
            }
            // Counted down: the sequence is the peer's, and there may be none above it.
            var left = sequence - newest
            while left > 0 {
                let place = Int((sequence - (left - 1)) % capacity)
                if place % 64 == 0 && left >= 64 {
                    bits[place / 64] = 0
                    left -= 64
                } else {
                    bits[place / 64] &= ~(1 << UInt64(place % 64))
                    left -= 1
                }
            }
        }

        private func isSet(_ sequence: UInt64) -> Bool {
            let place = Int(sequence % capacity)
            return bits[place / 64] & 1 << UInt64(place % 64) != 0
        }

        private mutating func set(_ sequence: UInt64) {
            let place = Int(sequence % capacity)
            bits[place / 64] |= 1 << UInt64(place % 64)
        }

        /// Four times the room. What lies before the old window stays seen, as it was taken for.
        private mutating func grow() {
            let old = self
            let count = min(bits.count * 4, Self.bitsMax / 64)
            precondition(count >= bits.count)
            bits = [UInt64](repeating: ~0, count: count)
            let oldest = newest - min(newest, old.capacity - 1)
            for sequence in oldest...newest where !old.isSet(sequence) {
                let place = Int(sequence % capacity)
                bits[place / 64] &= ~(1 << UInt64(place % 64))
            }
        }
    }

    private struct Entry {
        var key: Key
        /// The link that brought it first, and is charged for it.
        var link: Int
        var lastUsed: UInt64
        var window = Window()
    }

    private var entries: [Entry] = []
    private var slots: [Key: Int] = [:]
    private var clock: UInt64 = 0

    var count: Int { entries.count }

    /// The place of an origin and epoch, made if need be. It is valid until the next call.
    mutating func slot(origin: String, epoch: UInt64, link: Int, limit: Int) -> Int {
        clock += 1
        let key = Key(origin: origin, epoch: epoch)
        if let slot = slots[key] {
            entries[slot].lastUsed = clock
            return slot
        }
        let owned = entries.indices.filter { entries[$0].link == link }
        let entry = Entry(key: key, link: link, lastUsed: clock)
        guard owned.count >= limit,
            let oldest = owned.min(by: { entries[$0].lastUsed < entries[$1].lastUsed })
        else {
            slots[key] = entries.count
            entries.append(entry)
            checkInvariants()
            return entries.count - 1
        }
        slots[entries[oldest].key] = nil
        slots[key] = oldest
        entries[oldest] = entry
        checkInvariants()
        return oldest
    }

    private func checkInvariants() {
        precondition(slots.count == entries.count, "an origin is there twice")
    }

    /// Whether the message is new; afterwards it is not.
    mutating func insert(_ sequence: UInt64, at slot: Int) -> Bool {
        entries[slot].window.insert(sequence)
    }
}
