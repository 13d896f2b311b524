import BrokerClient

/// `broker compare --live`: the sessions of a running broker on which somebody else than their
/// opener has sent, and who.
struct CompareLive {
    let connection: ConnectOptions
    let format: OutputFormat

    func run() async throws {
        let document: JSONValue
        do {
            let client = try await BrokerClient.connect(
                connection.configuration(clientName: "broker compare"))
            let bytes = try await client.status()
            await client.close()
            document = try JSONValue(parsing: bytes)
        } catch let error as BrokerClientError {
            throw connection.failure(error)
        } catch {
            throw CommandFailure(.failure, "the broker's status is not JSON: \(error)")
        }
        switch format {
        case .text:
            var text = LiveText(document)
            try Output().write(text.render())
        case .json:
            try Output().write(try prettyJSON(Self.sessionsWithOthers(document)))
        }
    }

    /// Of each such session: opener, who else has sent, and how many were forgotten.
    static func sessionsWithOthers(_ document: JSONValue) -> JSONValue {
        let sessions = document["sessions"]?.array ?? []
        let chosen = sessions.filter { !($0["otherSenders"]?.array ?? []).isEmpty }
        return .object([
            "sessions": .array(
                chosen.map { session in
                    var members: [String: JSONValue] = [:]
                    for key in [
                        "session", "name", "opener", "otherSenders", "otherSendersForgotten",
                    ] {
                        members[key] = session[key] ?? .null
                    }
                    return .object(members)
                })
        ])
    }
}

/// The same for people: a line for each sender.
struct LiveText {
    private let document: JSONValue
    private var names: UserNames

    init(_ document: JSONValue, names: UserNames = UserNames()) {
        self.document = document
        self.names = names
    }

    mutating func render() -> String {
        var table = TextTable([
            "SESSION", "NAME", "OPENER", "PID", "DOMAIN", "SENT AS", "PID", "PROCESS", "LEVEL",
            "MESSAGES", "LAST",
        ])
        let sessions = CompareLive.sessionsWithOthers(document)["sessions"]?.array ?? []
        for session in sessions {
            for sender in session["otherSenders"]?.array ?? [] { row(session, sender, &table) }
        }
        let count = document["sessions"]?.array.count ?? 0
        if sessions.isEmpty {
            return "On none of \(count) sessions has anybody sent but who opened it.\n"
        }
        return table.text + forgotten(sessions)
            + "On \(sessions.count) of \(count) sessions somebody else than the opener has sent.\n"
    }

    private mutating func row(
        _ session: JSONValue, _ sender: JSONValue, _ table: inout TextTable
    ) {
        let opener = session["opener"]
        table.append([
            session["session"]?.text ?? "", session["name"]?.text ?? "", user(opener?["uid"]),
            opener?["pid"]?.text ?? "", domain(opener), user(sender["uid"]),
            sender["pid"]?.text ?? "", sender["process"]?.text ?? "-",
            sender["level"]?.text ?? "", sender["messages"]?.text ?? "",
            TimestampWriter.text(seconds: sender["lastSeconds"]?.natural) ?? "unknown",
        ])
    }

    private mutating func domain(_ opener: JSONValue?) -> String {
        guard let domain = opener?["trustDomain"] else { return "unknown" }
        return domain.natural == nil ? domain.text ?? "" : "of " + user(domain)
    }

    private mutating func user(_ value: JSONValue?) -> String {
        guard let uid = value?.natural.flatMap({ UInt32(exactly: $0) }) else { return "" }
        return "\(names.name(of: uid) ?? "?")(\(uid))"
    }

    private func forgotten(_ sessions: [JSONValue]) -> String {
        let count = sessions.reduce(UInt64(0)) { sum, session in
            sum.saturatingAdd(session["otherSendersForgotten"]?.natural ?? 0)
        }
        return count == 0 ? "" : "\(count) more senders were too many to be remembered.\n"
    }
}
