import BrokerCore
import BrokerWire

/// Rules that are not wrong, but probably not meant.
package struct AccessLint {
    package internal(set) var findings: [ConfigurationProblem]

    package init(_ file: AccessFile, userName: (UInt32) -> String?) {
        findings = file.warnings
        for (index, rule) in file.rules.enumerated() {
            lookAtReach(of: rule)
            lookAtUsers(of: rule, userName)
            lookForShadows(of: index, in: file.rules)
            lookAtOrigins(of: rule, file.map)
        }
        lookAtMap(of: file)
        findings.sort { $0.line < $1.line }
    }

    mutating func find(_ rule: AccessRule, _ text: String) {
        findings.append(
            ConfigurationProblem(line: rule.line, "rule \(rule.name.debugDescription): \(text)"))
    }

    mutating func find(_ entry: IdentityMap.Entry, _ text: String) {
        findings.append(
            ConfigurationProblem(line: entry.line, "map to \(entry.name.debugDescription): \(text)")
        )
    }

    private mutating func lookAtReach(of rule: AccessRule) {
        let isForAll =
            rule.uids.isEmpty && rule.gids.isEmpty && rule.openerGroups.isEmpty
            && rule.trustDomains.isEmpty && rule.users.isEmpty
        let isUnlimited = rule.topics.contains { $0.text == "#" }
        let actions = rule.allows.actions.map(\.name).joined(separator: ", ")
        if isForAll && isUnlimited && !rule.allows.isEmpty {
            let whose = rule.origins.isEmpty ? "" : " of other brokers"
            find(rule, "everybody\(whose) may \(actions) to every topic")
        }
        if isForAll && rule.allows.contains(.administer) {
            find(rule, "everybody may administer the broker")
        }
        let isRootOnly = rule.uids == [IDRange(first: 0, last: 0)]
        if isRootOnly && isUnlimited && rule.allows.contains(.publish) {
            find(
                rule,
                "root may publish everything: any program that root can be made to write with "
                    + "may then, too")
        }
        if rule.isDelegated && rule.uids.contains(where: { $0.contains(0) }) {
            find(
                rule,
                "delegated = true for root: whoever gets a program of root's to write to a "
                    + "connection of their own publishes as root")
        }
        if rule.uids == [IDRange(first: 0, last: 0)] && rule.levels == [.kernel] {
            find(rule, "root can claim any id, so it never has level kernel: the rule never holds")
        }
        if rule.allows.contains(.block) && isUnlimited {
            find(rule, "who may block all topics may hold every publisher back")
        }
        if !rule.denies.isEmpty && rule.topics.contains(where: { $0.text == "#" })
            && !rule.topics.contains(where: { $0.text.hasPrefix("$") })
        {
            find(rule, "\"#\" does not cover the broker's own topics: add \"$SYS/#\" to deny those")
        }
    }

    private mutating func lookAtUsers(of rule: AccessRule, _ userName: (UInt32) -> String?) {
        let isLocal = rule.origins.isEmpty && rule.users.isEmpty
        for range in rule.uids
        where isLocal && range.first == range.last && userName(range.first) == nil {
            if range.first == IdentityList.unmappedID { continue }
            find(rule, "uid \(range.first) has no name here: a user that is gone?")
        }
        if rule.uids.contains(where: { $0.contains(IdentityList.unmappedID) }) {
            find(
                rule,
                "65534 is what users look like that are not mapped into the broker's user "
                    + "namespace: it is nobody in particular")
        }
        let spans = rule.uids.filter { $0.last - $0.first >= 1 << 20 }
        if let span = spans.first, !rule.allows.isEmpty {
            find(rule, "the range \(span.first)-\(span.last) holds more than a million users")
        }
    }

    /// A rule that an earlier one makes idle: the same people or fewer, the same topics or fewer.
    private mutating func lookForShadows(of index: Int, in rules: [AccessRule]) {
        let rule = rules[index]
        guard !rule.topics.isEmpty else { return }
        for (other, wider) in rules.enumerated() where other != index {
            guard Self.concernsAll(wider, of: rule), Self.coversTopics(wider, of: rule) else {
                continue
            }
            let isDenied = !rule.allows.isEmpty && rule.allows.isSubset(of: wider.denies)
            let isRepeated =
                other < index && rule.allows.isSubset(of: wider.allows)
                && rule.denies.isSubset(of: wider.denies)
                && (wider.isDelegated || !rule.isDelegated)
            if isDenied {
                find(
                    rule,
                    "allows nothing: rule \(wider.name.debugDescription) in line \(wider.line) "
                        + "denies all of it")
            } else if isRepeated {
                find(
                    rule,
                    "adds nothing to rule \(wider.name.debugDescription) in line \(wider.line)")
            }
        }
    }

    private static func concernsAll(_ wider: AccessRule, of rule: AccessRule) -> Bool {
        covers(wider.uids, rule.uids) && covers(wider.gids, rule.gids)
            && covers(wider.openerGroups, rule.openerGroups)
            && covers(wider.trustDomains, rule.trustDomains)
            && (wider.levels.isEmpty
                || (!rule.levels.isEmpty && rule.levels.allSatisfy(wider.levels.contains)))
            && wider.origins == rule.origins && wider.users == rule.users
    }

    static func covers(_ wider: [IDRange], _ ranges: [IDRange]) -> Bool {
        if wider.isEmpty { return true }
        if ranges.isEmpty { return false }
        return ranges.allSatisfy { range in
            wider.contains { $0.first <= range.first && range.last <= $0.last }
        }
    }

    private static func coversTopics(_ wider: AccessRule, of rule: AccessRule) -> Bool {
        rule.topics.allSatisfy { topic in
            wider.topics.contains { pattern in
                if pattern.text == topic.text { return true }
                guard !pattern.hasPlaceholders else { return false }
                // A placeholder fills a piece of one level; `x` stands for it.
                let filter = topic.filter(
                    uid: 0, gid: 0, userName: [0x78], origin: [0x78])
                return filter.map {
                    Topic.covers(pattern: Array(pattern.text.utf8), filter: $0)
                } ?? false
            }
        }
    }
}
