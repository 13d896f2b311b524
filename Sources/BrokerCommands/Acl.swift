import ArgumentParser
import BrokerClient
import BrokerConfig
import BrokerCore
import BrokerServer
import FoundationEssentials
import LinuxIO

/// `broker acl`: the access rules.
struct Acl: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "acl",
        abstract: "See, change, explain and test who may do what",
        discussion: """
            Rules stand in one file, \(AccessFileOption.systemPath) unless --acl or $BROKER_ACL \
            names another. Protocol/access-rules.md is the text of its format.
            """,
        subcommands: [
            AclList.self, AclShow.self, AclAllow.self, AclDeny.self, AclRemove.self,
            AclCheck.self, AclWho.self, AclLint.self, AclTry.self, AclLearn.self,
            AclReload.self,
        ])
}

/// Which access file.
struct AccessFileOption: ParsableArguments {
    static let systemPath = "/etc/broker/acl.toml"

    @Option(
        name: .customLong("acl"),
        help: ArgumentHelp(
            "The access file; otherwise $BROKER_ACL, or \(AccessFileOption.systemPath).",
            valueName: "file"),
        completion: .file(extensions: ["toml"]))
    var explicitPath: String?

    init() {}

    var path: String {
        if let explicitPath { return explicitPath }
        let given = ProcessInfo.processInfo.environment["BROKER_ACL"]
        return given.flatMap { $0.isEmpty ? nil : $0 } ?? Self.systemPath
    }

    var source: AccessFileSource {
        AccessFileSource(path: path, brokerUID: CurrentProcess.effectiveUserID)
    }

    func validate() throws {
        if explicitPath == "" { throw ValidationError("--acl needs a path") }
    }

    /// The file as it is, or why it is not usable.
    func load() throws(CommandFailure) -> AccessFileSource.Loaded {
        do throws(AccessFileSource.Failure) {
            return try source.load()
        } catch {
            let advice =
                error.isMissing ? "; `broker acl allow` makes one, --acl names another" : ""
            throw CommandFailure(.failure, error.description + advice)
        }
    }

    func policy() throws(CommandFailure) -> AccessPolicy {
        try load().file.policy(brokerUID: CurrentProcess.effectiveUserID)
    }
}

extension ConnectOptions {
    /// Asks a running broker for administration.
    func administer(_ command: String, _ arguments: [UInt8]) async throws -> [UInt8] {
        do throws(BrokerClientError) {
            let client = try await BrokerClient.connect(configuration(clientName: "broker acl"))
            let answer = try await client.administer(command, arguments)
            await client.close()
            return answer
        } catch {
            throw failure(error)
        }
    }

    func administer<Answer: Decodable>(
        _ command: String, _ arguments: some Encodable, as type: Answer.Type
    ) async throws -> Answer {
        let answer = try await administer(command, Array(JSONEncoder().encode(arguments)))
        do {
            return try JSONDecoder().decode(type, from: Data(answer))
        } catch {
            throw CommandFailure(.failure, "the broker's answer is not understood: \(error)")
        }
    }
}

/// Arguments of commands that need none.
struct NoArguments: Codable {}

/// Whom a rule is about and what it says: the options of `allow` and `deny`.
struct RuleOptions: ParsableArguments {
    @Argument(help: "publish, subscribe, inspect, block or administer.")
    var action: String

    @Argument(help: "Topic filters, with %u, %g, %n and %o for what is known of the sender.")
    var topics: [String] = []

    @Option(
        name: .customLong("uid"),
        help: ArgumentHelp("Attested user: number, name, range or any.", valueName: "user"))
    var uids: [String] = []

    @Option(
        name: .customLong("gid"),
        help: ArgumentHelp("Attested group: number, name or range.", valueName: "group"))
    var gids: [String] = []

    @Option(
        name: .customLong("opener-group"),
        help: ArgumentHelp(
            "Supplementary group of who opened the connection.", valueName: "group"))
    var openerGroups: [String] = []

    @Option(
        name: .customLong("trust-domain"),
        help: ArgumentHelp(
            "Owner of the user namespace that the connection comes from.", valueName: "user"))
    var trustDomains: [String] = []

    @Option(
        name: .customLong("level"),
        help: ArgumentHelp("kernel, claimable or remote.", valueName: "level"))
    var levels: [String] = []

    @Option(
        name: .customLong("origin"),
        help: ArgumentHelp("Broker that attested the message; * for any text.", valueName: "name"))
    var origins: [String] = []

    @Option(
        name: .customLong("user"),
        help: ArgumentHelp("Name that [[map]] gives a sender of another broker.", valueName: "name")
    )
    var users: [String] = []

    @Flag(help: "The opener of the connection need not be allowed too.")
    var delegated = false

    @Option(help: ArgumentHelp("Name of the rule.", valueName: "text"))
    var name: String?

    init() {}

    func draft(allows: Bool) throws -> RuleDraft {
        guard let action = Action(name: action) else {
            throw ValidationError(
                "'\(action)' is none of \(Action.allCases.map(\.name).joined(separator: ", "))")
        }
        if action.needsTopic && topics.isEmpty {
            throw ValidationError("which topics? \"#\" stands for all but the broker's own")
        }
        let words = [allows ? "allow" : "deny", action.name] + topics.prefix(3)
        let who = (uids + gids + openerGroups + trustDomains + users).prefix(3).joined(
            separator: ", ")
        let whose = origins.isEmpty ? "" : " of " + origins.prefix(3).joined(separator: ", ")
        var draft = RuleDraft(name: name ?? words.joined(separator: " ") + " for " + who + whose)
        draft.uids = uids
        draft.gids = gids
        draft.openerGroups = openerGroups
        draft.trustDomains = trustDomains
        draft.levels = levels
        draft.origins = origins
        draft.users = users
        draft.isDelegated = delegated
        if allows { draft.allows = [action] } else { draft.denies = [action] }
        draft.topics = topics
        return draft
    }
}

/// What all commands that change the file do.
struct AclEdit {
    let file: AccessFileOption
    let connection: ConnectOptions
    let diagnostics: Diagnostics

    /// Changes the file if the result loads, and lets a running broker know.
    func perform(
        _ change: (_ text: [UInt8]) throws(ConfigurationError) -> [UInt8]
    ) async throws {
        let result: AccessFile
        do throws(AccessFileSource.Failure) {
            result = try file.source.edit(change)
        } catch {
            throw CommandFailure(.failure, "nothing was changed:\n\(error)")
        }
        for warning in result.warnings.report() { diagnostics.note("warning: \(warning)") }
        await tellBroker()
    }

    /// The file is changed already: whatever happens here is no failure.
    private func tellBroker() async {
        do {
            let answer = try await connection.administer(
                "acl.reload", NoArguments(), as: ReloadDocument.self)
            if let error = answer.error {
                diagnostics.note("the running broker keeps its old rules: \(error)")
            } else if answer.path == nil {
                diagnostics.note(
                    "the running broker was started without an access file: start it again with "
                        + "--acl \(file.source.path)")
            } else if let path = answer.path, path != file.source.path {
                diagnostics.note("the running broker uses another file: \(path)")
            } else {
                diagnostics.note("the running broker has \(counted(answer.rules, "rule")) in force")
            }
        } catch let failure as CommandFailure where failure.status == .brokerUnavailable {
            diagnostics.note("no broker is running here: the rules hold from its next start on")
        } catch {
            diagnostics.note("the running broker was not told: \(error)")
        }
    }
}
