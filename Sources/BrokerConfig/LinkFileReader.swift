import BrokerCore
import BrokerWire
import LinuxIO

/// Turns one `[[link]]` table into settings, and collects what is wrong with it, with its line.
///
/// `tls` is `"psk"`, or a table:
///
/// ```toml
/// [link.tls]
/// certificate = "/etc/broker/hub.pem"
/// key = "/etc/broker/hub-tls.key"
/// authority = "/etc/broker/links-ca.pem"
/// peer_name = "edge-1"                 # in the peer's certificate; not asked for, if not said
/// ```
struct LinkFileReader {
    static let keys = [
        "name", "connect", "listen", "key", "tls", "export", "import", "origins", "max_hops",
        "overflow", "queue_bytes",
    ]
    static let tlsKeys = ["certificate", "key", "authority", "peer_name"]

    private let section: TOMLSection
    private(set) var problems: [ConfigurationProblem] = []

    init(_ section: TOMLSection) {
        self.section = section
    }

    /// - Parameters:
    ///   - ownName: the name of this broker.
    ///   - others: the links above this one.
    /// - Returns: nil if something is wrong with it.
    mutating func read(ownName: String, beside others: [LinkSettings]) -> LinkSettings? {
        for (key, _) in section.keys(besides: Set(Self.keys)) {
            problem(key, "unknown key '\(key)': a link has \(Self.keys.joined(separator: ", "))")
        }
        let name = string("name")
        if section["name"] == nil {
            problem("name", "'name' is missing: the name of the broker at the other end")
        }
        let keyPath = path("key")
        let address = readAddress()
        var link = LinkConfiguration(
            peer: name ?? "", isConnector: section["connect"] != nil)
        readFilters(into: &link)
        if let origins = strings("origins") {
            for origin in origins where !Self.isOrigin(origin) {
                problem("origins", "\(OriginPattern.refusal(of: origin)) at the end")
            }
            link.origins = origins
        }
        readLimits(into: &link)
        let tls = value("tls").flatMap { readTLS($0) }
        if name != nil { checkViolations(of: link, ownName: ownName) }
        if others.contains(where: { $0.link.peer == link.peer }) {
            problem("name", "there is more than one link to \(link.peer)")
        }
        guard problems.isEmpty, let keyPath, let address else { return nil }
        let settings = LinkSettings(link: link, address: address, keyPath: keyPath, tls: tls)
        check(settings, beside: others)
        return problems.isEmpty ? settings : nil
    }

    /// Asks with one more key at a time, so that the line is that of the key at fault.
    private mutating func checkViolations(of link: LinkConfiguration, ownName: String) {
        var asked = LinkConfiguration(peer: link.peer, isConnector: link.isConnector)
        if let violation = asked.violation(ownName: ownName) {
            return problem("name", violation)
        }
        asked.exports = link.exports
        if let violation = asked.violation(ownName: ownName) {
            return problem("export", violation)
        }
        asked.imports = link.imports
        if let violation = asked.violation(ownName: ownName) { problem("import", violation) }
    }

    /// Who connects is not known before TLS has begun.
    private mutating func check(_ settings: LinkSettings, beside others: [LinkSettings]) {
        guard !settings.link.isConnector else { return }
        for other in others where !other.link.isConnector && other.address == settings.address {
            let agrees =
                switch (settings.tls, other.tls) {
                case (nil, nil): true
                case (let own?, let others?): own.sharesListener(with: others)
                case (nil, _?), (_?, nil): false
                }
            if agrees { continue }
            problem(
                "tls",
                "links that listen at the same address have the same 'tls', 'peer_name' excepted; "
                    + "\(other.link.peer) has another")
        }
    }

    private func line(_ key: String) -> Int { section[key]?.line ?? section.line }

    private func value(_ key: String) -> TOMLTree? { section[key]?.value }

    private mutating func problem(_ key: String, _ text: String) {
        problems.append(ConfigurationProblem(line: line(key), text))
    }

    // MARK: Keys

    private mutating func readAddress() -> StreamAddress? {
        let ends = ["connect", "listen"].filter { section[$0] != nil }
        guard ends.count == 1, let end = ends.first else {
            problem(ends.last ?? "connect", "a link has either 'connect' or 'listen'")
            return nil
        }
        guard let text = string(end) else { return nil }
        guard let address = StreamAddress(text) else {
            problem(
                end,
                "\(text.debugDescription) is no address: tcp://HOST:PORT, its port "
                    + "1 to 65535, or unix:/PATH")
            return nil
        }
        return address
    }

    private mutating func readFilters(into link: inout LinkConfiguration) {
        if let filters = strings("export") { link.exports = filters.map { Array($0.utf8) } }
        if let filters = strings("import") { link.imports = filters.map { Array($0.utf8) } }
    }

    private mutating func readLimits(into link: inout LinkConfiguration) {
        if let hops = integer("max_hops", 1...LinkLimits.pathNamesMax, "brokers") {
            link.hopsMax = hops
        }
        if let bytes = integer(
            "queue_bytes", Limits.packetBytesMax...Limits.queueBytesPerUserMax, "bytes")
        {
            link.queueBytesMax = bytes
        }
        guard section["overflow"] != nil, let overflow = string("overflow") else { return }
        switch overflow {
        case "drop-oldest": link.holdsPublishers = false
        case "block": link.holdsPublishers = true
        default: problem("overflow", "'overflow' is \"drop-oldest\" or \"block\"")
        }
    }

    private mutating func readTLS(_ tree: TOMLTree) -> LinkTLS? {
        switch tree {
        case .string("psk"): return .psk
        case .table(let files): return readCertificates(files)
        default:
            problem(
                "tls",
                "'tls' is \"psk\", or a table with certificate, key and authority; "
                    + "without TLS leave it out")
            return nil
        }
    }

    private mutating func readCertificates(_ files: TOMLSection) -> LinkTLS? {
        for (key, _) in files.keys(besides: Set(Self.tlsKeys)) {
            problem(
                "tls",
                "unknown key '\(key)' in 'tls': there are "
                    + Self.tlsKeys.joined(separator: ", "))
        }
        var paths: [String] = []
        for key in ["certificate", "key", "authority"] {
            guard case .string(let path)? = files[key]?.value, path.hasPrefix("/") else {
                problem("tls", "'\(key)' in 'tls' is the whole path of a PEM file")
                continue
            }
            paths.append(path)
        }
        let peerName: String?
        switch files["peer_name"]?.value {
        case nil: peerName = nil
        case .string(let name)? where Self.isPeerName(name):
            peerName = name
        default:
            problem(
                "tls",
                "'peer_name' in 'tls' is a name in the certificate, letters, digits, '-' and '_' "
                    + "with single dots between them, or an IP address")
            return nil
        }
        guard paths.count == 3 else { return nil }
        return .certificate(
            LinkTLS.Files(certificate: paths[0], key: paths[1], authority: paths[2]),
            peerName: peerName)
    }

    /// OpenSSL takes a dot at the beginning for any name that ends like that.
    private static func isPeerName(_ name: String) -> Bool {
        if name.contains(":") {
            return StreamTarget(.tcp(host: name, port: 1)) != nil && !name.contains("%")
        }
        let parts = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        return (1...253).contains(name.utf8.count)
            && parts.allSatisfy { part in
                !part.isEmpty
                    && part.allSatisfy { byte in
                        switch byte {
                        case UInt8(ascii: "a")...UInt8(ascii: "z"),
                            UInt8(ascii: "A")...UInt8(ascii: "Z"),
                            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
                            UInt8(ascii: "_"):
                            true
                        default: false
                        }
                    }
            }
    }

    /// Names for which a peer may speak have their `*` at the end only.
    private static func isOrigin(_ text: String) -> Bool {
        OriginPattern.canMatch(text) && !text.dropLast().contains("*")
    }

    // MARK: Values

    private mutating func string(_ key: String) -> String? {
        switch value(key) {
        case .string(let text): return text
        case nil: return nil
        case .some(let other):
            problem(key, "'\(key)' is a string, not \(other.kind)")
            return nil
        }
    }

    private mutating func path(_ key: String) -> String? {
        guard section[key] != nil else {
            problem(key, "'\(key)' is missing: the whole path of a key file")
            return nil
        }
        guard let path = string(key) else { return nil }
        if path.hasPrefix("/") { return path }
        problem(key, "'\(key)' is the whole path of a key file, from / on")
        return nil
    }

    private mutating func integer(
        _ key: String, _ range: ClosedRange<Int>, _ unit: String
    ) -> Int? {
        switch value(key) {
        case nil: return nil
        case .integer(let number) where range.contains(number): return number
        default:
            problem(key, "'\(key)' is \(range.lowerBound) to \(range.upperBound) \(unit)")
            return nil
        }
    }

    private mutating func strings(_ key: String) -> [String]? {
        guard let tree = value(key) else { return nil }
        if case .array(let values) = tree {
            let strings = values.compactMap { value in
                if case .string(let text) = value { text } else { nil }
            }
            if strings.count == values.count { return strings }
        }
        problem(key, "'\(key)' is a list of strings")
        return nil
    }
}
