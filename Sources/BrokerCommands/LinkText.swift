/// What `broker link status` shows of one link.
struct LinkText {
    private let link: JSONValue

    init(_ link: JSONValue) {
        self.link = link
    }

    var text: String {
        ([headline]
            + rows.map { row in
                "  " + row.label + String(repeating: " ", count: 14 - row.label.count) + row.text
            })
            .map { $0 + "\n" }.joined()
    }

    private func value(_ key: String) -> String { Printable.escaped(LinkDocument.text(link[key])) }

    private func isThere(_ key: String) -> Bool {
        switch link[key] {
        case nil, .null: false
        default: true
        }
    }

    private var headline: String {
        var line = "\(value("link")): \(value("state"))"
        if isThere("connectedSeconds") { line += " for \(value("connectedSeconds")) s" }
        line +=
            ", \(value("role")) \(value("role") == "connects" ? "to" : "at") \(value("address"))"
        if isThere("keyID") { line += ", key \(value("keyID"))" }
        if isThere("nextDialMilliseconds") {
            line += ", next attempt in \(value("nextDialMilliseconds")) ms"
        }
        return line
    }

    private var rows: [(label: String, text: String)] {
        func rate(_ key: String) -> String {
            Printable.escaped(LinkDocument.text(link["rates"]?[key]))
        }
        var rows = [
            (
                "sent",
                "\(value("messagesSent")) messages (\(rate("messagesSentPerSecond")) a second), "
                    + "\(value("bytesSent")) bytes (\(rate("bytesSentPerSecond")) a second)"
            ),
            (
                "received",
                "\(value("messagesReceived")) messages "
                    + "(\(rate("messagesReceivedPerSecond")) a second), "
                    + "\(value("bytesReceived")) bytes "
                    + "(\(rate("bytesReceivedPerSecond")) a second)"
            ),
            (
                "taken",
                "\(value("messagesAccepted")) messages; duplicates \(value("duplicates"))"
            ),
            (
                "queue",
                "\(value("queuedMessages")) messages, \(value("queuedBytes")) of "
                    + "\(value("queueBytesMax")) bytes"
            ),
            (
                "lag",
                "\(value("lagMessages")) messages, \(value("lagMilliseconds")) ms; acknowledged "
                    + "after \(value("acknowledgedAfterMicroseconds")) us; round trip "
                    + (isThere("roundTripMicroseconds")
                        ? "\(value("roundTripMicroseconds")) us" : "unknown")
            ),
            (
                "lost",
                "\(value("messagesLost")) messages here, "
                    + "\(value("messagesLostByPeer")) by the peer; "
                    + "\(value("batchesResent")) batches sent again"
            ),
            ("connections", value("connections")),
        ]
        if isThere("tls") { rows.insert(("tls", tlsText), at: 0) }
        for (label, key) in [
            ("not taken", "dropped"), ("faults", "faults"), ("peer wants", "filters"),
        ] where !value(key).isEmpty {
            rows.append((label, value(key)))
        }
        if isThere("lastError") {
            rows.append(("last error", "\(lastErrorTime)\(value("lastError"))"))
        }
        return rows
    }

    private var tlsText: String {
        let parts = ["form", "cipher", "peer"].compactMap { key in link["tls"]?[key] }
        return parts.map { Printable.escaped(LinkDocument.text($0)) }.joined(separator: ", ")
    }

    private var lastErrorTime: String {
        guard isThere("lastErrorSeconds") else { return "" }
        let time = TimestampWriter.text(seconds: link["lastErrorSeconds"]?.natural)
        return (time ?? "at an unknown time:") + " "
    }
}
