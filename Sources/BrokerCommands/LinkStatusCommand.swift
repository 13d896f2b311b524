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
        let links = try await LinkDocument.fetch(connection)
        switch format {
        case .json: try Output().write(try prettyJSON(JSONValue.array(links)))
        case .text:
            var table = TextTable(["LINK", "STATE", "KEY", "SENT", "RECEIVED", "QUEUED"])
            for link in links {
                table.append(
                    ["link", "state", "keyID", "messagesSent", "messagesReceived", "queuedBytes"]
                        .map { LinkDocument.text(link[$0]) })
            }
            try Output().write(table.text)
        }
    }
}

/// `broker link status`
struct LinkStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show all that is known of a broker's links",
        discussion: "Lag, losses, what was not taken from the peer and why, and faults.")

    @Argument(help: ArgumentHelp("Only this link.", valueName: "name"))
    var name: String?

    @OptionGroup var connection: ConnectOptions

    @Option(help: "How to print the status.")
    var format: OutputFormat = .text

    init() {}

    func run() async throws {
        let all = try await LinkDocument.fetch(connection)
        let links = all.filter { name == nil || LinkDocument.text($0["link"]) == name }
        if let name, links.isEmpty {
            throw CommandFailure(.failure, "the broker has no link '\(name)'")
        }
        switch format {
        case .json: try Output().write(try prettyJSON(JSONValue.array(links)))
        case .text: try Output().write(links.map(LinkDocument.describe).joined(separator: "\n"))
        }
    }
}

/// The links in the broker's status document.
enum LinkDocument {
    static func fetch(_ connection: ConnectOptions) async throws -> [JSONValue] {
        do {
            let client = try await BrokerClient.connect(
                connection.configuration(clientName: "broker link"))
            let bytes = try await client.status()
            await client.close()
            guard case .array(let links) = try JSONValue(parsing: bytes)["links"] else { return [] }
            return links
        } catch let error as BrokerClientError {
            throw connection.failure(error)
        }
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

    static func describe(_ link: JSONValue) -> String {
        guard case .object(let members) = link else { return "" }
        let rows = members.sorted { $0.key < $1.key }.filter { $0.key != "link" }
        let lines = rows.map { "  \($0.key): \(Printable.escaped(text($0.value)))\n" }
        return Printable.escaped(text(members["link"])) + "\n" + lines.joined()
    }
}
