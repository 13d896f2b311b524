package import BrokerCore
import BrokerWire
package import LinuxIO
import TOMLKit

/// One `[[link]]` of the configuration: what the core is to know, and what the shell is.
package struct LinkSettings: Equatable, Sendable {
    package var link: LinkConfiguration
    /// Where to connect to, or to listen.
    package var address: StreamAddress
    package var keyPath: String

    package var peer: String { link.peer }

    package init(link: LinkConfiguration, address: StreamAddress, keyPath: String) {
        self.link = link
        self.address = address
        self.keyPath = keyPath
    }
}

/// Why a configuration of links is refused, in words that name the place.
package struct LinkFileError: Error, Equatable, CustomStringConvertible {
    package let description: String
}

/// The `[[link]]` tables of a configuration file.
///
/// ```toml
/// [[link]]
/// name = "edge-1"                      # name of the broker at the other end
/// connect = "tcp://10.0.0.7:7447"      # or: listen = "tcp://0.0.0.0:7447", "unix:/run/edge.sock"
/// key = "/etc/broker/edge-1.key"
/// export = ["sensors/#"]               # what may leave; all, if not said
/// import = ["commands/#"]              # what may come in; all, if not said
/// origins = ["edge-*"]                 # brokers that the other end may speak for; itself, if not
/// max_hops = 4
/// queue_bytes = 16777216
/// overflow = "block"                   # or "drop-oldest", which it is if not said
/// ```
package enum LinkFile {
    private static let keys: Set<String> = [
        "name", "connect", "listen", "key", "export", "import", "origins", "max_hops",
        "overflow", "queue_bytes",
    ]

    /// - Parameter ownName: the name of this broker.
    package static func parse(
        _ text: String, ownName: String
    ) throws(LinkFileError) -> [LinkSettings] {
        let table: TOMLTable
        do {
            table = try TOMLTable(string: text)
        } catch {
            throw LinkFileError(description: "the file is not TOML: \(error)")
        }
        guard let links = table["link"] else { return [] }
        guard let array = links.array else {
            throw LinkFileError(description: "links are written as [[link]]")
        }
        var settings: [LinkSettings] = []
        for (index, entry) in array.enumerated() {
            guard let table = entry.table else {
                throw LinkFileError(description: "links are written as [[link]]")
            }
            let link = try parse(table, place: "link \(index + 1)", ownName: ownName)
            if settings.contains(where: { $0.link.peer == link.link.peer }) {
                throw LinkFileError(
                    description: "there is more than one link to \(link.link.peer)")
            }
            settings.append(link)
        }
        guard settings.count <= LinkLimits.linksMax else {
            throw LinkFileError(description: "there are more than \(LinkLimits.linksMax) links")
        }
        return settings
    }

    private static func parse(
        _ table: TOMLTable, place: String, ownName: String
    ) throws(LinkFileError) -> LinkSettings {
        func refuse(_ reason: String) -> LinkFileError {
            LinkFileError(description: "\(place): \(reason)")
        }
        for key in table.keys where !keys.contains(key) {
            throw refuse("unknown key '\(key)'")
        }
        guard let name = table["name"]?.string else { throw refuse("'name' is missing") }
        guard let key = table["key"]?.string, key.hasPrefix("/") else {
            throw refuse("'key' is the whole path of a key file")
        }
        let connect = table["connect"]?.string
        guard (connect == nil) != (table["listen"] == nil) else {
            throw refuse("a link has either 'connect' or 'listen'")
        }
        let text = connect ?? table["listen"]?.string ?? ""
        guard let address = StreamAddress(text) else {
            throw refuse("'\(text)' is no address: tcp://HOST:PORT or unix:/PATH")
        }
        var link = LinkConfiguration(peer: name, isConnector: connect != nil)
        if let filters = try strings(table, "export", place) {
            link.exports = filters.map { Array($0.utf8) }
        }
        if let filters = try strings(table, "import", place) {
            link.imports = filters.map { Array($0.utf8) }
        }
        if let origins = try strings(table, "origins", place) { link.origins = origins }
        if let hops = table["max_hops"] { link.hopsMax = hops.int ?? 0 }
        switch table["overflow"]?.string ?? "drop-oldest" {
        case "drop-oldest": link.holdsPublishers = false
        case "block": link.holdsPublishers = true
        default: throw refuse("'overflow' is \"drop-oldest\" or \"block\"")
        }
        if let bytes = table["queue_bytes"] {
            link.queueBytesMax = bytes.int ?? 0
            guard
                (Limits.packetBytesMax...Limits.queueBytesPerUserMax)
                    .contains(link.queueBytesMax)
            else {
                throw refuse(
                    "'queue_bytes' is \(Limits.packetBytesMax) to "
                        + "\(Limits.queueBytesPerUserMax)")
            }
        }
        if let violation = link.violation(ownName: ownName) { throw refuse(violation) }
        return LinkSettings(link: link, address: address, keyPath: key)
    }

    private static func strings(
        _ table: TOMLTable, _ key: String, _ place: String
    ) throws(LinkFileError) -> [String]? {
        guard let value = table[key] else { return nil }
        guard let array = value.array else {
            throw LinkFileError(description: "\(place): '\(key)' is a list of strings")
        }
        var strings: [String] = []
        for element in array {
            guard let string = element.string else {
                throw LinkFileError(description: "\(place): '\(key)' is a list of strings")
            }
            strings.append(string)
        }
        return strings
    }
}
