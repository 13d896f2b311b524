import COpenSSL

/// What the connections of one link or listener have in common: TLS 1.3, and by what the two ends
/// prove who they are. Nothing is resumed, renegotiated or sent before the handshake is complete.
///
/// The corresponding OpenSSL functions are those of `SSL_CTX_new(3)`.
@safe
public final class TLSContext {
    /// By what the ends prove who they are.
    public enum Form: Equatable, Sendable {
        case presharedKey
        case certificate
    }

    /// What both ends have to speak inside of TLS (RFC 7301).
    static let applicationProtocol = "broker-link/1"
    /// Largest file of certificates or of a key.
    private static let fileBytesMax = 262_144
    /// What a peer may send of certificates before it has proved anything.
    private static let peerCertificateBytesMax = 32_768
    /// A key of 32 bytes belongs to SHA-256.
    private static let presharedKeyCiphers = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
    private static let certificateCiphers =
        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

    let context: OpaquePointer
    public let form: Form

    private init(_ form: Form) throws(SigningError) {
        let ciphers = form == .presharedKey ? Self.presharedKeyCiphers : Self.certificateCiphers
        guard let context = unsafe copenssl_tls_context(ciphers, Self.peerCertificateBytesMax)
        else { throw SigningError("TLS: \(SigningError.openSSLReason())") }
        unsafe self.context = context
        self.form = form
        unsafe TLSCallbacks.install(in: context, form)
    }

    /// For ends that prove that they have the same key. Certificates are believed from nobody.
    public static func presharedKey() throws(SigningError) -> TLSContext {
        try TLSContext(.presharedKey)
    }

    /// For ends that both show a certificate.
    ///
    /// - Parameters:
    ///   - certificate: PEM file with ours, and behind it those that lead to its authority.
    ///   - key: PEM file with its private key, without a passphrase; nobody else may read it.
    ///   - authority: PEM file of certificates that the peer's may be signed by, or is.
    public convenience init(
        certificate: String, key: String, authority: String
    ) throws(SigningError) {
        try self.init(.certificate)
        unsafe try load(certificate, "no certificate (BEGIN CERTIFICATE) can be read from it") {
            context, text, count in
            unsafe copenssl_use_certificates(context, text, count) > 0
        }
        unsafe try load(
            key, isSecret: true,
            "it holds no private key without a passphrase that belongs to \(certificate)"
        ) { context, text, count in
            unsafe copenssl_use_private_key(context, text, count) == 1
        }
        unsafe try load(authority, "no certificate (BEGIN CERTIFICATE) can be read from it") {
            context, text, count in
            unsafe copenssl_trust_certificates(context, text, count) > 0
        }
    }

    deinit {
        // Overwrites the private key before it frees it.
        unsafe SSL_CTX_free(context)
    }

    /// Why our own certificate convinces nobody now, if so.
    public var warning: String? {
        guard form == .certificate, let own = unsafe SSL_CTX_get0_certificate(context),
            let end = unsafe X509_get0_notAfter(own)
        else { return nil }
        guard unsafe X509_cmp_current_time(end) < 0 else { return nil }
        return "it has expired on \(unsafe CertificateText.time(end))"
    }

    private func load(
        _ path: String, isSecret: Bool = false, _ refusal: String,
        _ use: (OpaquePointer, UnsafeRawPointer?, Int32) -> Bool
    ) throws(SigningError) {
        var text = try GuardedFile.read(
            path: path, bytesMax: Self.fileBytesMax, isSecret: isSecret)
        defer { SecretText.overwrite(&text) }
        ERR_clear_error()
        let isUsed = unsafe text.withUnsafeBytes { bytes in
            unsafe use(context, bytes.baseAddress, Int32(bytes.count))
        }
        guard !isUsed else { return }
        // That a text holds nothing of the kind is no error of OpenSSL's.
        let reason = ERR_peek_error() == 0 ? "" : ": \(SigningError.openSSLReason())"
        ERR_clear_error()
        throw SigningError("\(path): \(refusal)\(reason)")
    }
}

/// Parts of certificates as text. What a peer has chosen of it is quoted by whoever shows it.
enum CertificateText {
    private static let bytesMax = 256

    static func subject(_ certificate: OpaquePointer) -> String {
        unsafe text { unsafe copenssl_describe_subject(certificate, $0, $1) }
    }

    static func time(_ time: UnsafePointer<ASN1_TIME>) -> String {
        unsafe text { unsafe copenssl_describe_time(time, $0, $1) }
    }

    private static func text(
        _ write: (UnsafeMutablePointer<CChar>?, Int32) -> Int32
    ) -> String {
        var bytes = [CChar](repeating: 0, count: bytesMax)
        let count = unsafe bytes.withUnsafeMutableBufferPointer { buffer in
            unsafe write(buffer.baseAddress, Int32(buffer.count))
        }
        let text = bytes.prefix(Int(count)).map { UInt8(bitPattern: $0) }
        return String(decoding: text, as: UTF8.self)
    }
}
