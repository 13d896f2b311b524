import COpenSSL
import Glibc

/// Thirty-two secret bytes with one owner: a link key, or what was derived from one.
///
/// They live in a page of their own that is locked in memory, left out of core dumps and of
/// forked children, and overwritten before it is given back. They are never copied into an
/// array, a string or a log.
@safe
public struct SecretBytes: ~Copyable, @unchecked Sendable {
    // Unchecked Sendable: immutable after init, and owned by this one value.

    public static let byteCount = 32

    private let page: UnsafeMutableRawPointer
    private static let pageBytes = 4_096
    /// linux/mman.h; libc shows them under _GNU_SOURCE only.
    private static let dontDump: Int32 = 16
    private static let wipeOnFork: Int32 = 18

    private init(filling fill: (UnsafeMutableBufferPointer<UInt8>) -> Bool) throws(SigningError) {
        // MAP_PRIVATE | MAP_ANONYMOUS
        let mapping = unsafe mmap(nil, Self.pageBytes, PROT_READ | PROT_WRITE, 0x22, -1, 0)
        guard let mapping = unsafe mapping, unsafe mapping != MAP_FAILED else {
            throw SigningError("no memory for a key")
        }
        // They may fail where memory may not be locked: the key is then as safe as the process.
        unsafe mlock(mapping, Self.pageBytes)
        unsafe madvise(mapping, Self.pageBytes, Self.dontDump)
        unsafe madvise(mapping, Self.pageBytes, Self.wipeOnFork)
        let bytes = unsafe UnsafeMutableBufferPointer(
            start: mapping.assumingMemoryBound(to: UInt8.self), count: Self.byteCount)
        guard unsafe fill(bytes) else {
            unsafe munmap(mapping, Self.pageBytes)
            throw SigningError("OpenSSL: \(SigningError.openSSLReason())")
        }
        unsafe page = mapping
    }

    deinit {
        unsafe OPENSSL_cleanse(page, Self.pageBytes)
        unsafe munmap(page, Self.pageBytes)
    }

    /// Fresh bytes from the system's generator, by `RAND_priv_bytes`.
    public static func random() throws(SigningError) -> SecretBytes {
        unsafe try SecretBytes { bytes in
            unsafe RAND_priv_bytes(bytes.baseAddress, Int32(bytes.count)) == 1
        }
    }

    /// Takes the bytes over from where they were read.
    ///
    /// - Precondition: there are exactly 32.
    public init(copying bytes: Span<UInt8>) throws(SigningError) {
        precondition(bytes.count == Self.byteCount)
        unsafe try self.init { destination in
            for index in 0..<Self.byteCount { unsafe destination[index] = bytes[index] }
            return true
        }
    }

    /// Derives `byteCount` bytes by HKDF-SHA-256 (RFC 5869) from this secret.
    public borrowing func derive(
        salt: Span<UInt8>, info: Span<UInt8>
    ) throws(SigningError) -> SecretBytes {
        let source = unsafe page
        return unsafe try SecretBytes { destination in
            unsafe HKDF.derive(
                secret: UnsafeRawBufferPointer(start: source, count: Self.byteCount),
                salt: salt, info: info, into: UnsafeMutableRawBufferPointer(destination))
        }
    }

    /// The bytes, for the one who writes a key file or hands them to OpenSSL.
    borrowing func withBytes<Result>(
        _ body: (UnsafeBufferPointer<UInt8>) throws(SigningError) -> Result
    ) throws(SigningError) -> Result {
        try unsafe body(
            UnsafeBufferPointer(
                start: page.assumingMemoryBound(to: UInt8.self), count: Self.byteCount))
    }

    /// Whether both are the same, in constant time.
    public borrowing func equals(_ other: borrowing SecretBytes) -> Bool {
        unsafe CRYPTO_memcmp(page, other.page, Self.byteCount) == 0
    }
}

/// Something about keys or signing that did not work, in words that hold no secret.
public struct SigningError: Error, Equatable, CustomStringConvertible {
    public let description: String

    init(_ description: String) {
        self.description = description
    }

    static func openSSLReason() -> String {
        let code = ERR_get_error()
        guard let reason = unsafe ERR_reason_error_string(code) else { return "error \(code)" }
        return unsafe String(cString: reason)
    }
}
