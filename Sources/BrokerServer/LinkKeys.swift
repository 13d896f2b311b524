import BrokerCore
import BrokerSigning

/// The keys of all links, from their files. Confined to the reactor thread.
final class LinkKeys: LinkSecurity {
    final class Ring {
        let path: String
        var file: LinkKeyFile
        var version: FileVersion?

        init(path: String) throws(SigningError) {
            self.path = path
            version = FileVersion(path: path)
            file = try LinkKeyFile.read(path: path)
        }
    }

    private var rings: [String: Ring] = [:]

    /// The keys for other links: read anew where the file is another, as they are where it is not.
    func rings(
        _ paths: [(link: String, path: String)]
    ) throws(SigningError) -> [String: Ring] {
        var wanted: [String: Ring] = [:]
        for (link, path) in paths {
            if let ring = rings[link], ring.path == path {
                wanted[link] = ring
            } else {
                wanted[link] = try Ring(path: path)
            }
        }
        return wanted
    }

    /// Keys of links that are not among them are forgotten.
    func replace(_ rings: [String: Ring]) { self.rings = rings }

    /// Reads files anew that have changed. One that is refused leaves the old keys in force.
    ///
    /// - Returns: the links whose keys changed, and why others were refused.
    func reload() -> (changed: [String], refused: [(link: String, reason: String)]) {
        var changed: [String] = []
        var refused: [(link: String, reason: String)] = []
        for (link, ring) in rings {
            let version = FileVersion(path: ring.path)
            guard version != ring.version else { continue }
            ring.version = version
            do throws(SigningError) {
                ring.file = try LinkKeyFile.read(path: ring.path)
                changed.append(link)
            } catch {
                refused.append((link, error.description))
            }
        }
        return (changed, refused)
    }

    // MARK: LinkSecurity

    func currentKey(ofLink name: String) -> UInt64? { rings[name]?.file.entry(in: .current)?.id }

    func accepts(key: UInt64, ofLink name: String) -> Bool {
        rings[name]?.file.state(of: key) != nil
    }

    func deriveKeys(
        key: UInt64, ofLink name: String, salt: [UInt8], connectorInfo: [UInt8],
        listenerInfo: [UInt8]
    ) -> LinkSessionKeys? {
        guard let ring = rings[name] else { return nil }
        guard
            let connector = try? Self.authenticator(ring, key, salt, connectorInfo),
            let listener = try? Self.authenticator(ring, key, salt, listenerInfo)
        else { return nil }
        return LinkSessionKeys(connector: connector, listener: listener)
    }

    /// The pre-shared key of TLS, derived from a key of the link; nil if it has no such key.
    func presharedKey(_ identity: TLSKeyIdentity, ofLink name: String) -> SecretBytes? {
        guard let ring = rings[name] else { return nil }
        let salt: [UInt8] = []
        return try? ring.file.derive(
            from: identity.keyID, salt: salt.span, info: identity.derivationInfo.span)
    }

    func makeRandom(byteCount: Int) -> [UInt8] { RandomBytes.make(count: byteCount) }

    private static func authenticator(
        _ ring: Ring, _ key: UInt64, _ salt: [UInt8], _ info: [UInt8]
    ) throws(SigningError) -> LinkSigner? {
        let derived = try ring.file.derive(from: key, salt: salt.span, info: info.span)
        switch consume derived {
        case .some(let secret): return LinkSigner(try MessageAuthenticator(key: secret))
        case .none: return nil
        }
    }
}

/// HMAC-SHA-256 for the core.
final class LinkSigner: LinkAuthenticator {
    private let authenticator: MessageAuthenticator

    init(_ authenticator: MessageAuthenticator) {
        self.authenticator = authenticator
    }

    func tag(of bytes: Span<UInt8>) -> LinkTag {
        LinkTag(words: authenticator.tag(of: bytes).words)
    }

    func verifies(_ tag: LinkTag, of bytes: Span<UInt8>) -> Bool {
        authenticator.verifies(AuthenticationTag(words: tag.words), of: bytes)
    }
}
