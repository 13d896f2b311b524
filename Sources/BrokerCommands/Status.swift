import ArgumentParser
import BrokerClient

/// `broker status`
struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show the sessions, queues and counters of a broker",
        discussion: """
            JSON is the broker's own document (Protocol/README.md, section 9); fields may be \
            added to it. The prometheus format is a page of metrics: counters, and what each user \
            and each link holds; write it to a file that an agent collects.
            """)

    @OptionGroup var connection: ConnectOptions

    @Flag(help: "Show for each user what it holds of what it may hold.")
    var byUid = false

    @Option(help: "How to print the status.")
    var format: Format = .text

    enum Format: String, ExpressibleByArgument, CaseIterable, Sendable {
        case text
        case json
        case prometheus
    }

    init() {}

    func validate() throws {
        if byUid, format == .prometheus {
            throw ValidationError("--by-uid is for text and json; metrics hold all users anyway")
        }
    }

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
        _ document: JSONValue, _ format: Format, byUser: Bool = false
    ) throws -> String {
        switch format {
        case .text:
            var text = StatusText(document)
            return byUser ? text.renderByUser() : text.render()
        case .json:
            return try prettyJSON(byUser ? document["users"] ?? .array([]) : document)
        case .prometheus:
            var metrics = StatusMetrics(document)
            return metrics.render()
        }
    }
}
