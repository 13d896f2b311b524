import ArgumentParser
import BrokerServer

/// `broker acl reload`
struct AclReload: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reload", abstract: "Let the running broker read its access file again",
        discussion: """
            It does so by itself when the file changes, and on SIGHUP; this also looks user names \
            up again. If the file is broken the old rules stay in force, and the status is 1.
            """)

    @OptionGroup var connection: ConnectOptions

    init() {}

    func run() async throws {
        let answer = try await connection.administer(
            "acl.reload", NoArguments(), as: ReloadDocument.self)
        if let error = answer.error {
            throw CommandFailure(.failure, "the old rules stay in force:\n\(error)")
        }
        let diagnostics = Diagnostics(command: "acl reload")
        for warning in answer.warnings { diagnostics.note("warning: \(warning)") }
        try Output().write(
            "\(answer.rules) rules in force; \(answer.subscriptionsEnded) subscriptions ended, "
                + "\(answer.deliveriesWithdrawn) queued messages withdrawn\n")
    }
}
