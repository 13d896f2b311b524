import Foundation
import TestSupport
import Testing

/// `Benchmarks/fairness.py` with a number of round trips in place of a time: what is expected does
/// not depend on how fast the machine is.
@Suite(
    "One user floods the broker, another goes on",
    .enabled(if: Actors.isRoot, "needs root, to be two users"),
    .enabled(if: Actors.isAvailable, "needs python3"))
struct FairnessTests {
    private static let trips = 100
    private static let script = Actors.file("../../Benchmarks/fairness.py").standardizedFileURL

    private struct Row {
        let fields: [String: Any]

        var beside: String? { fields["beside"] as? String }
        var trips: Int? { fields["trips"] as? Int }
        func counter(_ name: String) -> Int { number("counters", name) }
        func number(_ table: String, _ name: String) -> Int {
            (fields[table] as? [String: Any])?[name] as? Int ?? 0
        }
    }

    private func play(_ kind: String) throws -> [Row] {
        let process = try ChildProcess([
            Actors.python, Self.script.path, BrokerUnderTest.executable.path, "--trips",
            "\(Self.trips)", "--rounds", "1", "--only", kind, "--format", "json",
        ])
        let status = process.wait(seconds: 120)
        #expect(status == 0, "\(process.errorText)")
        return try process.outputLines.map { Row(fields: try Actors.object($0)) }
    }

    /// What each flood is charged with, or counted as, while it goes on.
    private static let traces: [(kind: String, isSeen: @Sendable (Row) -> Bool)] = [
        ("connect", { $0.counter("connectionsAccepted") > 20 }),
        // More than they hold at once. Those that the broker holds at a moment may be none: what it
        // accepts has waited, and is closed by then.
        ("silent", { $0.counter("connectionsAccepted") > 200 }),
        ("garbage", { $0.counter("packetsMalformed") > 0 }),
        ("subscribe", { $0.number("flooder", "connections") == 2 }),
        ("small", { $0.counter("messagesAccepted") > 10_000 }),
        ("single", { $0.counter("messagesAccepted") > 1_000 }),
        ("large", { $0.counter("bytesReceived") > 1_000_000 }),
        ("denied", { $0.counter("publishesRefused") > 1_000 }),
        ("fanout", { $0.number("flooder", "subscriptions") > 0 }),
        ("all", { $0.number("flooder", "connections") > 0 }),
    ]

    /// Those who always have more waiting on sessions of their own.
    private static let endless = ["subscribe", "small", "denied", "fanout", "all"]

    @Test(
        "Every round trip of the other comes back, and the flood is charged to who floods",
        arguments: traces.map(\.kind))
    func flood(kind: String) throws {
        let rows = try play(kind)
        #expect(rows.map(\.beside) == [kind])
        let busy = try #require(rows.first)
        #expect(busy.trips == Self.trips)
        #expect(busy.fields["quietTrips"] as? Int == Self.trips)
        let trace = try #require(Self.traces.first { $0.kind == kind })
        #expect(trace.isSeen(busy), "\(busy.fields)")
        // The other holds what it always holds.
        #expect(busy.number("prober", "connections") == 1)
        #expect(busy.number("prober", "subscriptions") == 1)
        #expect(busy.number("prober", "held") == 0)
        #expect(busy.number("prober", "throttledMilliseconds") == 0)
        if Self.endless.contains(kind) {
            #expect(busy.number("flooder", "throttledMilliseconds") > 0, "\(busy.fields)")
        }
        #expect((busy.fields["left"] as? [String: Any])?.isEmpty == true, "\(busy.fields)")
    }
}
