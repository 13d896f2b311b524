import BrokerCore
import BrokerWire

/// What looks wrong about senders of other brokers.
extension AccessLint {
    mutating func lookAtOrigins(of rule: AccessRule, _ map: IdentityMap) {
        for user in rule.users where !map.entries.contains(where: { $0.name == user }) {
            find(rule, "no [[map]] gives anybody the name \(user.debugDescription)")
        }
        let isRemote = !rule.origins.isEmpty || !rule.users.isEmpty
        if isRemote && !rule.levels.isEmpty && !rule.levels.contains(.remote) {
            find(rule, "senders of other brokers have level remote: the rule never holds")
        }
        if !isRemote && rule.levels == [.remote] {
            find(
                rule,
                "without origin or user it speaks of local senders, which never have level remote: "
                    + "the rule never holds")
        }
        if isRemote && !(rule.openerGroups.isEmpty && rule.trustDomains.isEmpty) {
            find(
                rule,
                "groups and namespaces of other hosts are not known here: the rule never holds")
        }
    }

    mutating func lookAtMap(of file: AccessFile) {
        let named = Set(file.rules.flatMap(\.users))
        let usesNames = file.rules.contains { rule in
            let isRemote = !rule.origins.isEmpty || !rule.users.isEmpty
            return isRemote && rule.topics.contains { $0.needsUserNames }
        }
        for (index, entry) in file.map.entries.enumerated() {
            if !named.contains(entry.name) && !usesNames {
                find(entry, "no rule speaks of it: it is shown to subscribers, and gives no right")
            }
            let isAnywhere = entry.origins.contains(Array("*".utf8))
            if isAnywhere && entry.uids.isEmpty && entry.gids.isEmpty {
                find(entry, "everybody of every other broker has this name")
            }
            let earlier = file.map.entries[..<index].first { Self.covers($0, entry) }
            guard let earlier else { continue }
            let who = earlier.name == entry.name ? "adds nothing to" : "is never reached behind"
            find(entry, "\(who) the map in line \(earlier.line)")
        }
    }

    /// Whether all that the second names are named by the first.
    private static func covers(_ wider: IdentityMap.Entry, _ entry: IdentityMap.Entry) -> Bool {
        covers(wider.uids, entry.uids) && covers(wider.gids, entry.gids)
            && entry.origins.allSatisfy { origin in
                wider.origins.contains { OriginPattern.matches($0, origin) }
            }
    }
}
