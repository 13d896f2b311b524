import ArgumentParser
import BrokerServer

/// `broker acl reload`
struct AclReload: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reload",
        abstract: "Let the running broker read its access file and its links again",
        discussion: """
            It does so by itself when a file changes, and on SIGHUP; this also looks user names \
            up again. If a file is broken its old rules or links stay in force, and the status is 1.
            """)

    @OptionGroup var connection: ConnectOptions

    init() {}

    func run() async throws {
        let answer = try await connection.administer(
            "acl.reload", NoArguments(), as: ReloadDocument.self)
        if let error = answer.links?.error {
            throw CommandFailure(.failure, "the old links stay in force:\n\(error)")
        }
        if let error = answer.error {
            throw CommandFailure(.failure, "the old rules stay in force:\n\(error)")
        }
        let diagnostics = Diagnostics(command: "acl reload")
        for warning in answer.warnings { diagnostics.note("warning: \(warning)") }
        let change =
            answer.changed == false
            ? ", as before"
            : "; \(counted(answer.subscriptionsEnded, "subscription")) ended, "
                + "\(counted(answer.deliveriesWithdrawn, "queued message")) withdrawn"
        try Output().write(
            "\(counted(answer.rules, "rule")) in force\(change)\n"
                + (answer.links.map(Self.text) ?? ""))
    }

    private static func text(_ links: LinkReloadDocument) -> String {
        var changes = [
            ("added", links.added), ("removed", links.removed), ("restarted", links.restarted),
            ("changed", links.adapted),
        ].filter { !$0.1.isEmpty }.map { change, peers in
            "\(change) " + peers.map { Printable.escaped($0) }.joined(separator: ", ")
        }
        if let withdrawn = links.deliveriesWithdrawn, withdrawn > 0 {
            changes.append("\(counted(withdrawn, "queued message")) withdrawn")
        }
        return "links: " + (changes.isEmpty ? "as before" : changes.joined(separator: "; ")) + "\n"
    }
}
