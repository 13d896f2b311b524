import Foundation
import TestSupport

extension BrokerUnderTest {
    /// What `broker status --format json` says now.
    func status() throws -> [String: Any] {
        let process = try run(["status", "--format", "json"])
        let ended = process.wait()
        guard ended == 0 else {
            let status = ended.map { "status \($0)" } ?? "a timeout"
            throw Failure(description: "broker status ended with \(status): \(process.errorText)")
        }
        let object = try JSONSerialization.jsonObject(with: Data(process.outputText.utf8))
        return object as? [String: Any] ?? [:]
    }

    func counter(_ name: String) throws -> Int? {
        (try status()["counters"] as? [String: Any])?[name] as? Int
    }

    /// Sessions besides the one that asks.
    func otherSessions() throws -> [[String: Any]] {
        let sessions = try status()["sessions"] as? [[String: Any]] ?? []
        return sessions.filter { $0["name"] as? String != "broker status" }
    }

    func subscriptionCount() throws -> Int {
        try otherSessions().reduce(0) {
            $0 + (($1["subscriptions"] as? [Any])?.count ?? 0)
        }
    }

    /// Waits until that many subscriptions exist.
    func waitForSubscriptions(_ count: Int) throws {
        guard try settles({ try $0.subscriptionCount() >= count }) else {
            throw Failure(description: "the subscriptions did not come: \(process.errorText)")
        }
    }

    /// Whether a condition comes true. The limit only ends what would hang: it is longer than
    /// whatever brokers wait for by themselves, the next dial (10 s) or a silent peer (15 s).
    func settles(_ condition: (BrokerUnderTest) throws -> Bool) rethrows -> Bool {
        let limit = Date().addingTimeInterval(60)
        while Date() < limit {
            if try condition(self) { return true }
            Thread.sleep(forTimeInterval: 0.02)
        }
        return try condition(self)
    }
}
