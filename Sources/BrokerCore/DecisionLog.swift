/// One decision that was made, for those who ask what a change of rules would change.
package struct DecisionRecord: Equatable, Sendable {
    /// Rises by one with each record.
    package let number: UInt64
    package let action: Action
    /// Topic name, or filter where a subscription was decided; empty where none is needed.
    package let topic: [UInt8]
    package let subject: Subject
    package let decision: Decision
    package let rule: RuleReference?
}

/// A rule by name and place, which stay true when the rules have changed.
package struct RuleReference: Hashable, Sendable {
    package let name: String
    package let line: Int

    package init(_ rule: AccessRule) {
        name = rule.name
        line = rule.line
    }

    /// `rule "sensors report" (line 12)`
    package var text: String {
        line == 0 ? "rule \(name.debugDescription)" : "rule \(name.debugDescription) (line \(line))"
    }
}

/// The latest decisions, and how many were denied. Decisions that come out of the route cache are
/// not made again, so they are in here once.
package struct DecisionLog: Sendable {
    package static let recordsMax = 1_024
    package static let usersMax = 256

    private var records: [DecisionRecord] = []
    private var nextNumber: UInt64 = 1
    /// Denials by action, and by attested uid as far as there is room.
    package private(set) var deniedByAction = [UInt64](repeating: 0, count: Action.allCases.count)
    package private(set) var deniedByUID: [UInt32: UInt64] = [:]
    package private(set) var deniedOthers: UInt64 = 0

    /// Records from `number` on, oldest first.
    package func records(since number: UInt64) -> [DecisionRecord] {
        let all = records.count < Self.recordsMax ? records[...] : rotated
        return all.filter { $0.number >= number }
    }

    package var next: UInt64 { nextNumber }

    private var rotated: ArraySlice<DecisionRecord> {
        let start = Int((nextNumber - 1) % UInt64(Self.recordsMax))
        return (records[start...] + records[..<start])[...]
    }

    mutating func record(
        _ action: Action, _ topic: [UInt8], _ subject: Subject, _ decision: Decision,
        _ rule: RuleReference?
    ) {
        precondition(records.count <= Self.recordsMax)
        let record = DecisionRecord(
            number: nextNumber, action: action, topic: topic, subject: subject,
            decision: decision, rule: rule)
        if records.count < Self.recordsMax {
            records.append(record)
        } else {
            records[Int((nextNumber - 1) % UInt64(Self.recordsMax))] = record
        }
        nextNumber += 1
    }

    mutating func countDenial(_ action: Action, uid: UInt32) {
        precondition(deniedByUID.count <= Self.usersMax)
        deniedByAction[Int(action.rawValue)] += 1
        if deniedByUID[uid] != nil || deniedByUID.count < Self.usersMax {
            deniedByUID[uid, default: 0] += 1
        } else {
            deniedOthers += 1
        }
    }
}
