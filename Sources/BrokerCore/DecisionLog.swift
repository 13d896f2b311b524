import BrokerWire

/// One decision that was made, for those who ask what a change of rules would change.
package struct DecisionRecord: Equatable, Sendable {
    /// Rises by one with each record.
    package fileprivate(set) var number: UInt64
    package fileprivate(set) var action: Action
    /// Topic name, or filter where a subscription was decided; empty where none is needed.
    package fileprivate(set) var topic: [UInt8]
    package fileprivate(set) var subject: Subject
    package fileprivate(set) var decision: Decision
    package fileprivate(set) var rule: RuleReference?
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

    /// The memory of the oldest record is used for the newest: with many topics there is one for
    /// each message.
    mutating func record(
        _ action: Action, _ topic: Span<UInt8>, _ subject: Subject, _ decision: Decision,
        _ rule: RuleReference?
    ) {
        precondition(records.count <= Self.recordsMax)
        let index = Int((nextNumber - 1) % UInt64(Self.recordsMax))
        if index == records.count {
            records.append(
                DecisionRecord(
                    number: nextNumber, action: action, topic: topic.copied(), subject: subject,
                    decision: decision, rule: rule))
        } else {
            records[index].number = nextNumber
            records[index].action = action
            records[index].topic.removeAll(keepingCapacity: true)
            records[index].topic.append(addingCapacity: topic.count) { output in
                for offset in 0..<topic.count { output.append(topic[offset]) }
            }
            records[index].subject = subject
            records[index].decision = decision
            records[index].rule = rule
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
