import BrokerWire

/// The 32 bytes of a tag, as numbers in memory order.
package struct LinkTag: Equatable, Sendable {
    package var words: (UInt64, UInt64, UInt64, UInt64)

    package init(words: (UInt64, UInt64, UInt64, UInt64)) {
        self.words = words
    }

    /// Reads a tag as it stands on the wire.
    init(reading bytes: Span<UInt8>, at offset: Int) {
        words = (
            bytes.loadUInt64(at: offset), bytes.loadUInt64(at: offset + 8),
            bytes.loadUInt64(at: offset + 16), bytes.loadUInt64(at: offset + 24)
        )
    }

    func write(to output: inout LinkOutput) {
        output.append(littleEndian: words.0)
        output.append(littleEndian: words.1)
        output.append(littleEndian: words.2)
        output.append(littleEndian: words.3)
    }

    /// For tests and tables. Secrets are compared by `LinkAuthenticator.verifies`.
    package static func == (left: Self, right: Self) -> Bool { left.words == right.words }
}

/// Signs and checks the envelopes of one direction of one connection. The core knows no
/// cryptography: the server brings HMAC-SHA-256, the simulator something faster.
package protocol LinkAuthenticator: AnyObject {
    func tag(of bytes: Span<UInt8>) -> LinkTag
    /// In constant time.
    func verifies(_ tag: LinkTag, of bytes: Span<UInt8>) -> Bool
}

/// The keys of one connection, one for each direction.
package struct LinkSessionKeys {
    package let connector: any LinkAuthenticator
    package let listener: any LinkAuthenticator

    package init(connector: any LinkAuthenticator, listener: any LinkAuthenticator) {
        self.connector = connector
        self.listener = listener
    }
}

/// The keys of all links, and where random numbers come from.
package protocol LinkSecurity: AnyObject {
    /// The key that is used to connect.
    func currentKey(ofLink name: String) -> UInt64?
    /// Whether the link has this key, in any state.
    func accepts(key: UInt64, ofLink name: String) -> Bool
    /// HKDF-SHA-256 from a link key, once for each direction; nil if there is no such key.
    func deriveKeys(
        key: UInt64, ofLink name: String, salt: [UInt8], connectorInfo: [UInt8],
        listenerInfo: [UInt8]
    ) -> LinkSessionKeys?
    func makeRandom(byteCount: Int) -> [UInt8]
}

extension LinkSecurity {
    /// Any number but 0.
    func randomNumber() -> UInt64 {
        max(1, makeRandom(byteCount: 8).reduce(0) { $0 << 8 | UInt64($1) })
    }
}
