package import BrokerCore
import BrokerWire

/// An access file that has been read whole: rules, quotas, and what looks wrong without being
/// an error. Protocol/access-rules.md is the text of the format.
package struct AccessFile: Equatable, Sendable {
    package static let bytesMax = 8 * 1_048_576
    package static let rulesMax = 100_000

    package var rules: [AccessRule] = []
    package var quotas = QuotaSettings()
    /// Names for senders of other brokers.
    package var map = IdentityMap()
    /// For `%n`; empty if no rule uses it.
    package var userNames: [UInt32: String] = [:]
    package var warnings: [ConfigurationProblem] = []

    package func policy(brokerUID: UInt32) -> AccessPolicy {
        .rules(rules, brokerUID: brokerUID, userNames: userNames, map: map)
    }

    /// Reads a file, with every problem in it.
    package init(
        parsing bytes: [UInt8], names: NameDirectory = .system
    ) throws(ConfigurationError) {
        let root: TOMLSection
        do throws(ConfigurationProblem) {
            root = try ConfigurationText.parse(bytes, bytesMax: Self.bytesMax)
        } catch {
            throw ConfigurationError([error])
        }
        var reader = AccessFileReader(names: names)
        if !root.isEmpty { reader.read(root) }
        guard reader.problems.isEmpty else { throw ConfigurationError(reader.problems) }
        rules = reader.rules
        quotas = reader.quotas
        map = reader.map
        warnings = reader.warnings
        if rules.isEmpty {
            warnings.append(
                ConfigurationProblem(line: 0, "the file holds no rules: everything is denied"))
        }
        readUserNames(names)
        warnings.sort { $0.line < $1.line }
    }

    private mutating func readUserNames(_ names: NameDirectory) {
        let needing = rules.first { $0.topics.contains { $0.needsUserNames } }
        guard let needing else { return }
        for (uid, name) in names.users() {
            if let other = userNames[uid] {
                warnings.append(
                    ConfigurationProblem(
                        line: needing.line,
                        "uid \(uid) has the names \(other.debugDescription) and "
                            + "\(name.debugDescription): %n stands for the first"))
                continue
            }
            userNames[uid] = name
            guard !TopicPattern.isPlain(Array(name.utf8)) else { continue }
            warnings.append(
                ConfigurationProblem(
                    line: needing.line,
                    "the user name \(name.debugDescription) of uid \(uid) cannot stand in a "
                        + "topic: patterns with %n match nothing for it"))
        }
    }
}
