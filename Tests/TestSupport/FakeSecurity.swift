package import BrokerCore

/// Keys and tags for simulation and fuzzing: as hard to guess as a 64-bit hash, and fast.
/// Everything comes from the seed.
package final class FakeSecurity: LinkSecurity {
    /// Keys of each link by peer name; the first is the current one.
    package var keys: [String: [UInt64]] = [:]
    /// Accepts every tag: for showing that the simulation notices.
    package var isBroken = false
    private var random: SeededRandom

    package init(seed: UInt64) {
        random = SeededRandom(seed: seed)
    }

    package func currentKey(ofLink name: String) -> UInt64? { keys[name]?.first }

    package func accepts(key: UInt64, ofLink name: String) -> Bool {
        keys[name]?.contains(key) ?? false
    }

    package func deriveKeys(
        key: UInt64, ofLink name: String, salt: [UInt8], connectorInfo: [UInt8],
        listenerInfo: [UInt8]
    ) -> LinkSessionKeys? {
        guard accepts(key: key, ofLink: name) else { return nil }
        // The secret of a key is a function of its id that no attacker in here computes.
        let secret = FakeHash.mix(key ^ 0x5EC2_E7)
        func authenticator(_ info: [UInt8]) -> FakeAuthenticator {
            let bytes = salt + info
            return FakeAuthenticator(
                key: FakeHash.hash(bytes.span, key: secret), isBroken: isBroken)
        }
        return LinkSessionKeys(
            connector: authenticator(connectorInfo), listener: authenticator(listenerInfo))
    }

    package func makeRandom(byteCount: Int) -> [UInt8] { random.bytes(count: byteCount) }
}

package final class FakeAuthenticator: LinkAuthenticator {
    private let key: UInt64
    private let isBroken: Bool

    package init(key: UInt64, isBroken: Bool) {
        self.key = key
        self.isBroken = isBroken
    }

    package func tag(of bytes: Span<UInt8>) -> LinkTag {
        let hash = FakeHash.hash(bytes, key: key)
        return LinkTag(words: (hash, ~hash, FakeHash.mix(hash), key ^ FakeHash.mix(~hash)))
    }

    package func verifies(_ tag: LinkTag, of bytes: Span<UInt8>) -> Bool {
        isBroken || self.tag(of: bytes) == tag
    }
}

package enum FakeHash {
    package static func mix(_ value: UInt64) -> UInt64 {
        let product = (value ^ 0x9E37_79B9_7F4A_7C15)
            .multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
        return product.high ^ product.low ^ value
    }

    package static func hash(_ bytes: Span<UInt8>, key: UInt64) -> UInt64 {
        var hash = key ^ UInt64(bytes.count)
        var word: UInt64 = 0
        for index in 0..<bytes.count {
            word = word << 8 | UInt64(bytes[index])
            if index % 8 == 7 {
                hash = mix(hash ^ word)
                word = 0
            }
        }
        return mix(mix(hash ^ word) ^ key)
    }
}
