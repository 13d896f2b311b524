import BrokerCompare
import LinuxIO

/// Prints what the observer sees, as blocks of lines or as one JSON object a line.
struct ObserverRenderer {
    let format: OutputFormat
    let messagesMax: Int?
    private let output = Output()
    private var names = UserNames()
    private var messages = 0

    init(format: OutputFormat, messagesMax: Int?) {
        self.format = format
        self.messagesMax = messagesMax
    }

    /// Waits for who reads it no longer than until `stop` is signalled.
    mutating func tell(
        _ event: Observer.Event, unless stop: borrowing EventFD
    ) throws -> Observer.Answer {
        let bytes =
            switch format {
            case .text: Array(text(event).utf8)
            case .json: json(event)
            }
        guard try output.write(bytes.span, unless: stop) else { return .stop }
        if case .message = event { messages += 1 }
        return messages == messagesMax ? .stop : .goOn
    }

    // MARK: text

    private mutating func text(_ event: Observer.Event) -> String {
        switch event {
        case .connected(let connection, let opener):
            return """
                connection \(connection)
                  process id  \(opener.pid)
                  user id     \(user(opener.uid))
                  group id    \(opener.gid)

                """
        case .message(let connection, let message):
            return text(message, connection)
        case .closed(let connection):
            return "connection \(connection) closed\n"
        case .trouble(let connection, let what):
            return "connection \(connection): \(what)\n"
        }
    }

    private mutating func text(_ message: Observer.Message, _ connection: Int) -> String {
        let differences = message.differences
        var text = "message on connection \(connection), \(message.bytes.count) bytes"
        text += message.bytes.isEmpty ? "\n" : ": \(Self.excerpt(message.bytes))\n"
        let rows = [
            ("process id", "\(message.opener.pid)", message.sender.map { "\($0.pid)" }),
            ("user id", user(message.opener.uid), message.sender.map { user($0.uid) }),
            ("group id", "\(message.opener.gid)", message.sender.map { "\($0.gid)" }),
        ]
        let width = max(10, rows.map(\.1.count).max() ?? 0)
        text += "              \(Self.padded("connection", width))  message\n"
        for (name, opener, sender) in rows {
            let mark = differences.contains(name) ? "   <- differs" : ""
            text += "  \(Self.padded(name, 10))  \(Self.padded(opener, width))  "
            text += "\(sender ?? "-")\(mark)\n"
        }
        if let note = Self.note(message) { text += "  \(note)\n" }
        return text
    }

    private static func note(_ message: Observer.Message) -> String? {
        if message.isUnrecorded { return "the kernel recorded nobody: these ids are no one's" }
        if message.sender == nil { return "no credentials came with this message" }
        if message.differences == ["process"] {
            return "another process than the opener, with the same numbers   <- differs"
        }
        return nil
    }

    private static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private mutating func user(_ uid: UInt32) -> String {
        names.name(of: uid).map { "\(uid) (\(Printable.escaped($0)))" } ?? "\(uid)"
    }

    /// What fits into a line, without the line end that most clients send.
    private static func excerpt(_ bytes: [UInt8]) -> String {
        let shown = bytes.last == UInt8(ascii: "\n") ? bytes.dropLast() : bytes[...]
        var text: [UInt8] = []
        let beginning = Array(shown.prefix(60))
        Printable.append(beginning.span, to: &text)
        return String(decoding: text, as: UTF8.self) + (shown.count > 60 ? "…" : "")
    }

    // MARK: JSON

    private func json(_ event: Observer.Event) -> [UInt8] {
        var line: [UInt8] = []
        switch event {
        case .connected(let connection, let opener):
            line.append("{\"event\":\"connection\",\"connection\":\(connection),\"opener\":")
            Self.append(opener, to: &line)
        case .message(let connection, let message):
            line.append("{\"event\":\"message\",\"connection\":\(connection),\"opener\":")
            Self.append(message.opener, to: &line)
            line.append(",\"sender\":")
            Self.append(message.sender, to: &line)
            line.append(",\"process\":\(message.process.map { "\($0)" } ?? "null")")
            line.append(",\"recorded\":\(message.sender != nil && !message.isUnrecorded)")
            let differences = message.differences.map { "\"\($0)\"" }.joined(separator: ",")
            line.append(",\"differences\":[\(differences)],\"payload\":")
            line.append(jsonString: String(decoding: message.bytes, as: UTF8.self))
        case .closed(let connection):
            line.append("{\"event\":\"closed\",\"connection\":\(connection)")
        case .trouble(let connection, let what):
            line.append("{\"event\":\"trouble\",\"connection\":\(connection),\"what\":")
            line.append(jsonString: what)
        }
        line.append("}\n")
        return line
    }

    private static func append(_ identity: Identity?, to line: inout [UInt8]) {
        guard let identity else {
            line.append("null")
            return
        }
        line.append(
            "{\"pid\":\(identity.pid),\"uid\":\(identity.uid),\"gid\":\(identity.gid)}")
    }
}
