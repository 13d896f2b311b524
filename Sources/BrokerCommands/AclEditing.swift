import ArgumentParser
import BrokerConfig
import BrokerCore

/// `broker acl allow`
struct AclAllow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "allow", abstract: "Add a rule that allows something",
        discussion: """
            Appends the rule to the file, which keeps its comments and order, and tells a running \
            broker. Nothing is changed if the result would not load.
            """)

    @OptionGroup var addition: RuleAddition

    init() {}

    func run() async throws {
        try await addition.perform(allows: true)
    }
}

/// `broker acl deny`
struct AclDeny: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "deny", abstract: "Add a rule that denies something, whatever others allow",
        discussion: """
            Appends the rule to the file, as `broker acl allow` does.
            """)

    @OptionGroup var addition: RuleAddition

    init() {}

    func run() async throws {
        try await addition.perform(allows: false)
    }
}

/// What `allow` and `deny` have in common: all but the word.
struct RuleAddition: ParsableArguments {
    @OptionGroup var rule: RuleOptions
    @OptionGroup var file: AccessFileOption
    @OptionGroup var connection: ConnectOptions

    init() {}

    func validate() throws {
        _ = try rule.draft(allows: true)
    }

    func perform(allows: Bool) async throws {
        let draft = try rule.draft(allows: allows)
        let edit = AclEdit(
            file: file, connection: connection,
            diagnostics: Diagnostics(command: allows ? "acl allow" : "acl deny"))
        try await edit.perform { text throws(ConfigurationError) in
            AccessFileEdit.appending(draft, to: text)
        }
    }
}

/// `broker acl remove`
struct AclRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Remove a rule by its name, or by its number in the list")

    @Argument(help: "Name or number, as `broker acl list` shows them.")
    var rule: String

    @OptionGroup var file: AccessFileOption
    @OptionGroup var connection: ConnectOptions

    init() {}

    func run() async throws {
        let edit = AclEdit(
            file: file, connection: connection, diagnostics: Diagnostics(command: "acl remove"))
        try await edit.perform { text throws(ConfigurationError) in
            let rules = try AccessFile(parsing: text).rules
            return try AccessFileEdit.removing(
                ruleAt: try RuleChoice.index(of: rule, in: rules), from: text)
        }
    }
}

/// A rule named on the command line.
enum RuleChoice {
    static func index(
        of text: String, in rules: [AccessRule]
    ) throws(ConfigurationError) -> Int {
        if let index = rules.firstIndex(where: { $0.name == text }) { return index }
        if let number = Int(text), (1...max(1, rules.count)).contains(number), !rules.isEmpty {
            return number - 1
        }
        throw ConfigurationError(
            "there is no rule \(Printable.quoted(text)): see `broker acl list`")
    }
}
