import BrokerCore
import BrokerWire

/// Turns the tables of an access file into rules and quotas, and collects everything that is
/// wrong with them, each with its line.
struct AccessFileReader {
    private let lines: TOMLLines
    private let names: NameDirectory
    private(set) var rules: [AccessRule] = []
    private(set) var quotas = QuotaSettings()
    private(set) var problems: [ConfigurationProblem] = []
    private(set) var warnings: [ConfigurationProblem] = []

    init(lines: TOMLLines, names: NameDirectory) {
        self.lines = lines
        self.names = names
    }

    mutating func read(_ members: [String: TOMLTree]) {
        let top = lines.sections[0]
        for key in members.keys.sorted() where !["version", "rule", "quota"].contains(key) {
            let line = top.keys[key] ?? lines.first(key)?.line ?? 0
            problem(line, "unknown key '\(key)': there are version, rule and quota")
        }
        switch members["version"] {
        case .integer(1): break
        case nil:
            problem(1, "'version = 1' is missing: the file may be cut off, or of another kind")
        case .integer(let version):
            problem(top.keys["version"] ?? 1, "version \(version) is not known, only 1")
        case .some(let other):
            problem(top.keys["version"] ?? 1, "version is 1, not \(other.kind)")
        }
        if let rules = members["rule"] { readRules(rules) }
        if let quota = members["quota"] { readQuotas(quota) }
    }

    private mutating func problem(_ line: Int, _ text: String) {
        problems.append(ConfigurationProblem(line: line, text))
    }

    private mutating func warn(_ line: Int, _ text: String) {
        warnings.append(ConfigurationProblem(line: line, text))
    }

    // MARK: Rules

    private mutating func readRules(_ tree: TOMLTree) {
        guard case .array(let tables) = tree else {
            let line = lines.first("rule")?.line ?? lines.sections[0].keys["rule"] ?? 0
            return problem(line, "rules begin with [[rule]], in two pairs of brackets")
        }
        guard tables.count <= AccessFile.rulesMax else {
            return problem(0, "more than \(AccessFile.rulesMax) rules")
        }
        let sections = lines.elements(of: "rule")
        let inline = lines.sections[0].keys["rule"] ?? 0
        var linesOfNames: [String: Int] = [:]
        for (index, table) in tables.enumerated() {
            let section =
                index < sections.count
                ? sections[index]
                : TOMLLines.Section(
                    name: "rule", isArrayElement: true, line: inline, lastLine: inline)
            guard case .table(let members) = table else {
                problem(section.line, "a rule is a table, not \(table.kind)")
                continue
            }
            let rule = readRule(members, section, index: index)
            if let first = linesOfNames[rule.name] {
                problem(
                    section.keys["name"] ?? section.line,
                    "the name \(rule.name.debugDescription) is taken by the rule in line \(first)")
            } else {
                linesOfNames[rule.name] = section.line
            }
            rules.append(rule)
        }
    }

    static let ruleKeys = [
        "name", "uid", "gid", "opener_groups", "trust_domain", "level", "origin", "delegated",
        "allow", "deny", "topics",
    ]

    private mutating func readRule(
        _ members: [String: TOMLTree], _ section: TOMLLines.Section, index: Int
    ) -> AccessRule {
        func line(_ key: String) -> Int { section.keys[key] ?? section.line }
        for key in members.keys.sorted() where !Self.ruleKeys.contains(key) {
            problem(
                line(key),
                "unknown key '\(key)': a rule has \(Self.ruleKeys.joined(separator: ", "))")
        }
        var rule = AccessRule(name: "rule \(index + 1)", line: section.line)
        if let name = members["name"] { readName(name, line("name"), into: &rule) }
        rule.allows = readActions(members["allow"], line("allow"))
        rule.denies = readActions(members["deny"], line("deny"))
        readSubject(members, section, into: &rule)
        if let tree = members["level"] { rule.levels = readLevels(tree, line("level")) }
        if let tree = members["origin"] { rule.origins = readOrigins(tree, line("origin")) }
        switch members["delegated"] {
        case nil: break
        case .boolean(let flag): rule.isDelegated = flag
        case .some(let other):
            problem(line("delegated"), "delegated is true or false, not \(other.kind)")
        }
        if let tree = members["topics"] { rule.topics = readTopics(tree, line("topics")) }
        check(rule, members, section)
        return rule
    }

    private mutating func check(
        _ rule: AccessRule, _ members: [String: TOMLTree], _ section: TOMLLines.Section
    ) {
        if members["allow"] == nil && members["deny"] == nil {
            problem(section.line, "the rule neither allows nor denies anything")
        }
        let both = rule.allows.intersection(rule.denies).actions.map(\.name)
        if !both.isEmpty {
            let line = section.keys["deny"] ?? section.line
            problem(line, "the rule both allows and denies to \(both.joined(separator: ", "))")
        }
        let actions = rule.allows.union(rule.denies).actions
        if actions.contains(where: \.needsTopic) && members["topics"] == nil {
            problem(
                section.line,
                "topics are missing: \"#\" stands for all but the broker's own, "
                    + "\"$SYS/#\" for those"
            )
        }
        if !actions.isEmpty && !actions.contains(where: \.needsTopic) && members["topics"] != nil {
            warn(
                section.keys["topics"] ?? section.line,
                "topics mean nothing for \(actions.map(\.name).joined(separator: " and "))")
        }
        let selectors = ["uid", "gid", "opener_groups", "trust_domain"]
        if !selectors.contains(where: { members[$0] != nil }) {
            problem(
                section.line,
                "the rule names nobody: add uid, gid, opener_groups or trust_domain; "
                    + "uid = \"any\" stands for everybody")
        }
    }

    private mutating func readName(_ tree: TOMLTree, _ line: Int, into rule: inout AccessRule) {
        guard case .string(let name) = tree else {
            return problem(line, "a name is a string, not \(tree.kind)")
        }
        let isPrintable = name.unicodeScalars.allSatisfy {
            $0.properties.generalCategory != .control
        }
        guard (1...128).contains(name.utf8.count), isPrintable else {
            return problem(line, "a name has 1 to 128 bytes and no control characters")
        }
        rule.name = name
    }

    private mutating func readActions(_ tree: TOMLTree?, _ line: Int) -> ActionSet {
        guard let tree else { return [] }
        let texts = strings(tree, line, "actions")
        if texts.isEmpty { problem(line, "an empty list of actions says nothing") }
        let known = Action.allCases.map(\.name).joined(separator: ", ")
        var actions: [Action] = []
        for text in texts {
            if let action = Action(name: text) {
                actions.append(action)
            } else {
                problem(line, "unknown action \(text.debugDescription): there are \(known)")
            }
        }
        return ActionSet(actions)
    }

    private mutating func readSubject(
        _ members: [String: TOMLTree], _ section: TOMLLines.Section, into rule: inout AccessRule
    ) {
        let isOnlyAllowing = rule.denies.isEmpty
        func ranges(_ list: IdentityList) -> [IDRange] {
            if list.isAny { return [] }
            return isOnlyAllowing ? list.rangesForAllowing : list.ranges
        }
        rule.uids = readList(members, "uid", .user, section).map(ranges) ?? []
        rule.gids = readList(members, "gid", .group, section).map(ranges) ?? []
        rule.openerGroups = readList(members, "opener_groups", .group, section).map(ranges) ?? []
        rule.trustDomains = readList(members, "trust_domain", .user, section).map(ranges) ?? []
        for key in ["opener_groups", "trust_domain"] {
            let isAny = readsAny(members[key])
            if isAny { problem(section.keys[key] ?? section.line, "'\(key)' cannot be \"any\"") }
        }
    }

    private func readsAny(_ tree: TOMLTree?) -> Bool {
        switch tree {
        case .string("any"), .string("*"): true
        case .array(let values): values.contains(.string("any")) || values.contains(.string("*"))
        default: false
        }
    }

    private mutating func readList(
        _ members: [String: TOMLTree], _ key: String, _ kind: IdentityList.Kind,
        _ section: TOMLLines.Section
    ) -> IdentityList? {
        guard let tree = members[key] else { return nil }
        let line = section.keys[key] ?? section.line
        let list = IdentityList(tree, kind, names)
        for text in list.problems { problem(line, text) }
        for text in list.warnings { warn(line, text) }
        return list
    }

    private mutating func readLevels(_ tree: TOMLTree, _ line: Int) -> [SenderRecord.Level] {
        let known: [String: SenderRecord.Level] = [
            "kernel": .kernel, "claimable": .claimable, "remote": .remote,
        ]
        return strings(tree, line, "levels").compactMap { text in
            if let level = known[text] { return level }
            problem(
                line,
                "unknown level \(text.debugDescription): there are kernel, claimable and remote")
            return nil
        }
    }

    private mutating func readOrigins(_ tree: TOMLTree, _ line: Int) -> [[UInt8]] {
        let texts = strings(tree, line, "brokers")
        if texts.isEmpty { problem(line, "an empty list of origins matches no broker") }
        if texts.contains("") { problem(line, "a broker has a name: \"*\" stands for any") }
        return texts.map { Array($0.utf8) }
    }

    private mutating func readTopics(_ tree: TOMLTree, _ line: Int) -> [TopicPattern] {
        let texts = strings(tree, line, "topic filters")
        if texts.isEmpty { problem(line, "an empty list of topics matches nothing") }
        return texts.compactMap { text in
            do throws(TopicPattern.Violation) {
                return try TopicPattern(text)
            } catch {
                problem(line, "topic \(text.debugDescription) cannot be used: \(error)")
                return nil
            }
        }
    }

    private mutating func strings(_ tree: TOMLTree, _ line: Int, _ what: String) -> [String] {
        let values: [TOMLTree] =
            switch tree {
            case .array(let values): values
            default: [tree]
            }
        return values.compactMap { value in
            if case .string(let text) = value { return text }
            problem(line, "\(what) are strings, not \(value.kind)")
            return nil
        }
    }

    // MARK: Quotas

    private mutating func readQuotas(_ tree: TOMLTree) {
        let section = lines.first("quota")
        let line = section?.line ?? 0
        guard case .table(let members) = tree else {
            return problem(line, "[quota] is a table, not \(tree.kind)")
        }
        quotas.defaults = readLimits(members, section, from: QuotaLimits(), besides: ["user"])
        guard let users = members["user"] else { return }
        guard case .array(let tables) = users else {
            return problem(line, "quotas of users begin with [[quota.user]]")
        }
        let sections = lines.elements(of: "quota.user")
        for (index, table) in tables.enumerated() {
            let section = index < sections.count ? sections[index] : nil
            let line = section?.line ?? line
            guard case .table(let members) = table else {
                problem(line, "a quota is a table, not \(table.kind)")
                continue
            }
            guard let tree = members["uid"] else {
                problem(line, "uid is missing: whose quota is it?")
                continue
            }
            let list = IdentityList(tree, .user, names)
            for text in list.problems { problem(section?.keys["uid"] ?? line, text) }
            if list.isAny { problem(line, "[quota] itself holds for any user") }
            let limits = readLimits(members, section, from: quotas.defaults, besides: ["uid"])
            quotas.users.append(QuotaSettings.User(ranges: list.ranges, limits: limits))
        }
    }

    private mutating func readLimits(
        _ members: [String: TOMLTree], _ section: TOMLLines.Section?, from base: QuotaLimits,
        besides others: [String]
    ) -> QuotaLimits {
        var limits = base
        for (key, value) in members.sorted(by: { $0.key < $1.key }) where !others.contains(key) {
            let line = section?.keys[key] ?? section?.line ?? 0
            guard let path = Self.quotaKeys[key] else {
                let known = Self.quotaKeys.keys.sorted().joined(separator: ", ")
                problem(line, "unknown key '\(key)': a quota has \(known)")
                continue
            }
            guard case .integer(let number) = value, (1...1 << 40).contains(number) else {
                problem(line, "\(key) is a number from 1 up")
                continue
            }
            limits[keyPath: path] = number
        }
        return limits
    }

    private static var quotaKeys: [String: WritableKeyPath<QuotaLimits, Int>] {
        [
            "connections": \.connections, "greetings": \.greetings,
            "subscriptions": \.subscriptions, "queued_bytes": \.queuedBytes,
            "messages_per_second": \.messagesPerSecond, "message_burst": \.messageBurst,
            "bytes_per_second": \.bytesPerSecond, "byte_burst": \.byteBurst,
        ]
    }
}
