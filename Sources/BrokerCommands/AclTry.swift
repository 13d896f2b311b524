import ArgumentParser
import BrokerConfig
import BrokerCore
import BrokerServer
import LinuxIO

/// `broker acl try`
struct AclTry: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "try",
        abstract: "Show what another access file would change, changing nothing",
        discussion: """
            Asks the running broker for its live subscriptions and its latest decisions and judges \
            them by the new file. Ends with status 1 if something would change.
            """)

    @Argument(help: "The new access file.", completion: .file(extensions: ["toml"]))
    var newFile: String

    @OptionGroup var connection: ConnectOptions

    @Option(help: "How to print the changes.")
    var format: OutputFormat = .text

    init() {}

    func run() async throws {
        let source = AccessFileSource(
            path: newFile, brokerUID: CurrentProcess.effectiveUserID)
        let policy: AccessPolicy
        do throws(AccessFileSource.Failure) {
            policy = try source.load().file.policy(brokerUID: CurrentProcess.effectiveUserID)
        } catch {
            throw CommandFailure(.failure, error.description)
        }
        let recent = try await connection.administer(
            "acl.recent", RecentRequest(since: 0), as: RecentDocument.self)
        let changes = Self.changes(recent, under: policy)
        switch format {
        case .json: try Output().write(prettyJSON(changes))
        case .text:
            let text = changes.map { $0.text + "\n" }.joined()
            try Output().write(changes.isEmpty ? "nothing would change\n" : text)
        }
        if !changes.isEmpty { throw CommandFailure(.failure, "") }
    }

    struct Change: Encodable, Hashable {
        /// `subscription` or `decision`.
        let what: String
        let action: String
        let topic: String
        let uid: UInt32
        let openerUID: UInt32
        let session: UInt64?
        let allowedNow: Bool
        let rule: String?
        let line: Int?

        var text: String {
            let via = uid == openerUID ? "" : " via \(openerUID)"
            let place = session.map { " (session \($0))" } ?? ""
            let turn = allowedNow ? "would be denied" : "would be allowed"
            let because =
                rule.map { " by rule \(Printable.quoted($0)), line \(line ?? 0)" }
                ?? ": no rule allows it"
            return "\(what)\(place): \(action) \(Printable.quoted(topic)) by uid \(uid)\(via) "
                + turn + because
        }
    }

    static func changes(_ recent: RecentDocument, under policy: AccessPolicy) -> [Change] {
        var changes: [Change] = []
        for live in recent.subscriptions {
            for filter in live.filters {
                let question = CheckRequest(
                    action: Action.subscribe.name, topic: filter, isFilter: true,
                    subject: live.subject)
                changes += [change(question, live.session, true, policy)].compactMap { $0 }
            }
        }
        var seen: Set<Change> = []
        for record in recent.decisions {
            let isFilter = [Action.subscribe, .block].map(\.name).contains(record.action)
            let question = CheckRequest(
                action: record.action, topic: record.topic, isFilter: isFilter,
                subject: record.subject)
            guard let change = change(question, nil, record.decision.allowed, policy),
                seen.insert(change).inserted
            else { continue }
            changes.append(change)
        }
        return changes
    }

    /// - Parameter session: whose live subscription it is; nil: a decision that was made.
    private static func change(
        _ question: CheckRequest, _ session: UInt64?, _ allowedNow: Bool, _ policy: AccessPolicy
    ) -> Change? {
        guard let action = Action(name: question.action) else { return nil }
        let decision = policy.decide(
            action, Array(question.topic.utf8), isFilter: question.isFilter,
            question.subject.subject)
        guard decision.isAllowed != allowedNow else { return nil }
        let rule = decision.rule.map { policy.rules[$0] }
        return Change(
            what: session == nil ? "decision" : "subscription", action: question.action,
            topic: question.topic, uid: question.subject.uid,
            openerUID: question.subject.openerUID, session: session, allowedNow: allowedNow,
            rule: rule?.name, line: rule?.line)
    }
}
