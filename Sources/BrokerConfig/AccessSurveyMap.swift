package import BrokerCore
import BrokerWire

/// Who may by a name of the identity map.
extension AccessSurvey {
    package struct Mapped: Sendable {
        /// Senders that may under their name, and could not without it.
        package fileprivate(set) var found: [Finding] = []
        /// Entries of the map of which not every sender was looked at: the rules tell too many of
        /// them apart.
        package fileprivate(set) var cutShort: [IdentityMap.Entry] = []
    }

    /// Whom the map gives names: each entry in pieces within which all rules treat all alike.
    package var mapped: Mapped {
        let nameless = AccessSurvey(
            action, topic, isFilter: isFilter,
            under: .rules(
                policy.rules, brokerUID: policy.brokerUID, userNames: policy.userNames))
        // For %u.
        let uidStarts = starts(rules: \.uids, entries: \.uids).union(startsInTopic).sorted()
        let gidStarts = starts(rules: \.gids, entries: \.gids).sorted()
        var mapped = Mapped()
        for entry in policy.map.entries {
            var senders: [Condition] = []
            for origin in origins(of: entry) {
                for gids in Self.pieces(of: entry.gids, at: gidStarts) {
                    for uids in Self.pieces(of: entry.uids, at: uidStarts) {
                        senders.append(
                            Condition(
                                uids: uids, gids: gids, origin: origin, mapped: entry.name))
                    }
                }
            }
            if senders.count > Self.conditionsMax { mapped.cutShort.append(entry) }
            var found: [Finding] = []
            // Ranges of an entry may overlap.
            var seen: Set<Condition> = []
            for who in senders.prefix(Self.conditionsMax) where seen.insert(who).inserted {
                let subject = who.subject(unnamed: 0)
                // An earlier entry may have named them.
                guard policy.map.entry(for: subject, as: .sender) == entry else { continue }
                let decision = decide(subject)
                guard decision.isAllowed, !nameless.decide(subject).isAllowed else { continue }
                found.append((who, decision))
            }
            let pieces = Self.joined(Self.joined(found, along: \.uids), along: \.gids)
            mapped.found += Self.widest(pieces).map { piece in
                (Self.simplified(piece.who, of: entry), piece.decision)
            }
        }
        return mapped
    }

    /// Rules that may speak of senders of other brokers.
    private var remoteRules: [AccessRule] {
        policy.rules.filter { !$0.origins.isEmpty || !$0.users.isEmpty }
    }

    /// Where pieces begin that a rule or the map treats differently.
    private func starts(
        rules: KeyPath<AccessRule, [IDRange]>, entries: KeyPath<IdentityMap.Entry, [IDRange]>
    ) -> Set<UInt32> {
        var starts = Self.starts(of: rules, in: remoteRules)
        for entry in policy.map.entries {
            for range in entry[keyPath: entries] { starts.formUnion(Self.ends(of: range)) }
        }
        return starts
    }

    /// - Parameter ranges: none: all ids.
    private static func pieces(of ranges: [IDRange], at starts: [UInt32]) -> [IDRange] {
        (ranges.isEmpty ? [allIDs] : ranges).flatMap { pieces(of: $0, at: starts) }
    }

    private static var allIDs: IDRange { IDRange(first: 0, last: UInt32.max - 1) }

    /// The brokers of an entry, wider patterns first: its own, and those among them that a rule,
    /// another entry or the topic speaks of.
    private func origins(of entry: IdentityMap.Entry) -> [String] {
        let spokenOf =
            remoteRules.flatMap(\.origins) + policy.map.entries.flatMap(\.origins)
            + topic.split(separator: Topic.separator).map(Array.init).filter {
                LinkName.isValid(String(decoding: $0, as: UTF8.self))
            }
        var origins = entry.origins
        for origin in spokenOf
        where !origins.contains(origin)
            && entry.origins.contains(where: { OriginPattern.matches($0, origin) })
        {
            origins.append(origin)
        }
        return origins.map { String(decoding: $0, as: UTF8.self) }
    }

    /// Joins pieces that lie side by side and are treated alike.
    private static func joined(
        _ found: [Finding], along ids: WritableKeyPath<Condition, IDRange?>
    ) -> [Finding] {
        var joined: [Finding] = []
        for next in found {
            let place = joined.lastIndex { known in
                var who = known.who
                who[keyPath: ids] = next.who[keyPath: ids]
                return who == next.who && known.decision == next.decision
                    && known.who[keyPath: ids].map { $0.last + 1 } == next.who[keyPath: ids]?.first
            }
            if let place, let first = joined[place].who[keyPath: ids]?.first,
                let last = next.who[keyPath: ids]?.last
            {
                joined[place].who[keyPath: ids] = IDRange(first: first, last: last)
            } else {
                joined.append(next)
            }
        }
        return joined
    }

    /// Without those that are among others which stand before them.
    private static func widest(_ found: [Finding]) -> [Finding] {
        var widest: [Finding] = []
        for next in found {
            let isAmongOthers = widest.contains { other in
                other.decision == next.decision && contains(other.who.uids, next.who.uids)
                    && contains(other.who.gids, next.who.gids)
                    && OriginPattern.matches(
                        Array((other.who.origin ?? "").utf8), Array((next.who.origin ?? "").utf8))
            }
            if !isAmongOthers { widest.append(next) }
        }
        return widest
    }

    private static func contains(_ wider: IDRange?, _ range: IDRange?) -> Bool {
        guard let wider else { return true }
        guard let range else { return false }
        return wider.first <= range.first && wider.last >= range.last
    }

    /// Without the ids that the entry does not ask for either.
    private static func simplified(_ who: Condition, of entry: IdentityMap.Entry) -> Condition {
        var who = who
        if entry.uids.isEmpty && who.uids == allIDs { who.uids = nil }
        if entry.gids.isEmpty && who.gids == allIDs { who.gids = nil }
        return who
    }
}
