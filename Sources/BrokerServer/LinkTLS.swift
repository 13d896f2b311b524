import BrokerConfig
import BrokerSigning

/// Which pre-shared key two brokers use, and for what. Protocol/forwarding.md, section 14.
struct TLSKeyIdentity: Equatable {
    private static let label = "broker-link/1"

    let connector: String
    let listener: String
    let keyID: UInt64

    init(connector: String, listener: String, keyID: UInt64) {
        self.connector = connector
        self.listener = listener
        self.keyID = keyID
    }

    /// As it stands in a ClientHello; nil if it is of another kind.
    init?(_ text: String) {
        let prefix = Self.label + "/"
        guard text.hasPrefix(prefix) else { return nil }
        let parts = text.dropFirst(prefix.count)
            .split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, let keyID = UInt64(parts[2], radix: 16) else { return nil }
        self.init(connector: String(parts[0]), listener: String(parts[1]), keyID: keyID)
        // There is one way to write it.
        guard self.text == text else { return nil }
    }

    var text: String {
        "\(Self.label)/\(connector)/\(listener)/\(LinkKeyFile.hexadecimal(keyID))"
    }

    /// What the pre-shared key is derived with.
    var derivationInfo: [UInt8] { Array("\(Self.label) tls psk\0\(text)".utf8) }
}

/// What TLS needs from files: read when links are set up, and anew when they have changed, since
/// certificates are renewed while brokers run. Confined to the reactor thread.
final class LinkTLSContexts {
    /// The certificates of some links.
    final class Certificates {
        let files: LinkTLS.Files
        fileprivate(set) var context: TLSContext
        private var versions: [FileVersion?]

        init(_ files: LinkTLS.Files) throws(SigningError) {
            self.files = files
            versions = Self.versions(of: files)
            context = try Self.load(files)
        }

        /// - Returns: whether other files are in force now.
        fileprivate func reload() throws(SigningError) -> Bool {
            let now = Self.versions(of: files)
            guard now != versions else { return false }
            versions = now
            context = try Self.load(files)
            return true
        }

        private static func versions(of files: LinkTLS.Files) -> [FileVersion?] {
            [files.certificate, files.key, files.authority].map { FileVersion(path: $0) }
        }

        private static func load(_ files: LinkTLS.Files) throws(SigningError) -> TLSContext {
            try TLSContext(
                certificate: files.certificate, key: files.key, authority: files.authority)
        }
    }

    private var certificates: [Certificates] = []
    private var presharedKey: TLSContext?

    /// The certificates for other links: as they are where the files are the same.
    func certificates(for settings: [LinkSettings]) throws(SigningError) -> [Certificates] {
        var wanted: [Certificates] = []
        for link in settings {
            guard case .certificate(let files, _)? = link.tls,
                !wanted.contains(where: { $0.files == files })
            else { continue }
            if let known = certificates.first(where: { $0.files == files }) {
                wanted.append(known)
            } else {
                wanted.append(try Certificates(files))
            }
        }
        return wanted
    }

    func replace(_ certificates: [Certificates]) { self.certificates = certificates }

    /// Certificates in force that have expired: the file, and since when.
    var warnings: [(path: String, reason: String)] {
        certificates.compactMap { known in
            known.context.warning.map { (known.files.certificate, $0) }
        }
    }

    /// Reads files anew that have changed. What is refused leaves the old certificates in force.
    func reload() -> (changed: [String], refused: [String]) {
        var changed: [String] = []
        var refused: [String] = []
        for known in certificates {
            do throws(SigningError) {
                if try known.reload() { changed.append(known.files.certificate) }
            } catch {
                refused.append(error.description)
            }
        }
        return (changed, refused)
    }

    func context(for tls: LinkTLS) throws(SigningError) -> TLSContext {
        switch tls {
        case .certificate(let files, _):
            guard let known = certificates.first(where: { $0.files == files }) else {
                preconditionFailure("a link whose certificates were not read")
            }
            return known.context
        case .psk:
            if let presharedKey { return presharedKey }
            let context = try TLSContext.presharedKey()
            presharedKey = context
            return context
        }
    }
}

extension LinkStreams {
    /// TLS towards a peer that was reached; nil: the link is without.
    func tlsSession(
        dialing link: LinkSettings, ownName: String
    ) throws(SigningError) -> TLSSession? {
        guard let tls = link.tls else { return nil }
        let peer = link.peer
        let proof: TLSSession.Proof
        switch tls {
        case .psk:
            // Without a key the handshake fails, and says so.
            let keyID = keys.currentKey(ofLink: peer) ?? 0
            let identity = TLSKeyIdentity(connector: ownName, listener: peer, keyID: keyID)
            let keys = keys
            proof = .presharedKey(offer: identity.text) { _ in
                keys.presharedKey(identity, ofLink: peer)
            }
        case .certificate(_, let peerName):
            proof = .certificate([TLSSession.Peer(link: peer, name: peerName)])
        }
        return try TLSSession(
            try contexts.context(for: tls), isConnector: true, proof: proof)
    }

    /// TLS towards somebody who has connected to where these links listen; nil: they are without.
    func tlsSession(
        accepting candidates: [LinkSettings], ownName: String
    ) throws(SigningError) -> TLSSession? {
        guard let tls = candidates.first?.tls else { return nil }
        let proof: TLSSession.Proof
        switch tls {
        case .psk:
            let names = Set(candidates.map(\.peer))
            let keys = keys
            proof = .presharedKey(offer: nil) { text in
                guard let identity = TLSKeyIdentity(text), identity.listener == ownName,
                    names.contains(identity.connector)
                else { return nil }
                return keys.presharedKey(identity, ofLink: identity.connector)
            }
        case .certificate:
            proof = .certificate(
                candidates.map { link in
                    guard case .certificate(_, let peerName)? = link.tls else {
                        preconditionFailure("links of one address have one form of TLS")
                    }
                    return TLSSession.Peer(link: link.peer, name: peerName)
                })
        }
        return try TLSSession(
            try contexts.context(for: tls), isConnector: false, proof: proof)
    }
}

extension TLSSession {
    /// The links that the other end of an established session may be the peer of.
    var provedLinks: [String] {
        guard let identity else { return links }
        return TLSKeyIdentity(identity).map { [$0.connector] } ?? []
    }
}
