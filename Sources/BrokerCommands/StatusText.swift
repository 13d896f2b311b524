/// The status document as tables. What a broker leaves out is left empty.
struct StatusText {
    private let document: JSONValue
    private var names: UserNames

    init(_ document: JSONValue, names: UserNames = UserNames()) {
        self.document = document
        self.names = names
    }

    mutating func render() -> String {
        var parts = [heading]
        let sessions = sessionTable()
        if !sessions.isEmpty { parts.append("Sessions\n" + sessions.text) }
        let subscriptions = subscriptionTable
        if !subscriptions.isEmpty { parts.append("Subscriptions\n" + subscriptions.text) }
        let users = userTable()
        if !users.isEmpty { parts.append("Users\n" + users.text) }
        let counters = counterTable
        if !counters.isEmpty { parts.append("Counters\n" + counters.text) }
        return parts.joined(separator: "\n")
    }

    private var heading: String {
        let name = document["name"]?.text ?? ""
        let version = document["version"]?.text ?? "?"
        let uptime = document["uptimeSeconds"]?.natural.map { Self.span(seconds: $0) } ?? "?"
        let who = name.isEmpty ? "" : " '\(name)'"
        return Printable.escaped("broker\(who) \(version), up \(uptime)") + "\n" + rules
    }

    /// Which rules are in force, and why the file as it is now is not.
    private var rules: String {
        guard let rules = document["rules"], let source = rules["source"]?.text else { return "" }
        let place = rules["path"]?.text.map { " \($0)" } ?? ""
        var lines = ["rules: \(source)\(place), \(rules["rules"]?.text ?? "?") in force"]
        lines += (rules["warnings"]?.array ?? []).compactMap(\.text).map { "warning: \($0)" }
        if let error = rules["error"]?.text {
            lines += error.split(separator: "\n").map { "error, old rules kept: \($0)" }
        }
        return lines.map { Printable.harmless($0) + "\n" }.joined()
    }

    private mutating func sessionTable() -> TextTable {
        var table = TextTable([
            "SESSION", "OPENER", "PID", "DOMAIN", "NAME", "STATE", "UP", "PUBLISHED", "REFUSED",
            "DELIVERED", "SUBSCRIPTIONS",
        ])
        for session in document["sessions"]?.array ?? [] {
            let opener = session["opener"]
            table.append([
                cell(session, "session"), user(opener?["uid"]), opener?["pid"]?.text ?? "",
                domain(opener), cell(session, "name"), state(session),
                session["connectedSeconds"]?.natural.map { Self.span(seconds: $0) } ?? "",
                cell(session, "messagesPublished"), cell(session, "publishesRefused"),
                cell(session, "messagesDelivered"),
                String(session["subscriptions"]?.array.count ?? 0),
            ])
        }
        return table
    }

    private var subscriptionTable: TextTable {
        var table = TextTable([
            "SESSION", "FILTERS", "FROM", "OVERFLOW", "QUEUED", "LIMIT", "DELIVERED", "LOST",
        ])
        for session in document["sessions"]?.array ?? [] {
            for subscription in session["subscriptions"]?.array ?? [] {
                let filters = subscription["filters"]?.array.compactMap(\.text) ?? []
                table.append([
                    cell(session, "session"), filters.joined(separator: " "),
                    senders(subscription), cell(subscription, "overflow"),
                    cell(subscription, "queuedBytes"), cell(subscription, "queueBytesMax"),
                    cell(subscription, "messagesDelivered"), cell(subscription, "messagesLost"),
                ])
            }
        }
        return table
    }

    private mutating func userTable() -> TextTable {
        var table = TextTable(["USER", "CONNECTIONS", "SUBSCRIPTIONS", "QUEUED"])
        for account in document["users"]?.array ?? [] {
            table.append([
                user(account["uid"]), cell(account, "connections"),
                cell(account, "subscriptions"), cell(account, "queuedBytes"),
            ])
        }
        return table
    }

    /// Who holds how much of what it may hold.
    mutating func renderByUser() -> String {
        var table = TextTable([
            "USER", "CONNECTIONS", "WITHOUT HELLO", "HELD", "SUBSCRIPTIONS", "THEIR BYTES",
            "QUEUED BYTES", "THROTTLED MS", "CONNECTIONS/S", "MESSAGES/S", "BYTES/S",
        ])
        for account in document["users"]?.array ?? [] {
            let limits = account["limits"]
            var holds = [
                "connections", "greetings", "subscriptions", "subscriptionBytes", "queuedBytes",
            ].map { key in
                "\(cell(account, key))/\(limits?[key]?.text ?? "?")"
            }
            holds.insert(cell(account, "held"), at: 2)
            holds.append(cell(account, "throttledMilliseconds"))
            let keys = ["connectionsPerSecond", "messagesPerSecond", "bytesPerSecond"]
            let rates = keys.map { key in
                let limit = limits?[key]?.natural ?? 0
                return limit == 0 ? "any" : String(limit)
            }
            table.append([user(account["uid"])] + holds + rates)
        }
        return table.text
    }

    private var counterTable: TextTable {
        var table = TextTable(["COUNTER", "VALUE"])
        for (name, value) in (document["counters"]?.members ?? [:]).sorted(by: { $0.key < $1.key })
        {
            table.append([name, value.text ?? ""])
        }
        return table
    }

    private func state(_ session: JSONValue) -> String {
        session["heldBack"] == .bool(true) ? "held back" : cell(session, "state")
    }

    private func cell(_ value: JSONValue, _ key: String) -> String {
        value[key]?.text ?? ""
    }

    private mutating func user(_ value: JSONValue?) -> String {
        guard let uid = value?.natural.flatMap({ UInt32(exactly: $0) }) else { return "" }
        if uid == UserNames.unmappedID { return "unmapped(\(uid))" }
        return "\(names.name(of: uid) ?? "?")(\(uid))"
    }

    /// The user namespace behind the opener: `init`, or `of` the uid that owns it.
    private mutating func domain(_ opener: JSONValue?) -> String {
        guard let domain = opener?["trustDomain"] else {
            return opener?["domain"]?.text ?? ""
        }
        return domain.natural == nil ? domain.text ?? "" : "of " + user(domain)
    }

    private func senders(_ subscription: JSONValue) -> String {
        let uids = (subscription["fromUIDs"]?.array ?? []).compactMap(\.text)
        let gids = (subscription["fromGIDs"]?.array ?? []).compactMap(\.text)
        let all = uids.map { "uid \($0)" } + gids.map { "gid \($0)" }
        return all.isEmpty ? "anybody" : all.joined(separator: ", ")
    }

    /// `3d 4h`, `4h 5m`, `5m 6s`, `6s`
    static func span(seconds: UInt64) -> String {
        let units: [(name: String, seconds: UInt64)] = [
            ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1),
        ]
        let first = units.firstIndex { seconds >= $0.seconds } ?? units.count - 1
        let major = seconds / units[first].seconds
        let text = "\(major)\(units[first].name)"
        guard first + 1 < units.count else { return text }
        let minor = seconds % units[first].seconds / units[first + 1].seconds
        return minor == 0 ? text : "\(text) \(minor)\(units[first + 1].name)"
    }
}
