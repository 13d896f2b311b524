import Foundation
import TestSupport
import Testing

/// Rules that speak of another broker's senders, with two brokers and a link between them.
@Suite(
    "Access rules for other brokers, end to end", .serialized,
    .enabled(if: Actors.isRoot, "needs root"))
struct AccessOriginTests {
    private let rules = """
        [[rule]]
        name = "edge reports"
        uid = 1000
        origin = "edge"
        allow = "publish"
        topics = "from/%o/#"
        [[rule]]
        name = "no secrets"
        uid = "any"
        origin = "e*"
        deny = "publish"
        topics = "from/edge/secret"
        [[rule]]
        name = "all of root"
        uid = 0
        allow = ["publish", "subscribe"]
        topics = "#"

        """

    /// Two brokers; `edge` lets everybody publish.
    private final class Pair {
        let hub: RuledBroker
        let edge: BrokerUnderTest
        private let directory: TemporaryDirectory

        init(_ rules: String) throws {
            let directory = try TemporaryDirectory(mode: 0o755)
            self.directory = directory
            let key = directory.path(of: "link.key")
            let keygen = try ChildProcess([
                BrokerUnderTest.executable.path, "link", "keygen", "hub", "--out", key,
            ])
            guard keygen.wait() == 0 else {
                throw BrokerUnderTest.Failure(description: keygen.errorText)
            }
            let links = try [("edge", "listen"), ("hub", "connect")].map { peer, side in
                let path = directory.path + "/to-\(peer).toml"
                let address = "unix:\(directory.path)/link.sock"
                try "[[link]]\nname = \"\(peer)\"\n\(side) = \"\(address)\"\nkey = \"\(key)\"\n"
                    .write(toFile: path, atomically: false, encoding: .utf8)
                return path
            }
            hub = try RuledBroker(rules, ["--name", "hub", "--config", links[0]])
            edge = try BrokerUnderTest(["--no-acl", "--name", "edge", "--config", links[1]])
        }

        func publish(_ topic: String, uid: Int) throws {
            let user = ["setpriv", "--reuid=\(uid)", "--regid=\(uid)", "--clear-groups"]
            let process = try edge.run(["pub", topic, "x", "--ack"], prefix: user)
            guard process.wait() == 0 else {
                throw BrokerUnderTest.Failure(description: process.errorText)
            }
        }
    }

    @Test("They are judged by broker, by the uid there and topic by topic, also after a change")
    func origins() throws {
        let pair = try Pair(rules)
        let subscriber = try pair.hub.broker.run(["sub", "from/#", "-F", "%t"])
        defer { subscriber.send(signal: SIGTERM) }
        try pair.hub.broker.waitForSubscriptions(1)
        // Until the link stands and the other side knows who wants what.
        let isLinked = try pair.hub.broker.settles { _ in
            try pair.publish("from/edge/ready", uid: 1000)
            return subscriber.outputText.contains("from/edge/ready")
        }
        try #require(isLinked, "\(pair.edge.process.errorText)")
        try pair.publish("from/edge/a", uid: 1000)
        try pair.publish("from/edge/b", uid: 1001)
        try pair.publish("from/edge/secret", uid: 1000)
        try pair.publish("from/edge/c", uid: 0)
        try pair.publish("elsewhere", uid: 1000)
        try pair.publish("from/edge/d", uid: 1000)
        #expect(subscriber.waitForOutput { $0.outputText.contains("from/edge/d") })
        let seen = subscriber.outputLines.filter { $0 != "from/edge/ready" }
        #expect(seen == ["from/edge/a", "from/edge/d"])

        try pair.hub.write(rules.replacing("uid = 1000", with: "uid = 1001"))
        try pair.hub.reload()
        try pair.publish("from/edge/e", uid: 1000)
        try pair.publish("from/edge/f", uid: 1001)
        #expect(subscriber.waitForOutput { $0.outputText.contains("from/edge/f") })
        #expect(!subscriber.outputText.contains("from/edge/e"))
    }

    @Test("check and who know other brokers, by the file and live")
    func questions() throws {
        let pair = try Pair(rules)
        for live in [[], ["--live"]] {
            func ends(_ topic: String, _ uid: String, _ origin: String) throws -> Int32? {
                try pair.hub.broker.run(
                    ["acl", "check", "publish", topic, "--uid", uid, "--origin", origin]
                        + ["--acl", pair.hub.path] + live
                ).wait()
            }
            #expect(try ends("from/edge/a", "1000", "edge") == 0)
            #expect(try ends("from/edge/a", "1000", "other") == 77)
            #expect(try ends("from/edge/a", "0", "edge") == 77)
            #expect(try ends("from/edge/secret", "1000", "edge") == 77)
        }
        let who = try pair.hub.broker.run([
            "acl", "who", "publish", "from/edge/a", "--acl", pair.hub.path,
        ])
        #expect(who.wait() == 0, "\(who.errorText)")
        #expect(who.outputText.contains("from edge"))
        #expect(who.outputText.contains("edge reports"))
    }
}
