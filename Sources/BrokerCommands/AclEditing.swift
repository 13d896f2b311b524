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
            let rules = (try? AccessFile(parsing: text))?.rules ?? []
            if let same = rules.first(where: { $0.name == draft.name }) {
                throw ConfigurationError(
                    "there is a rule \(Printable.quoted(same.name)) already, in line \(same.line): "
                        + "`broker acl show` shows it, and --name gives this one another name")
            }
            return AccessFileEdit.appending(draft, to: text)
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
        let diagnostics = Diagnostics(command: "acl remove")
        let edit = AclEdit(file: file, connection: connection, diagnostics: diagnostics)
        var removed = ""
        try await edit.perform { text throws(ConfigurationError) in
            let rules = try AccessFile(parsing: text).rules
            let index = try RuleChoice.index(of: rule, in: rules)
            removed = rules[index].name
            return try AccessFileEdit.removing(ruleAt: index, from: text)
        }
        diagnostics.note("removed rule \(Printable.quoted(removed))")
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
