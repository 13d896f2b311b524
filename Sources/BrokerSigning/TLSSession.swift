import COpenSSL

/// One TLS connection that knows no socket: records go in and come out, and so do the bytes that
/// they protect. What it holds is bounded, whatever the peer sends.
///
/// Not for several threads at once: whoever holds it runs it on one thread.
///
/// The corresponding OpenSSL functions are those of `SSL_new(3)` and `BIO_new_bio_pair(3)`.
@safe
public final class TLSSession {
    public enum State: Equatable, Sendable {
        case handshaking
        case established
        /// The peer has said that nothing more comes.
        case ended
        /// Nothing is sent any more but what is left: an alert that says why.
        case failed(TLSFailure)
    }

    /// A link that a peer may be the other end of.
    public struct Peer: Equatable, Sendable {
        public let link: String
        /// What its certificate has to be for, a name or an IP address; nil: any will do.
        public let name: String?

        public init(link: String, name: String?) {
            self.link = link
            self.name = name
        }
    }

    /// By what the peer is recognised.
    public enum Proof {
        /// A connector names the key that it offers; a listener asks for the key that is named.
        case presharedKey(offer: String?, find: (String) -> SecretBytes?)
        case certificate([Peer])
    }

    /// Bytes of a record, and of its header, tag and type.
    private static let recordBytes = 16_384
    private static let recordOverheadBytes = 256
    /// Room that a record needs: itself, and a change of keys before it.
    private static let recordRoomBytes = recordBytes + 2 * recordOverheadBytes
    /// Four records each way.
    static let bufferBytes = 4 * (recordBytes + recordOverheadBytes)

    let proof: Proof
    public let form: TLSContext.Form
    public private(set) var state = State.handshaking {
        didSet { precondition(oldValue == .handshaking || state != .handshaking) }
    }
    /// Links that the peer's certificate is good for; empty with a pre-shared key.
    public internal(set) var links: [String] = []
    /// The key that is used, once the handshake is complete.
    public private(set) var identity: String?
    /// What the other side has asked for, and what was wrong with it.
    var identityOffered: String?
    var refusal: TLSFailure?

    private let context: TLSContext
    private let ssl: OpaquePointer
    /// The side of the pair that is towards the network, and the one towards OpenSSL.
    private let network: OpaquePointer
    private let inner: OpaquePointer
    private let recordsPerKeyMax: Int
    private var recordsOfKey = 0
    private var hasReceived = false
    /// The key that is offered, as OpenSSL wants to have it.
    let offer: UnsafeMutableBufferPointer<UInt8>

    /// - Parameter recordsPerKeyMax: after this many records this side changes its key: RFC 8446,
    ///   section 5.5, allows 2^24.5 with AES-GCM.
    public init(
        _ context: TLSContext, isConnector: Bool, proof: Proof,
        recordsPerKeyMax: Int = 1 << 22
    ) throws(SigningError) {
        precondition(recordsPerKeyMax > 0)
        guard let ssl = unsafe SSL_new(context.context) else {
            throw SigningError("no memory for TLS")
        }
        var inner: OpaquePointer?
        var network: OpaquePointer?
        let isPaired =
            unsafe BIO_new_bio_pair(&inner, Self.bufferBytes, &network, Self.bufferBytes) == 1
        guard isPaired, let inner = unsafe inner, let network = unsafe network else {
            unsafe SSL_free(ssl)
            throw SigningError("no memory for TLS")
        }
        // Owns its side of the pair from now on.
        unsafe SSL_set_bio(ssl, inner, inner)
        unsafe self.ssl = ssl
        unsafe self.inner = inner
        unsafe self.network = network
        self.context = context
        self.proof = proof
        self.recordsPerKeyMax = recordsPerKeyMax
        form = context.form
        let identity =
            switch proof {
            case .presharedKey(let offer, _): Array((offer ?? "").utf8)
            case .certificate: [UInt8]()
            }
        unsafe offer = .allocate(capacity: identity.count)
        _ = unsafe offer.initialize(from: identity)
        unsafe SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
        if isConnector {
            unsafe SSL_set_connect_state(ssl)
        } else {
            unsafe SSL_set_accept_state(ssl)
        }
        if isConnector { shakeHands() }
    }

    deinit {
        unsafe SSL_free(ssl)
        unsafe BIO_free(network)
        unsafe offer.deallocate()
    }

    /// The cipher suite, once the handshake is complete.
    public var cipher: String? {
        guard state != .handshaking, let cipher = unsafe SSL_get_current_cipher(ssl) else {
            return nil
        }
        return unsafe String(cString: SSL_CIPHER_get_name(cipher))
    }

    /// Subject of the peer's certificate, in the peer's own words.
    public var peerSubject: String? {
        guard let certificate = unsafe SSL_get0_peer_certificate(ssl) else { return nil }
        return unsafe CertificateText.subject(certificate)
    }

    // MARK: Records

    /// Lets `fill` write records that have arrived into the room there is, and takes what it
    /// says that it wrote. Without room it is not called.
    ///
    /// - Returns: what `fill` returned, or nil.
    public func receive<Outcome>(
        _ fill: (inout MutableSpan<UInt8>) -> (count: Int, outcome: Outcome)
    ) -> Outcome? {
        var start: UnsafeMutablePointer<CChar>?
        let room = Int(unsafe BIO_nwrite0(network, &start))
        guard room > 0, let start = unsafe start else { return nil }
        let result = unsafe start.withMemoryRebound(to: UInt8.self, capacity: room) { bytes in
            var span = unsafe MutableSpan(_unsafeStart: bytes, count: room)
            let result = fill(&span)
            precondition((0...room).contains(result.count))
            if result.count > 0 { look(at: span[0], fourth: result.count > 3 ? span[3] : 0) }
            return result
        }
        if result.count > 0 {
            let taken = unsafe BIO_nwrite(network, nil, Int32(result.count))
            precondition(Int(taken) == result.count)
            if state == .handshaking { shakeHands() }
        }
        return result.outcome
    }

    /// Whether there is room for records of the peer.
    public var canReceive: Bool { unsafe BIO_ctrl_get_write_guarantee(network) > 0 }

    /// Bytes of records that wait to be sent.
    public var outputBytes: Int { unsafe BIO_ctrl_pending(network) }

    /// Lets `send` have records to be sent, and forgets as many bytes as it says that it sent.
    ///
    /// - Precondition: there are some.
    public func send<Outcome>(
        _ send: (Span<UInt8>) -> (count: Int, outcome: Outcome)
    ) -> Outcome {
        var start: UnsafeMutablePointer<CChar>?
        let count = Int(unsafe BIO_nread0(network, &start))
        guard count > 0, let start = unsafe start else { preconditionFailure("nothing to send") }
        let result = unsafe start.withMemoryRebound(to: UInt8.self, capacity: count) { bytes in
            send(unsafe Span(_unsafeStart: bytes, count: count))
        }
        precondition((0...count).contains(result.count))
        if result.count > 0 {
            let taken = unsafe BIO_nread(network, nil, Int32(result.count))
            precondition(Int(taken) == result.count)
        }
        return result.outcome
    }

    // MARK: What they protect

    /// Takes bytes out of records that have arrived, as many as there are and fit.
    ///
    /// - Returns: how many; fewer than fit if `state` has changed.
    public func read(into room: inout MutableSpan<UInt8>) -> Int {
        var total = 0
        while state == .established, total < room.count {
            var count = 0
            ERR_clear_error()
            let result = unsafe room.withUnsafeMutableBytes { bytes in
                unsafe SSL_read_ex(
                    ssl, bytes.baseAddress?.advanced(by: total), bytes.count - total, &count)
            }
            guard result == 1 else {
                note(unsafe SSL_get_error(ssl, result))
                break
            }
            total += count
        }
        return total
    }

    /// Puts bytes into records, as many as there is room for.
    ///
    /// - Returns: how many were taken; the rest is to be brought again when records were sent.
    public func write(_ bytes: Span<UInt8>) -> Int {
        var total = 0
        while state == .established, total < bytes.count,
            unsafe BIO_ctrl_get_write_guarantee(inner) >= Self.recordRoomBytes
        {
            if recordsOfKey == recordsPerKeyMax { renewKey() }
            let part = bytes.extracting(total..<min(bytes.count, total + Self.recordBytes))
            var count = 0
            ERR_clear_error()
            let result = unsafe part.withUnsafeBytes { bytes in
                unsafe SSL_write_ex(ssl, bytes.baseAddress, bytes.count, &count)
            }
            guard result == 1 else {
                note(unsafe SSL_get_error(ssl, result))
                break
            }
            recordsOfKey += 1
            total += count
        }
        return total
    }

    /// Says that nothing more comes.
    public func close() {
        guard state == .established || state == .ended else { return }
        ERR_clear_error()
        _ = unsafe SSL_shutdown(ssl)
        ERR_clear_error()
    }

    private func renewKey() {
        let result = unsafe SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED)
        precondition(result == 1, "an established connection can change its key")
        recordsOfKey = 0
    }

    // MARK: Handshake

    private func shakeHands() {
        ERR_clear_error()
        let result = unsafe SSL_do_handshake(ssl)
        guard result == 1 else {
            note(unsafe SSL_get_error(ssl, result))
            return
        }
        if let failure = findingAfterHandshake() {
            state = .failed(failure)
            return
        }
        precondition(unsafe SSL_version(ssl) == TLS1_3_VERSION)
        state = .established
    }

    /// What is left to be checked when both Finished have been verified.
    private func findingAfterHandshake() -> TLSFailure? {
        var start: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        unsafe SSL_get0_alpn_selected(ssl, &start, &count)
        let chosen = unsafe UnsafeBufferPointer(start: start, count: Int(count))
        guard unsafe chosen.elementsEqual(TLSContext.applicationProtocol.utf8) else {
            return .wrongApplication
        }
        switch proof {
        case .presharedKey(let offer, _):
            guard unsafe SSL_session_reused(ssl) == 1, let used = offer ?? identityOffered else {
                return .certificateForKey
            }
            identity = used
        case .certificate:
            guard unsafe SSL_get0_peer_certificate(ssl) != nil, !links.isEmpty,
                unsafe SSL_get_verify_result(ssl) == Int(X509_V_OK)
            else { return .noCertificate }
        }
        return nil
    }

    /// The first byte of all tells TLS from what is not.
    private func look(at first: UInt8, fourth: UInt8) {
        guard !hasReceived else { return }
        hasReceived = true
        // The types of records that may come first: handshake and alert.
        guard first != 22 && first != 21 else { return }
        // The magic of a link's record begins with C5.
        state = .failed(.plaintext(isLink: first == 0xC5))
    }

    private func note(_ error: Int32) {
        switch error {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return
        case SSL_ERROR_ZERO_RETURN: state = .ended
        default:
            let reason = ERR_GET_REASON(ERR_peek_error())
            ERR_clear_error()
            state = .failed(
                refusal
                    ?? TLSFailure(
                        reason: reason, form: form, isComplete: state != .handshaking))
        }
    }
}
