import BrokerCore
import BrokerWire

/// Turns the tables of an access file into rules and quotas, and collects everything that is
/// wrong with them, each with its line.
struct AccessFileReader {
    private var names: NameLookup
    private(set) var rules: [AccessRule] = []
    private(set) var quotas = QuotaSettings()
    private(set) var map = IdentityMap()
    private(set) var problems: [ConfigurationProblem] = []
    private(set) var warnings: [ConfigurationProblem] = []

    init(names: NameDirectory) {
        self.names = NameLookup(names)
    }

    mutating func read(_ root: TOMLSection) {
        for (key, line) in root.keys(besides: ["version", "rule", "quota", "map"]) {
            problem(line, "unknown key '\(key)': there are version, rule, quota and map")
        }
        switch root["version"]?.value {
        case .integer(1): break
        case nil:
            problem(1, "'version = 1' is missing: the file may be cut off, or of another kind")
        case .integer(let version):
            problem(root["version"]?.line ?? 1, "version \(version) is not known, only 1")
        case .some(let other):
            problem(root["version"]?.line ?? 1, "version is 1, not \(other.kind)")
        }
        if let rules = root["rule"] { readRules(rules) }
        if let quota = root["quota"] { readQuotas(quota) }
        if let map = root["map"] { readMap(map) }
    }

    private mutating func problem(_ line: Int, _ text: String) {
        problems.append(ConfigurationProblem(line: line, text))
    }

    private mutating func warn(_ line: Int, _ text: String) {
        warnings.append(ConfigurationProblem(line: line, text))
    }

    private mutating func readMap(_ entry: TOMLSection.Entry) {
        let reader = IdentityMapReader(entry)
        problems += reader.problems
        warnings += reader.warnings
        if reader.problems.isEmpty { map = IdentityMap(reader.entries) }
    }

    // MARK: Rules

    private mutating func readRules(_ entry: TOMLSection.Entry) {
        guard case .array(let tables) = entry.value else {
            return problem(entry.line, "rules begin with [[rule]], in two pairs of brackets")
        }
        guard tables.count <= AccessFile.rulesMax else {
            return problem(0, "more than \(AccessFile.rulesMax) rules")
        }
        rules.reserveCapacity(tables.count)
        var linesOfNames = [String: Int](minimumCapacity: tables.count)
        for (index, table) in tables.enumerated() {
            guard case .table(let section) = table else {
                problem(entry.line, "a rule is a table, not \(table.kind)")
                continue
            }
            let rule = readRule(section, index: index)
            if let first = linesOfNames[rule.name] {
                problem(
                    section["name"]?.line ?? section.line,
                    "the name \(rule.name.debugDescription) is taken by the rule in line \(first)")
            } else {
                linesOfNames[rule.name] = section.line
            }
            rules.append(rule)
        }
    }

    static let ruleKeys = [
        "name", "uid", "gid", "opener_groups", "trust_domain", "level", "origin", "user",
        "delegated", "allow", "deny", "topics",
    ]
    private static let knownRuleKeys = Set(ruleKeys)

    private mutating func readRule(_ section: TOMLSection, index: Int) -> AccessRule {
        for (key, line) in section.keys(besides: Self.knownRuleKeys) {
            problem(
                line,
                "unknown key '\(key)': a rule has \(Self.ruleKeys.joined(separator: ", "))")
        }
        var rule = AccessRule(name: "rule \(index + 1)", line: section.line)
        if let name = section["name"] { readName(name, into: &rule) }
        rule.allows = readActions(section["allow"])
        rule.denies = readActions(section["deny"])
        readSubject(section, into: &rule)
        if let levels = section["level"] { rule.levels = readLevels(levels) }
        if let origins = section["origin"] { rule.origins = readOrigins(origins) }
        if let users = section["user"] { rule.users = readUsers(users) }
        if let delegated = section["delegated"] {
            if case .boolean(let flag) = delegated.value {
                rule.isDelegated = flag
            } else {
                problem(
                    delegated.line, "delegated is true or false, not \(delegated.value.kind)")
            }
        }
        if let topics = section["topics"] { rule.topics = readTopics(topics) }
        check(rule, section)
        return rule
    }

    private mutating func check(_ rule: AccessRule, _ section: TOMLSection) {
        if section["allow"] == nil && section["deny"] == nil {
            problem(section.line, "the rule neither allows nor denies anything")
        }
        let both = rule.allows.intersection(rule.denies)
        if !both.isEmpty {
            let names = both.actions.map(\.name).joined(separator: ", ")
            problem(
                section["deny"]?.line ?? section.line,
                "the rule both allows and denies to \(names)")
        }
        let actions = rule.allows.union(rule.denies)
        let topics = section["topics"]
        if actions.needsTopic && topics == nil {
            problem(
                section.line,
                "topics are missing: \"#\" stands for all but the broker's own, "
                    + "\"$SYS/#\" for those"
            )
        }
        if let topics, !actions.isEmpty, !actions.needsTopic {
            let names = actions.actions.map(\.name).joined(separator: " and ")
            warn(topics.line, "topics mean nothing for \(names)")
        }
        let selectors = ["uid", "gid", "opener_groups", "trust_domain", "user"]
        if !selectors.contains(where: { section[$0] != nil }) {
            problem(
                section.line,
                "the rule names nobody: add uid, gid, opener_groups, trust_domain or user; "
                    + "uid = \"any\" stands for everybody")
        }
    }

    private mutating func readName(_ entry: TOMLSection.Entry, into rule: inout AccessRule) {
        guard case .string(let name) = entry.value else {
            return problem(entry.line, "a name is a string, not \(entry.value.kind)")
        }
        let isPrintable = name.unicodeScalars.allSatisfy {
            $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value)
        }
        guard (1...128).contains(name.utf8.count), isPrintable else {
            return problem(entry.line, "a name has 1 to 128 bytes and no control characters")
        }
        rule.name = name
    }

    private mutating func readActions(_ entry: TOMLSection.Entry?) -> ActionSet {
        guard let entry else { return [] }
        let texts = strings(entry, "actions", ifNone: "an empty list of actions says nothing")
        var actions: [Action] = []
        for text in texts {
            if let action = Action(name: text) {
                actions.append(action)
            } else {
                let known = Action.allCases.map(\.name).joined(separator: ", ")
                problem(
                    entry.line, "unknown action \(text.debugDescription): there are \(known)")
            }
        }
        return ActionSet(actions)
    }

    private mutating func readSubject(_ section: TOMLSection, into rule: inout AccessRule) {
        let isOnlyAllowing = rule.denies.isEmpty
        func ranges(_ list: IdentityList) -> [IDRange] {
            if list.isAny { return [] }
            return isOnlyAllowing ? list.rangesForAllowing : list.ranges
        }
        rule.uids = readList(section["uid"], .user).map(ranges) ?? []
        rule.gids = readList(section["gid"], .group).map(ranges) ?? []
        for (key, kind, place) in Self.openerKeys {
            guard let entry = section[key], let list = readList(entry, kind) else { continue }
            if list.isAny { problem(entry.line, "'\(key)' cannot be \"any\"") }
            rule[keyPath: place] = ranges(list)
        }
    }

    private static var openerKeys:
        [(key: String, kind: IdentityKind, place: WritableKeyPath<AccessRule, [IDRange]>)]
    {
        [
            ("opener_groups", .group, \.openerGroups),
            ("trust_domain", .user, \.trustDomains),
        ]
    }

    private mutating func readList(
        _ entry: TOMLSection.Entry?, _ kind: IdentityKind
    ) -> IdentityList? {
        guard let entry else { return nil }
        let list = IdentityList(entry.value, kind, &names)
        for text in list.problems { problem(entry.line, text) }
        for text in list.warnings { warn(entry.line, text) }
        return list
    }

    private mutating func readLevels(_ entry: TOMLSection.Entry) -> [SenderRecord.Level] {
        let known: [String: SenderRecord.Level] = [
            "kernel": .kernel, "claimable": .claimable, "remote": .remote,
        ]
        // Without the key all levels are meant; a list from which all were taken is no such rule.
        let texts = strings(
            entry, "levels",
            ifNone: "an empty list of levels matches nobody: there are kernel, claimable and remote"
        )
        return texts.compactMap { text in
            if let level = known[text] { return level }
            problem(
                entry.line,
                "unknown level \(text.debugDescription): there are kernel, claimable and remote")
            return nil
        }
    }

    private mutating func readOrigins(_ entry: TOMLSection.Entry) -> [[UInt8]] {
        let texts = strings(
            entry, "brokers", ifNone: "an empty list of origins matches no broker")
        for text in texts where !OriginPattern.canMatch(text) {
            problem(entry.line, OriginPattern.refusal(of: text))
        }
        return texts.map { Array($0.utf8) }
    }

    private mutating func readUsers(_ entry: TOMLSection.Entry) -> [String] {
        let texts = strings(
            entry, "names of the map", ifNone: "an empty list of users matches nobody")
        if texts.contains("") { problem(entry.line, "nobody has an empty name") }
        return texts
    }

    private mutating func readTopics(_ entry: TOMLSection.Entry) -> [TopicPattern] {
        let texts = strings(
            entry, "topic filters", ifNone: "an empty list of topics matches nothing")
        return texts.compactMap { text in
            do throws(TopicPattern.Violation) {
                return try TopicPattern(text)
            } catch {
                problem(entry.line, "topic \(text.debugDescription) cannot be used: \(error)")
                return nil
            }
        }
    }

    private mutating func strings(
        _ entry: TOMLSection.Entry, _ what: String, ifNone: String
    ) -> [String] {
        let values = entry.value.elements
        if values.isEmpty { problem(entry.line, ifNone) }
        return values.compactMap { value in
            if case .string(let text) = value { return text }
            problem(entry.line, "\(what) are strings, not \(value.kind)")
            return nil
        }
    }

    // MARK: Quotas

    private mutating func readQuotas(_ entry: TOMLSection.Entry) {
        guard case .table(let section) = entry.value else {
            return problem(entry.line, "[quota] is a table, not \(entry.value.kind)")
        }
        quotas.defaults = readLimits(section, from: QuotaLimits(), besides: "user")
        guard let users = section["user"] else { return }
        guard case .array(let tables) = users.value else {
            return problem(users.line, "quotas of users begin with [[quota.user]]")
        }
        for table in tables {
            guard case .table(let section) = table else {
                problem(users.line, "a quota is a table, not \(table.kind)")
                continue
            }
            guard let list = readList(section["uid"], .user) else {
                problem(section.line, "uid is missing: whose quota is it?")
                continue
            }
            if list.isAny { problem(section.line, "[quota] itself holds for any user") }
            let limits = readLimits(section, from: quotas.defaults, besides: "uid")
            quotas.users.append(QuotaSettings.User(ranges: list.ranges, limits: limits))
        }
    }

    private mutating func readLimits(
        _ section: TOMLSection, from base: QuotaLimits, besides other: String
    ) -> QuotaLimits {
        var limits = base
        for (key, line) in section.keys(besides: [other]) {
            guard let path = Self.quotaKeys[key] else {
                let known = Self.quotaKeys.keys.sorted().joined(separator: ", ")
                problem(line, "unknown key '\(key)': a quota has \(known)")
                continue
            }
            guard case .integer(let number)? = section[key]?.value,
                Self.quotaRange.contains(number)
            else {
                problem(
                    line,
                    "'\(key)' is \(Self.quotaRange.lowerBound) to \(Self.quotaRange.upperBound); "
                        + "left out it has its default")
                continue
            }
            limits[keyPath: path] = number
        }
        return limits
    }

    private static let quotaRange = 1...1 << 40

    private static var quotaKeys: [String: WritableKeyPath<QuotaLimits, Int>] {
        [
            "connections": \.connections, "greetings": \.greetings,
            "subscriptions": \.subscriptions, "subscription_bytes": \.subscriptionBytes,
            "queued_bytes": \.queuedBytes,
            "connections_per_second": \.connectionsPerSecond,
            "connection_burst": \.connectionBurst,
            "messages_per_second": \.messagesPerSecond, "message_burst": \.messageBurst,
            "bytes_per_second": \.bytesPerSecond, "byte_burst": \.byteBurst,
        ]
    }
}
