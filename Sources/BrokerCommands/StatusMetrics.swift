/// The status document as metrics, in the text format of Prometheus (version 0.0.4). What a broker
/// leaves out is left out.
struct StatusMetrics {
    private enum Kind: String {
        case counter
        case gauge
    }

    private let document: JSONValue
    private var names: UserNames
    private var text = ""

    init(_ document: JSONValue, names: UserNames = UserNames()) {
        self.document = document
        self.names = names
    }

    mutating func render() -> String {
        text = ""
        renderBroker()
        renderCounters()
        renderUsers()
        renderLinks()
        return text
    }

    private mutating func renderBroker() {
        let labels = ["name", "version", "instance"].map { ($0, document[$0]?.text ?? "") }
        family("broker_info", .gauge, "Which broker this is; another instance is a new start.")
        sample("broker_info", labels, .natural(1))
        family("broker_uptime_seconds", .gauge, "Time since the start.")
        sample("broker_uptime_seconds", [], document["uptimeSeconds"])
        family("broker_rules", .gauge, "Access rules in force.")
        sample("broker_rules", [], document["rules"]?["rules"])
        family(
            "broker_rules_current", .gauge, "0: the access file as it is now is not in force.")
        sample("broker_rules_current", [], .natural(document["rules"]?["error"] == nil ? 1 : 0))
        family("broker_sessions", .gauge, "Connections, by state.")
        let states = (document["sessions"]?.array ?? []).map { $0["state"]?.text ?? "" }
        for (state, sessions) in Dictionary(grouping: states, by: \.self)
            .sorted(by: { $0.key < $1.key })
        {
            sample("broker_sessions", [("state", state)], .natural(UInt64(sessions.count)))
        }
    }

    private mutating func renderCounters() {
        for (key, value) in (document["counters"]?.members ?? [:]).sorted(by: { $0.key < $1.key }) {
            let name = "broker_\(Self.snakeCase(key))_total"
            family(name, .counter, "\(key) of the status document.")
            sample(name, [], value)
        }
    }

    private mutating func renderUsers() {
        let held = [
            "connections", "greetings", "held", "subscriptions", "subscriptionBytes", "queuedBytes",
        ]
        let users = (document["users"]?.array ?? []).map { user in (user, labels(of: user)) }
        for key in held {
            let name = "broker_user_\(Self.snakeCase(key))"
            family(name, .gauge, "\(key) that count against the user who opened them.")
            for (user, labels) in users { sample(name, labels, user[key]) }
            guard users.contains(where: { $0.0["limits"]?[key] != nil }) else { continue }
            family("\(name)_max", .gauge, "What the user may hold of it.")
            for (user, labels) in users { sample("\(name)_max", labels, user["limits"]?[key]) }
        }
        let throttled = "broker_user_throttled_milliseconds_total"
        family(throttled, .counter, "Time that the user waited so that others were served.")
        for (user, labels) in users { sample(throttled, labels, user["throttledMilliseconds"]) }
    }

    private mutating func labels(of user: JSONValue) -> [(String, String)] {
        let uid = user["uid"]?.natural.flatMap { UInt32(exactly: $0) }
        let name = uid.flatMap { names.name(of: $0) } ?? ""
        return [("uid", uid.map(String.init) ?? ""), ("user", name)]
    }

    private mutating func renderLinks() {
        let links = document["links"]?.array ?? []
        guard !links.isEmpty else { return }
        family("broker_link_up", .gauge, "Whether the other broker is connected.")
        for link in links {
            sample("broker_link_up", label(of: link), .natural(link["state"]?.text == "up" ? 1 : 0))
        }
        let gauges = [
            "queuedMessages", "queuedBytes", "queueBytesMax", "lagMessages", "lagMilliseconds",
            "roundTripMicroseconds",
        ]
        let counters = [
            "connections", "messagesSent", "messagesReceived", "messagesAccepted", "messagesLost",
            "messagesLostByPeer", "bytesSent", "bytesReceived", "batchesResent", "duplicates",
        ]
        for key in gauges { render(key, .gauge, "", links) }
        for key in counters { render(key, .counter, "_total", links) }
    }

    private mutating func render(
        _ key: String, _ kind: Kind, _ suffix: String, _ links: [JSONValue]
    ) {
        let name = "broker_link_\(Self.snakeCase(key))\(suffix)"
        family(name, kind, "\(key) of the link.")
        for link in links { sample(name, label(of: link), link[key]) }
    }

    private func label(of link: JSONValue) -> [(String, String)] {
        [("link", link["link"]?.text ?? "")]
    }

    // MARK: The format

    private mutating func family(_ name: String, _ kind: Kind, _ help: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
    }

    private mutating func sample(
        _ name: String, _ labels: [(String, String)], _ value: JSONValue?
    ) {
        guard let number = value?.natural else { return }
        let pairs = labels.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",")
        text += pairs.isEmpty ? "\(name) \(number)\n" : "\(name){\(pairs)} \(number)\n"
    }

    /// A label's value; whatever else could act on a terminal is made harmless first.
    private static func escaped(_ value: String) -> String {
        Printable.escaped(value).reduce(into: "") { text, character in
            switch character {
            case "\\": text += "\\\\"
            case "\"": text += "\\\""
            default: text.append(character)
            }
        }
    }

    /// `messagesAccepted` is `messages_accepted`.
    static func snakeCase(_ name: String) -> String {
        name.reduce(into: "") { text, character in
            if character.isUppercase { text += "_" }
            text += character.lowercased()
        }
    }
}
