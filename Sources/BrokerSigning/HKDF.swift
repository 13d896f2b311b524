import COpenSSL

/// HKDF-SHA-256, RFC 5869: extract and expand in one step.
///
/// The corresponding OpenSSL functions are `EVP_KDF_fetch` with `HKDF` and `EVP_KDF_derive`.
public enum HKDF {
    /// - Returns: `count` bytes, or nothing if OpenSSL refuses (more than 8,160 are asked for).
    public static func derive(
        secret: Span<UInt8>, salt: Span<UInt8>, info: Span<UInt8>, count: Int
    ) throws(SigningError) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: count)
        let isDone = unsafe output.withUnsafeMutableBytes { output in
            unsafe secret.withUnsafeBytes { secret in
                unsafe derive(secret: secret, salt: salt, info: info, into: output)
            }
        }
        guard isDone else { throw SigningError("HKDF: \(SigningError.openSSLReason())") }
        return output
    }

    static func derive(
        secret: UnsafeRawBufferPointer, salt: Span<UInt8>, info: Span<UInt8>,
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        guard let kdf = unsafe EVP_KDF_fetch(nil, "HKDF", nil) else { return false }
        defer { unsafe EVP_KDF_free(kdf) }
        guard let context = unsafe EVP_KDF_CTX_new(kdf) else { return false }
        defer { unsafe EVP_KDF_CTX_free(context) }
        return unsafe salt.withUnsafeBytes { salt in
            unsafe info.withUnsafeBytes { info in
                unsafe copenssl_hkdf_sha256(
                    context, secret.baseAddress, secret.count, salt.baseAddress, salt.count,
                    info.baseAddress, info.count,
                    output.baseAddress?.assumingMemoryBound(to: UInt8.self), output.count) == 1
            }
        }
    }
}
