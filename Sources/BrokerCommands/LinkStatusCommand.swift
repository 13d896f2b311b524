import ArgumentParser
import BrokerClient

/// `broker link list`
struct LinkList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the links of a broker and whether they are up")

    @OptionGroup var connection: ConnectOptions

    @Option(help: "How to print the list.")
    var format: OutputFormat = .text

    init() {}

    func run() async throws {
        let document = try await LinkDocument.fetch(connection)
        switch format {
        case .json: try Output().write(try prettyJSON(JSONValue.array(document.links)))
        case .text:
            var table = TextTable(["LINK", "STATE", "TLS", "KEY", "SENT", "RECEIVED", "QUEUED"])
            for link in document.links {
                let cells: [JSONValue?] = [
                    link["link"], link["state"], link["tls"]?["form"], link["keyID"],
                    link["messagesSent"], link["messagesReceived"], link["queuedBytes"],
                ]
                table.append(cells.map { LinkDocument.text($0) })
            }
            try Output().write(table.text)
        }
        if let notice = document.notice { Diagnostics(command: "link list").note(notice) }
    }
}

/// `broker link status`
struct LinkStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show all that is known of a broker's links",
        discussion: """
            Rates, lag and queue, losses, what was not taken from the peer and why, faults and the \
            latest error. The fields of the JSON form are those of Protocol/forwarding.md, section \
            13. Says on standard error if the file of links as it is now is not in force, why, \
            and when the broker tries again.
            """)

    @Argument(help: ArgumentHelp("Only this link.", valueName: "name"))
    var name: String?

    @OptionGroup var connection: ConnectOptions

    @Option(help: "How to print the status.")
    var format: OutputFormat = .text

    @Option(
        help: ArgumentHelp(
            "Show it again after this time, 100ms or more, for ever: \(IntervalArgument.help).",
            valueName: "interval"))
    var watch: IntervalArgument?

    init() {}

    func validate() throws {
        if let watch, watch.duration < .milliseconds(100) {
            throw ValidationError("--watch takes 100ms to \(IntervalArgument.daysMax) days")
        }
    }

    func run() async throws {
        while true {
            if let notice = try await show() { Diagnostics(command: "link status").note(notice) }
            guard let watch else { return }
            try await Task.sleep(for: watch.duration)
        }
    }

    /// - Returns: why there are no links, or not those of the file.
    private func show() async throws -> String? {
        let document = try await LinkDocument.fetch(connection)
        let links = document.links.filter { name == nil || LinkDocument.text($0["link"]) == name }
        if let name, links.isEmpty {
            let notice = document.notice.map { "; \($0)" } ?? ""
            throw CommandFailure(.failure, "the broker has no link '\(name)'\(notice)")
        }
        switch format {
        case .json: try Output().write(try prettyJSON(JSONValue.array(links)))
        case .text:
            try Output().write(links.map { LinkText($0).text }.joined(separator: "\n"))
        }
        return document.notice
    }
}

/// The links in the broker's status document.
struct LinkDocument {
    let links: [JSONValue]
    /// Why there are no links, or not those of the file, and when that is tried again.
    let notice: String?

    static func fetch(_ connection: ConnectOptions) async throws -> LinkDocument {
        do {
            let client = try await BrokerClient.connect(
                connection.configuration(clientName: "broker link"))
            let document = try JSONValue(parsing: try await client.status())
            await client.close()
            var links: [JSONValue] = []
            if case .array(let values) = document["links"] { links = values }
            return LinkDocument(links: links, notice: notice(document["linkFile"]))
        } catch let error as BrokerClientError {
            throw connection.failure(error)
        }
    }

    private static func notice(_ file: JSONValue?) -> String? {
        guard let file else { return "the broker has no links: it was started without --config" }
        guard case .string(let error) = file["error"] else { return nil }
        var notice = "the links as they are in the file are not in force:\n\(error)"
        if let next = file["nextAttemptMilliseconds"] {
            notice += "\nthe next attempt is in \(text(next)) ms"
        }
        return notice
    }

    static func text(_ value: JSONValue?) -> String {
        switch value {
        case .string(let text): text
        case .integer(let number): "\(number)"
        case .natural(let number): "\(number)"
        case .number(let number): "\(number)"
        case .bool(let value): value ? "yes" : "no"
        case .array(let values): values.map { text($0) }.joined(separator: " ")
        case .object(let members):
            members.sorted { $0.key < $1.key }.map { "\($0.key) \(text($0.value))" }
                .joined(separator: ", ")
        case .null, nil: "-"
        }
    }
}
