import ArgumentParser
import BrokerConfig
import BrokerCore
import BrokerWire
import LinuxIO

/// `broker acl who`
struct AclWho: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "who", abstract: "Show who may do something",
        discussion: """
            First the users who may by their uid alone, then those of whom a rule asks more: a \
            group, a group of the connection's opener, a user namespace, another broker; last \
            those who may by the name that a [[map]] gives them, with their uid at the other \
            broker. For a filter those are shown who may at least for some of its topics. \
            Connections that are handed on are not looked at: see `broker acl check --opener-uid`.
            """)

    @OptionGroup var question: ActionArguments
    @OptionGroup var file: AccessFileOption

    @Option(help: "How to print the users.")
    var format: OutputFormat = .text

    init() {}

    func validate() throws {
        _ = try target()
    }

    /// Which topics are meant: of `publish`, too, it may be a filter.
    private func target() throws -> (action: Action, topic: [UInt8], isFilter: Bool) {
        let action = try question.value
        let hasWildcard = question.topic.contains { $0 == "#" || $0 == "+" }
        guard action == .publish, hasWildcard else {
            let (topic, isFilter) = try question.target()
            return (action, topic, isFilter)
        }
        return (action, try question.filter(), true)
    }

    struct Entry: Encodable {
        /// Number or range; nil: any.
        var uid: String?
        var user: String?
        var gid: String?
        var openerGroup: String?
        /// Who owns the user namespace.
        var trustDomain: String?
        var origin: String?
        /// The name that the identity map gives them.
        var mapped: String?
        let rule: String
        let line: Int

        init(_ rule: AccessRule, uids: IDRange?) {
            self.rule = rule.name
            line = rule.line
            uid = uids.map(RuleDocument.text)
            user = uids.flatMap { $0.first == $0.last ? Users.name(ofUser: $0.first) : nil }
        }

        init(_ rule: AccessRule, _ condition: AccessSurvey.Condition) {
            self.init(rule, uids: condition.uids)
            if condition.origin != nil { user = nil }
            gid = condition.gids.map(RuleDocument.text)
            openerGroup = condition.openerGroups.map(RuleDocument.text)
            trustDomain = condition.trustDomains.map(RuleDocument.text)
            origin = condition.origin
            mapped = condition.mapped
        }

        var conditions: String {
            [
                gid.map { "gid \($0)" }, openerGroup.map { "opener's group \($0)" },
                trustDomain.map { "namespace of \($0)" }, mapped.map { "mapped to \($0)" },
                origin.map { "from \($0)" },
            ].compactMap { $0 }.joined(separator: ", ")
        }
    }

    func run() throws {
        let policy = try file.policy()
        let (action, topic, isFilter) = try target()
        let survey = AccessSurvey(action, topic, isFilter: isFilter, under: policy)
        var entries: [Entry] = []
        for entry in survey.entries {
            guard case .allowed(let rule) = entry.decision else { continue }
            entries.append(Entry(policy.rules[rule], uids: entry.range))
        }
        let mapped = survey.mapped
        for (who, decision) in survey.conditions + mapped.found {
            guard case .allowed(let rule) = decision else { continue }
            entries.append(Entry(policy.rules[rule], who))
        }
        switch format {
        case .json: try Output().write(prettyJSON(entries))
        case .text: try Output().write(Self.text(entries))
        }
        for entry in mapped.cutShort {
            Diagnostics(command: "acl who").note(
                "the rules treat those that the map in line \(entry.line) names in too many ways: "
                    + "not all of them were looked at, see `broker acl check --origin`")
        }
    }

    private static func text(_ entries: [Entry]) -> String {
        if entries.isEmpty { return "nobody\n" }
        var table = TextTable(["UID", "USER", "IF", "RULE", "LINE"])
        for entry in entries {
            let line = entry.line == 0 ? "" : String(entry.line)
            table.append([
                entry.uid ?? "any", entry.user ?? "", entry.conditions, entry.rule, line,
            ])
        }
        return table.text
    }
}
