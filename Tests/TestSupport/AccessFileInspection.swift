package import BrokerConfig
import BrokerCore
import BrokerWire

/// What must hold for any bytes at all as an access file: fuzzing and ordinary tests ask the same.
package enum AccessFileInspection {
    /// Users and groups that do not depend on the machine; some cannot stand in a topic.
    package static let names = NameDirectory(
        userID: { ["alice": 1000, "alice2": 1000, "high": 2_147_483_648, "none": .max][$0] },
        groupID: { ["sensors": 50, "none": .max][$0] },
        users: { [(1000, "alice"), (1000, "alice2"), (1001, "b#"), (1002, "c/d"), (1003, "e+")] })

    /// - Returns: what is wrong, in words; nil: nothing.
    package static func violation(of bytes: [UInt8]) -> String? {
        let file: AccessFile
        do throws(ConfigurationError) {
            file = try AccessFile(parsing: bytes, names: names)
        } catch {
            return violation(of: error, in: bytes)
        }
        let lines = lineCount(bytes)
        guard file.rules.allSatisfy({ (1...lines).contains($0.line) }) else {
            return "a rule stands in no line"
        }
        if file.rules.count <= 64 { _ = AccessLint(file) { _ in nil } }
        return decisions(under: file.policy(brokerUID: 990)) ?? edits(of: bytes, file)
    }

    private static func lineCount(_ bytes: [UInt8]) -> Int {
        1 + bytes.count { $0 == UInt8(ascii: "\n") }
    }

    private static func violation(of error: ConfigurationError, in bytes: [UInt8]) -> String? {
        let isInFile = error.problems.allSatisfy { (0...lineCount(bytes)).contains($0.line) }
        if !isInFile { return "a problem stands in no line: \(error)" }
        return error.problems.report().count > 21 ? "too many problems are reported" : nil
    }

    // MARK: Decisions

    private static var subjects: [Subject] {
        var deputy = Subject.local(uid: 0, gid: 0)
        deputy.openerUID = 1000
        deputy.isDelegated = true
        deputy.isOpenersProcess = false
        var contained = Subject.local(uid: 100_000, gid: 50, openerGroups: [50])
        contained.domain = .other(ownerUID: 1000)
        contained.level = .claimable
        var remote = Subject.local(uid: 1001, gid: 1001)
        remote.origin = Array("edge-1".utf8)
        remote.level = .remote
        return [.local(uid: 1000, gid: 50), deputy, contained, remote, .local(uid: 65_534, gid: 7)]
    }

    private static func decisions(under policy: AccessPolicy) -> String? {
        let topics = ["a", "users/1000/x", "$SYS/broker/version"].map { Array($0.utf8) }
        let filters = ["#", "+/+/#", "users/+/x", "$SYS/#"].map { Array($0.utf8) }
        for subject in subjects {
            for action in Action.allCases {
                let decisions =
                    action.needsTopic
                    ? topics.map { policy.decide(action, topic: $0, subject) }
                        + filters.map { policy.decide(action, $0, isFilter: true, subject) }
                    : [policy.decide(action, topic: [], subject)]
                for decision in decisions {
                    if let violation = violation(of: decision, policy) { return violation }
                }
            }
        }
        return nil
    }

    private static func violation(of decision: Decision, _ policy: AccessPolicy) -> String? {
        switch decision {
        case .allowed(let rule):
            policy.rules[rule].allows.isEmpty ? "a rule allows that allows nothing" : nil
        case .denied(_, _, let rule?):
            policy.rules[rule].denies.isEmpty ? "a rule denies that denies nothing" : nil
        case .denied: nil
        }
    }

    // MARK: Edits

    /// A rule can be added to and removed from every file that loads, unless its rules are not
    /// written as `[[rule]]`, and the others stay what they are.
    private static func edits(of bytes: [UInt8], _ file: AccessFile) -> String? {
        var draft = RuleDraft(name: "appended while inspecting")
        draft.uids = ["1000"]
        draft.allows = [.inspect]
        let isPlain = !AccessFileEdit.text(ofRuleAt: 0, in: bytes).isEmpty
        guard isPlain, !file.rules.contains(where: { $0.name == draft.name }) else { return nil }
        do throws(ConfigurationError) {
            let longer = AccessFileEdit.appending(draft, to: bytes)
            let added = try AccessFile(parsing: longer, names: names)
            guard added.rules.dropLast() == file.rules[...] else {
                return "appending changed rules"
            }
            let back = try AccessFileEdit.removing(ruleAt: file.rules.count, from: longer)
            let restored = try AccessFile(parsing: back, names: names)
            return restored.rules == file.rules ? nil : "removing changed rules"
        } catch {
            return "a file that loads cannot be edited: \(error)"
        }
    }
}
