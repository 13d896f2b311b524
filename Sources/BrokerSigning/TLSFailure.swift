import COpenSSL

/// Why TLS with a peer came to nothing, in words that name the fix where there is one.
public struct TLSFailure: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Kind: Equatable, Sendable {
        /// What arrived is no TLS record.
        case plaintext
        /// No TLS 1.3.
        case version
        /// The peer speaks something else inside of TLS.
        case application
        /// No pre-shared key in common.
        case noSharedKey
        case noCertificate
        case certificateExpired
        case certificateNotYetValid
        case unknownAuthority
        case wrongName
        /// The certificate cannot be used for another reason.
        case certificateInvalid
        /// The peer has ended the connection with this alert (RFC 8446, section 6).
        case alert(UInt8)
        /// A record that the peer did not send like this.
        case damaged
    }

    public let kind: Kind
    public let description: String

    init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }

    /// - Parameter isComplete: whether the handshake was.
    init(reason: Int32, form: TLSContext.Form, isComplete: Bool) {
        if let alert = UInt8(exactly: reason - SSL_AD_REASON_OFFSET) {
            self.init(alert: alert)
            return
        }
        switch reason {
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_NO_PROTOCOLS_AVAILABLE,
            SSL_R_UNSUPPORTED_SSL_VERSION, SSL_R_WRONG_SSL_VERSION, SSL_R_VERSION_TOO_LOW:
            self.init(.version, "the peer offers no TLS 1.3, and nothing less is accepted")
        case SSL_R_NO_APPLICATION_PROTOCOL:
            self = .wrongApplication
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            self = .noCertificate
        case SSL_R_BINDER_DOES_NOT_VERIFY:
            self.init(
                .noSharedKey,
                "the peer has another link key under the same key id: carry the "
                    + "key file over again")
        case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM where form == .presharedKey:
            self = .noKeyOffered
        default:
            let text = Self.text(reason)
            self.init(
                .damaged,
                isComplete
                    ? "a TLS record is not as the peer sent it: \(text)"
                    : "the TLS handshake is not as the protocol wants it: \(text)")
        }
    }

    /// The peer says why it has gone.
    private init(alert: UInt8) {
        let name = unsafe String(cString: SSL_alert_desc_string_long(Int32(alert)))
        let meaning =
            switch Int32(alert) {
            case SSL_AD_PROTOCOL_VERSION: ", it accepts no TLS 1.3"
            case SSL_AD_CERTIFICATE_EXPIRED: "; it means our certificate"
            case SSL_AD_UNKNOWN_CA:
                "; our certificate is of no authority that it knows, or it knows none"
            case SSL_AD_BAD_CERTIFICATE, SSL_AD_UNSUPPORTED_CERTIFICATE,
                SSL_AD_CERTIFICATE_UNKNOWN:
                "; our certificate is not what it expects, such as for another name"
            case SSL_AD_CERTIFICATE_REQUIRED: "; it wants a certificate: tls differs"
            case SSL_AD_HANDSHAKE_FAILURE, SSL_AD_UNKNOWN_PSK_IDENTITY, SSL_AD_ILLEGAL_PARAMETER:
                "; the two sides have no key or no form of tls in common, its log says more"
            case SSL_AD_NO_APPLICATION_PROTOCOL: "; it is no broker that links"
            default: ""
            }
        self.init(.alert(alert), "the peer refuses by a TLS alert: \(name)\(meaning)")
    }

    /// - Parameter subject: of the certificate that is at fault.
    init(verification code: Int32, subject: String, end: String) {
        let certificate = "the certificate \(subject.debugDescription) of the peer"
        switch code {
        case X509_V_ERR_CERT_HAS_EXPIRED:
            self.init(.certificateExpired, "\(certificate) has expired on \(end)")
        case X509_V_ERR_CERT_NOT_YET_VALID:
            self.init(
                .certificateNotYetValid, "\(certificate) is not valid yet: look at both clocks")
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
            self.init(.unknownAuthority, "\(certificate) is of no authority that we trust")
        default:
            let reason = unsafe String(cString: X509_verify_cert_error_string(Int(code)))
            self.init(.certificateInvalid, "\(certificate) cannot be used: \(reason)")
        }
    }

    static func wrongName(subject: String, wanted: [String]) -> TLSFailure {
        TLSFailure(
            .wrongName,
            "the certificate \(subject.debugDescription) of the peer is not for "
                + wanted.map(\.debugDescription).joined(separator: " or "))
    }

    static func plaintext(isLink: Bool) -> TLSFailure {
        TLSFailure(
            .plaintext,
            isLink
                ? "the peer speaks without TLS: give both sides the same tls"
                : "what arrives is not TLS")
    }

    static func unknownIdentity(_ identity: String) -> TLSFailure {
        TLSFailure(
            .noSharedKey,
            "the peer offers the key \(identity.debugDescription), which no link here has")
    }

    static let noCertificate = TLSFailure(
        .noCertificate, "the peer shows no certificate: give it one in its configuration")
    static let noKeyOffered = TLSFailure(
        .noSharedKey, "the peer offers no pre-shared key: tls is psk here")
    static let certificateForKey = TLSFailure(
        .noSharedKey,
        "the peer shows a certificate and does not use the pre-shared key: tls is psk here")
    static let wrongApplication = TLSFailure(
        .application, "the peer does not speak \(TLSContext.applicationProtocol) inside of TLS")

    private static func text(_ reason: Int32) -> String {
        let code = UInt(ERR_LIB_SSL) << 23 | UInt(reason)
        guard let text = unsafe ERR_reason_error_string(code) else { return "reason \(reason)" }
        return unsafe String(cString: text)
    }
}
