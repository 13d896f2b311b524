import BrokerWire

/// A fast hash of topics and their levels. Keyed with a secret, so that clients cannot choose
/// which of them meet in a table.
struct KeyedHash {
    private let key: UInt64

    /// - Parameter key: random, secret from clients.
    init(key: UInt64) {
        self.key = key
    }

    /// - Parameter number: what else distinguishes the bytes: a subject, the node above.
    @inline(__always)
    func callAsFunction(_ bytes: Span<UInt8>, with number: UInt32) -> UInt64 {
        var hash = key ^ (UInt64(number) &* 0x9E37_79B9_7F4A_7C15) ^ UInt64(bytes.count)
        var offset = 0
        if bytes.count >= 8 {
            while offset &+ 8 < bytes.count {
                hash = Self.mix(hash ^ bytes.loadUInt64(at: offset))
                offset &+= 8
            }
            // The last eight bytes overlap those before them; the length is in the hash.
            return Self.mix(hash ^ bytes.loadUInt64(at: bytes.count &- 8))
        }
        var last: UInt64 = 0
        while offset < bytes.count {
            last = last << 8 | UInt64(bytes[offset])
            offset &+= 1
        }
        return Self.mix(hash ^ last)
    }

    @inline(__always)
    private static func mix(_ value: UInt64) -> UInt64 {
        let product = value.multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
        return product.high ^ product.low
    }
}
