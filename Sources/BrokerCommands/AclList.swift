import ArgumentParser
import BrokerConfig
import BrokerCore
import BrokerWire
import LinuxIO

/// `broker acl list`
struct AclList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the rules in the order of the file")

    @OptionGroup var file: AccessFileOption

    @Option(help: "How to print the rules.")
    var format: OutputFormat = .text

    init() {}

    func run() throws {
        let loaded = try file.load().file
        let diagnostics = Diagnostics(command: "acl list")
        for warning in loaded.warnings.report() { diagnostics.note("warning: \(warning)") }
        let documents = loaded.rules.enumerated().map { RuleDocument($1, number: $0 + 1) }
        switch format {
        case .json: try Output().write(prettyJSON(documents))
        case .text: try Output().write(Self.table(documents))
        }
    }

    static func table(_ rules: [RuleDocument]) -> String {
        var table = TextTable(["RULE", "LINE", "NAME", "WHO", "MAY", "TOPICS"])
        for rule in rules {
            table.append([
                String(rule.number), String(rule.line), rule.name, rule.who, rule.may,
                rule.topics.joined(separator: " "),
            ])
        }
        return table.text
    }
}

/// `broker acl show`
struct AclShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show one rule as it is written and what its names mean")

    @Argument(help: "Name or number, as `broker acl list` shows them.")
    var rule: String

    @OptionGroup var file: AccessFileOption

    @Option(help: "How to print the rule.")
    var format: OutputFormat = .text

    init() {}

    func run() throws {
        let loaded = try file.load()
        let index: Int
        do throws(ConfigurationError) {
            index = try RuleChoice.index(of: rule, in: loaded.file.rules)
        } catch {
            throw CommandFailure(.failure, error.description)
        }
        let document = RuleDocument(loaded.file.rules[index], number: index + 1)
        switch format {
        case .json:
            try Output().write(prettyJSON(document))
        case .text:
            let text = AccessFileEdit.text(ofRuleAt: index, in: loaded.text)
            try Output().write(
                "# \(Printable.escaped(file.path)), line \(document.line)\n\(text)"
                    + "# who: \(Printable.escaped(document.who))\n")
        }
    }
}

/// A rule as it is in force: numbers, no names.
struct RuleDocument: Codable, Equatable {
    let number: Int
    let line: Int
    let name: String
    let uid: [String]
    let gid: [String]
    let openerGroups: [String]
    let trustDomain: [String]
    let level: [String]
    let origin: [String]
    let user: [String]
    let delegated: Bool
    let allow: [String]
    let deny: [String]
    let topics: [String]

    init(_ rule: AccessRule, number: Int) {
        self.number = number
        line = rule.line
        name = rule.name
        uid = rule.uids.map(Self.text)
        gid = rule.gids.map(Self.text)
        openerGroups = rule.openerGroups.map(Self.text)
        trustDomain = rule.trustDomains.map(Self.text)
        level = rule.levels.map { "\($0)" }
        origin = rule.origins.map { String(decoding: $0, as: UTF8.self) }
        user = rule.users
        delegated = rule.isDelegated
        allow = rule.allows.actions.map(\.name)
        deny = rule.denies.actions.map(\.name)
        topics = rule.topics.map(\.text)
    }

    static func text(_ range: IDRange) -> String {
        range.first == range.last ? "\(range.first)" : "\(range.first)-\(range.last)"
    }

    var who: String {
        var parts: [String] = []
        if !uid.isEmpty { parts.append("uid " + uid.joined(separator: ",")) }
        if !gid.isEmpty { parts.append("gid " + gid.joined(separator: ",")) }
        if !openerGroups.isEmpty {
            parts.append("opener's groups " + openerGroups.joined(separator: ","))
        }
        if !trustDomain.isEmpty {
            parts.append("namespace of " + trustDomain.joined(separator: ","))
        }
        if !user.isEmpty { parts.append("mapped to " + user.joined(separator: ",")) }
        if parts.isEmpty { parts.append("anybody") }
        if !level.isEmpty { parts.append("level " + level.joined(separator: ",")) }
        if !origin.isEmpty { parts.append("from " + origin.joined(separator: ",")) }
        if delegated { parts.append("delegated") }
        return parts.joined(separator: "; ")
    }

    var may: String {
        var parts: [String] = []
        if !allow.isEmpty { parts.append(allow.joined(separator: ",")) }
        if !deny.isEmpty { parts.append("not " + deny.joined(separator: ",")) }
        return parts.joined(separator: "; ")
    }
}
