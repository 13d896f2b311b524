package import BrokerCore
import BrokerWire
package import LinuxIO

/// One `[[link]]` of the configuration: what the core is to know, and what the shell is.
package struct LinkSettings: Equatable, Sendable {
    package var link: LinkConfiguration
    /// Where to connect to, or to listen.
    package var address: StreamAddress
    package var keyPath: String
    /// Nil: without TLS.
    package var tls: LinkTLS?

    package var peer: String { link.peer }

    package init(
        link: LinkConfiguration, address: StreamAddress, keyPath: String, tls: LinkTLS? = nil
    ) {
        self.link = link
        self.address = address
        self.keyPath = keyPath
        self.tls = tls
    }
}

/// How the two ends of a link prove to TLS who they are.
package enum LinkTLS: Equatable, Sendable {
    /// By a pre-shared key that is derived from the link key.
    case psk
    /// Each by a certificate of its own.
    case certificate(Files, peerName: String?)

    /// PEM files.
    package struct Files: Equatable, Sendable {
        /// Our certificate, with those between it and the authority behind it.
        package let certificate: String
        package let key: String
        /// Certificates of those who may have signed the peer's, or the peer's own.
        package let authority: String

        package init(certificate: String, key: String, authority: String) {
            self.certificate = certificate
            self.key = key
            self.authority = authority
        }
    }

    /// As configurations and the status have it.
    package var form: String {
        switch self {
        case .psk: "psk"
        case .certificate: "certificate"
        }
    }

    /// Whether both can be had on one listening socket, where the link is not known yet.
    func sharesListener(with other: LinkTLS) -> Bool {
        switch (self, other) {
        case (.psk, .psk): true
        case (.certificate(let own, _), .certificate(let others, _)): own == others
        case (.psk, .certificate), (.certificate, .psk): false
        }
    }
}

/// The `[[link]]` tables of a configuration file.
///
/// ```toml
/// [[link]]
/// name = "edge-1"                      # name of the broker at the other end
/// connect = "tcp://10.0.0.7:7447"      # or: listen = "tcp://0.0.0.0:7447", "unix:/run/edge.sock"
/// key = "/etc/broker/edge-1.key"
/// tls = "psk"                          # or certificates, see LinkFileReader; none, if not said
/// export = ["sensors/#"]               # what may leave; all, if not said
/// import = ["commands/#"]              # what may come in; all, if not said
/// origins = ["edge-*"]                 # brokers that the other end may speak for; itself, if not
/// max_hops = 4
/// queue_bytes = 16777216
/// overflow = "block"                   # or "drop-oldest", which it is if not said
/// ```
package enum LinkFile {
    package static let bytesMax = 1_048_576

    /// - Parameter ownName: the name of this broker.
    /// - Throws: everything that is wrong, with its lines.
    package static func parse(
        _ bytes: [UInt8], ownName: String
    ) throws(ConfigurationError) -> [LinkSettings] {
        let root: TOMLSection
        do throws(ConfigurationProblem) {
            root = try ConfigurationText.parse(bytes, bytesMax: bytesMax)
        } catch {
            throw ConfigurationError([error])
        }
        var problems = root.keys(besides: ["link"]).map { key, line in
            ConfigurationProblem(line: line, "unknown key '\(key)': there is only link")
        }
        var settings: [LinkSettings] = []
        for section in try tables(of: root) {
            var reader = LinkFileReader(section)
            if let link = reader.read(ownName: ownName, beside: settings) {
                settings.append(link)
            }
            problems += reader.problems
        }
        guard problems.isEmpty else { throw ConfigurationError(problems) }
        return settings
    }

    private static func tables(of root: TOMLSection) throws(ConfigurationError) -> [TOMLSection] {
        let sections = root.elements(of: "link")
        if sections.isEmpty, let link = root["link"] {
            throw ConfigurationError(
                line: link.line, "links begin with [[link]], in two pairs of brackets")
        }
        guard sections.count <= LinkLimits.linksMax else {
            throw ConfigurationError("there are more than \(LinkLimits.linksMax) links")
        }
        return sections
    }
}
