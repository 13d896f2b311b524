import COpenSSL

/// What OpenSSL asks a session in the course of its handshake.
enum TLSCallbacks {
    static func install(in context: OpaquePointer, _ form: TLSContext.Form) {
        unsafe SSL_CTX_set_verify(
            context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        ) { isValid, store in
            unsafe TLSCallbacks.verify(isValid == 1, store) ? 1 : 0
        }
        let name = Array(TLSContext.applicationProtocol.utf8)
        let wire = [UInt8(name.count)] + name
        let result = unsafe SSL_CTX_set_alpn_protos(context, wire, UInt32(wire.count))
        // Unlike all others it returns 0 when it is done.
        precondition(result == 0, "no memory for TLS")
        unsafe SSL_CTX_set_alpn_select_cb(
            context,
            { _, chosen, chosenCount, offered, offeredCount, _ in
                unsafe TLSCallbacks.chooseProtocol(chosen, chosenCount, offered, offeredCount)
            }, nil)
        guard form == .presharedKey else { return }
        unsafe SSL_CTX_set_psk_use_session_callback(context) { ssl, _, identity, count, session in
            unsafe TLSCallbacks.offerKey(ssl, identity, count, session) ? 1 : 0
        }
        unsafe SSL_CTX_set_psk_find_session_callback(context) { ssl, identity, count, session in
            unsafe TLSCallbacks.findKey(ssl, identity, count, session)
            return 1
        }
    }

    private static func session(of ssl: OpaquePointer?) -> TLSSession? {
        guard let ssl = unsafe ssl, let pointer = unsafe SSL_get_ex_data(ssl, 0) else {
            return nil
        }
        return unsafe Unmanaged<TLSSession>.fromOpaque(pointer).takeUnretainedValue()
    }

    // MARK: Application protocol

    /// Ours, if the peer offers it.
    private static func chooseProtocol(
        _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
        _ chosenCount: UnsafeMutablePointer<UInt8>?, _ offered: UnsafePointer<UInt8>?,
        _ offeredCount: UInt32
    ) -> Int32 {
        guard let chosen = unsafe chosen, let chosenCount = unsafe chosenCount else {
            return SSL_TLSEXT_ERR_ALERT_FATAL
        }
        let list = unsafe UnsafeBufferPointer(start: offered, count: Int(offeredCount))
        var offset = 0
        while offset < list.count {
            let start = offset + 1
            let end = start + Int(unsafe list[offset])
            guard end <= list.count else { break }
            let name = unsafe UnsafeBufferPointer(rebasing: list[start..<end])
            if unsafe name.elementsEqual(TLSContext.applicationProtocol.utf8) {
                unsafe chosen.pointee = name.baseAddress
                unsafe chosenCount.pointee = UInt8(name.count)
                return SSL_TLSEXT_ERR_OK
            }
            offset = end
        }
        return SSL_TLSEXT_ERR_ALERT_FATAL
    }

    // MARK: Pre-shared keys

    private static func offerKey(
        _ ssl: OpaquePointer?, _ identity: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
        _ count: UnsafeMutablePointer<Int>?,
        _ session: UnsafeMutablePointer<OpaquePointer?>?
    ) -> Bool {
        guard let own = unsafe Self.session(of: ssl), let ssl = unsafe ssl,
            let identity = unsafe identity, let count = unsafe count,
            let session = unsafe session,
            case .presharedKey(let offer?, let find) = own.proof
        else { return false }
        switch find(offer) {
        case .some(let key):
            unsafe session.pointee = makeSession(ssl, key)
            unsafe identity.pointee = UnsafePointer(own.offer.baseAddress)
            unsafe count.pointee = own.offer.count
            return unsafe session.pointee != nil
        case .none:
            own.refusal = .unknownIdentity(offer)
            return false
        }
    }

    /// Leaves the session away if there is no such key.
    private static func findKey(
        _ ssl: OpaquePointer?, _ identity: UnsafePointer<UInt8>?, _ count: Int,
        _ session: UnsafeMutablePointer<OpaquePointer?>?
    ) {
        guard let session = unsafe session else { return }
        unsafe session.pointee = nil
        guard let own = unsafe Self.session(of: ssl), let ssl = unsafe ssl,
            case .presharedKey(_, let find) = own.proof
        else { return }
        let bytes = unsafe UnsafeBufferPointer(start: identity, count: count)
        let name = unsafe String(decoding: bytes.prefix(256), as: UTF8.self)
        guard count <= 256 else {
            own.refusal = .unknownIdentity(name)
            return
        }
        switch find(name) {
        case .some(let key):
            own.identityOffered = name
            own.refusal = nil
            unsafe session.pointee = makeSession(ssl, key)
        case .none:
            // A peer may offer several; the last one is told of.
            if own.identityOffered == nil { own.refusal = .unknownIdentity(name) }
        }
    }

    private static func makeSession(
        _ ssl: OpaquePointer, _ key: borrowing SecretBytes
    ) -> OpaquePointer? {
        unsafe try? key.withBytes { bytes in
            unsafe copenssl_psk_session(ssl, bytes.baseAddress, bytes.count)
        }
    }

    // MARK: Certificates

    /// What OpenSSL has found of one certificate of the chain; and of the peer's own, which comes
    /// last, whether its names are those of a link.
    private static func verify(_ isValid: Bool, _ store: OpaquePointer?) -> Bool {
        guard let store = unsafe store,
            let own = unsafe session(of: copenssl_ssl_of(store)),
            let certificate = unsafe X509_STORE_CTX_get_current_cert(store)
        else { return false }
        guard case .certificate(let peers) = own.proof else {
            own.refusal = .certificateForKey
            return false
        }
        let subject = unsafe CertificateText.subject(certificate)
        guard isValid else {
            let end = unsafe X509_get0_notAfter(certificate)
            own.refusal = TLSFailure(
                verification: unsafe X509_STORE_CTX_get_error(store), subject: subject,
                end: unsafe end.map { unsafe CertificateText.time($0) } ?? "")
            return false
        }
        guard unsafe X509_STORE_CTX_get_error_depth(store) == 0 else { return true }
        own.links = peers.filter { peer in
            peer.name.map { unsafe isFor($0, certificate) } ?? true
        }.map(\.link)
        guard own.links.isEmpty else { return true }
        own.refusal = .wrongName(subject: subject, wanted: peers.compactMap(\.name))
        unsafe X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH)
        return false
    }

    private static func isFor(_ name: String, _ certificate: OpaquePointer) -> Bool {
        let flags = UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
        return unsafe X509_check_host(certificate, name, 0, flags, nil) == 1
            || X509_check_ip_asc(certificate, name, 0) == 1
    }
}
