import ArgumentParser
import BrokerClient

/// `broker status`
struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show the sessions, queues and counters of a broker",
        discussion: """
            JSON is the broker's own document (Protocol/README.md, section 9); fields may be \
            added to it.
            """)

    @OptionGroup var connection: ConnectOptions

    @Flag(help: "Show for each user what it holds of what it may hold.")
    var byUid = false

    @Option(help: "How to print the status.")
    var format: OutputFormat = .text

    init() {}

    func run() async throws {
        let document: JSONValue
        do {
            let client = try await BrokerClient.connect(
                connection.configuration(clientName: "broker status"))
            let bytes = try await client.status()
            await client.close()
            document = try Self.parse(bytes)
        } catch let error as BrokerClientError {
            throw connection.failure(error)
        }
        try Output().write(Self.render(document, format, byUser: byUid))
    }

    private static func parse(_ bytes: [UInt8]) throws -> JSONValue {
        do {
            return try JSONValue(parsing: bytes)
        } catch {
            throw CommandFailure(.failure, "the broker's status is not JSON: \(error)")
        }
    }

    static func render(
        _ document: JSONValue, _ format: OutputFormat, byUser: Bool = false
    ) throws -> String {
        switch format {
        case .text:
            var text = StatusText(document)
            return byUser ? text.renderByUser() : text.render()
        case .json:
            return try prettyJSON(byUser ? document["users"] ?? .array([]) : document)
        }
    }
}
