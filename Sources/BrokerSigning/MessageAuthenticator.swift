import COpenSSL

/// The 32 bytes of an HMAC-SHA-256, as four numbers in memory order: nothing is allocated.
public struct AuthenticationTag: Sendable {
    public static let byteCount = 32

    public var words: (UInt64, UInt64, UInt64, UInt64)

    public init(words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)) {
        self.words = words
    }

    /// The bytes as they stand on the wire.
    public var bytes: [UInt8] {
        [words.0, words.1, words.2, words.3].flatMap { word in
            (0..<8).map { UInt8(truncatingIfNeeded: word.littleEndian >> UInt64(8 * $0)) }
        }
    }
}

/// HMAC-SHA-256 with one key. The context is made once and used for every envelope.
///
/// Not for several threads at once: whoever holds it signs on one thread.
///
/// The corresponding OpenSSL functions are `EVP_MAC_init`, `EVP_MAC_update`, `EVP_MAC_final`.
@safe
public final class MessageAuthenticator {
    private let context: OpaquePointer

    public convenience init(key: borrowing SecretBytes) throws(SigningError) {
        let context = unsafe try key.withBytes { bytes throws(SigningError) in
            unsafe try Self.makeContext(key: bytes)
        }
        unsafe self.init(context: context)
    }

    /// With a key of any length, for test vectors.
    public convenience init(keyBytes: Span<UInt8>) throws(SigningError) {
        var made: OpaquePointer?
        unsafe keyBytes.withUnsafeBufferPointer { bytes in
            unsafe made = try? Self.makeContext(key: bytes)
        }
        guard let context = unsafe made else { throw SigningError("no HMAC with this key") }
        unsafe self.init(context: context)
    }

    private init(context: OpaquePointer) {
        unsafe self.context = context
    }

    deinit {
        // Overwrites the key inside before it frees it.
        unsafe EVP_MAC_CTX_free(context)
    }

    /// The tag of some bytes.
    public func tag(of bytes: Span<UInt8>) -> AuthenticationTag {
        var tag = AuthenticationTag()
        var length = 0
        let isDone = unsafe withUnsafeMutableBytes(of: &tag.words) { output in
            unsafe bytes.withUnsafeBufferPointer { bytes in
                // A null key starts over with the key that the context has.
                unsafe EVP_MAC_init(context, nil, 0, nil) == 1
                    && EVP_MAC_update(context, bytes.baseAddress, bytes.count) == 1
                    && EVP_MAC_final(
                        context, output.baseAddress?.assumingMemoryBound(to: UInt8.self),
                        &length, output.count) == 1
            }
        }
        // With the algorithm and key at hand, only memory corruption or its end can do this.
        precondition(isDone && length == AuthenticationTag.byteCount, "HMAC failed")
        return tag
    }

    /// Whether `tag` is the tag of `bytes`. Takes as long for every wrong tag.
    public func verifies(_ tag: AuthenticationTag, of bytes: Span<UInt8>) -> Bool {
        ConstantTime.equals(self.tag(of: bytes), tag)
    }

    private static func makeContext(
        key: UnsafeBufferPointer<UInt8>
    ) throws(SigningError) -> OpaquePointer {
        guard let mac = unsafe EVP_MAC_fetch(nil, "HMAC", nil) else {
            throw SigningError("OpenSSL has no HMAC: \(SigningError.openSSLReason())")
        }
        defer { unsafe EVP_MAC_free(mac) }
        guard let context = unsafe EVP_MAC_CTX_new(mac) else {
            throw SigningError("no memory for an HMAC")
        }
        let isReady = unsafe copenssl_hmac_sha256_init(context, key.baseAddress, key.count) == 1
        guard isReady else {
            unsafe EVP_MAC_CTX_free(context)
            throw SigningError("HMAC: \(SigningError.openSSLReason())")
        }
        return unsafe context
    }
}

/// Comparing secrets without telling by the time it takes where they differ.
public enum ConstantTime {
    /// The corresponding OpenSSL function is `CRYPTO_memcmp`.
    public static func equals(_ left: AuthenticationTag, _ right: AuthenticationTag) -> Bool {
        unsafe withUnsafeBytes(of: left.words) { left in
            unsafe withUnsafeBytes(of: right.words) { right in
                unsafe CRYPTO_memcmp(left.baseAddress, right.baseAddress, left.count) == 0
            }
        }
    }
}

/// Random bytes that are no secret: nonces, epochs, key ids.
public enum RandomBytes {
    /// The corresponding OpenSSL function is `RAND_bytes`.
    public static func make(count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let result = unsafe RAND_bytes(&bytes, Int32(count))
        precondition(result == 1, "the system has no random numbers")
        return bytes
    }

    /// Any number but 0.
    public static func makeNumber() -> UInt64 {
        let number = make(count: 8).reduce(0) { $0 << 8 | UInt64($1) }
        return number == 0 ? makeNumber() : number
    }
}
