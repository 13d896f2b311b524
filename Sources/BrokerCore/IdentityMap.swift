package import BrokerWire

/// Names under which senders of other brokers are known here. A name is no uid: it matches the
/// `user` of rules and nothing else. Protocol/access-rules.md, section 4.
package struct IdentityMap: Equatable, Sendable {
    /// One `[[map]]`. All conditions must hold; within one, any of its values suffices.
    package struct Entry: Equatable, Sendable {
        /// Line in its file.
        package var line: Int
        /// Brokers that attested the sender, `*` standing for any text.
        package var origins: [[UInt8]]
        /// Attested there; empty: any.
        package var uids: [IDRange]
        package var gids: [IDRange]
        package var name: String

        package init(
            line: Int, origins: [[UInt8]], uids: [IDRange], gids: [IDRange], name: String
        ) {
            self.line = line
            self.origins = origins
            self.uids = uids
            self.gids = gids
            self.name = name
        }

        func concerns(uid: UInt32, gid: UInt32, origin: [UInt8]) -> Bool {
            (uids.isEmpty || uids.contains { $0.contains(uid) })
                && (gids.isEmpty || gids.contains { $0.contains(gid) })
                && OriginPattern.anyOf(origins, matches: origin)
        }
    }

    /// The first that concerns somebody counts.
    package let entries: [Entry]

    package init(_ entries: [Entry] = []) {
        precondition(entries.allSatisfy { !$0.origins.isEmpty && !$0.name.isEmpty })
        self.entries = entries
    }

    package var isEmpty: Bool { entries.isEmpty }

    /// The entry that names one identity of a subject; nil: it has no name, as all local ones.
    package func entry(for subject: Subject, as role: Role) -> Entry? {
        guard subject.isRemote else { return nil }
        let (uid, gid) =
            switch role {
            case .sender: (subject.uid, subject.gid)
            case .opener: (subject.openerUID, subject.openerGID)
            }
        return entries.first { $0.concerns(uid: uid, gid: gid, origin: subject.origin) }
    }
}

/// Patterns for names of brokers, in which `*` stands for any text.
package enum OriginPattern {
    static func anyOf(_ patterns: [[UInt8]], matches name: [UInt8]) -> Bool {
        patterns.contains { matches($0, name) }
    }

    /// Whether a broker can have a name that a pattern matches. One that matches none allows
    /// nothing and, what is worse, denies nothing.
    package static func canMatch(_ pattern: String) -> Bool {
        let fixed = pattern.filter { $0 != "*" }
        return fixed.isEmpty ? !pattern.isEmpty : LinkName.isValid(fixed)
    }

    package static func refusal(of pattern: String) -> String {
        "\(pattern.debugDescription) is the name of no broker: that has 1 to "
            + "\(LinkLimits.nameBytesMax) letters, digits, '.', '_' and '-', and \"*\" stands for "
            + "any text"
    }

    /// Whether a pattern matches a broker's name.
    package static func matches(_ pattern: [UInt8], _ name: [UInt8]) -> Bool {
        let star = UInt8(ascii: "*")
        var (text, mask) = (name[...], pattern[...])
        var retry: (mask: ArraySlice<UInt8>, text: ArraySlice<UInt8>)?
        while let byte = text.first {
            if mask.first == star {
                mask = mask.dropFirst()
                retry = (mask, text)
            } else if mask.first == byte {
                mask = mask.dropFirst()
                text = text.dropFirst()
            } else if let (again, from) = retry {
                text = from.dropFirst()
                retry = (again, text)
                mask = again
            } else {
                return false
            }
        }
        return mask.allSatisfy { $0 == star }
    }
}
