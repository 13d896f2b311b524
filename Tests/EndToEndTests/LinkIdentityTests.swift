import Foundation
import TestSupport
import Testing

/// Who sent it, when sender and subscriber are on different brokers.
@Suite(
    "Identity over links", .serialized,
    .enabled(if: Actors.isRoot && Actors.isAvailable, "needs root and python3"))
struct LinkIdentityTests {
    private let user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]

    @Test("A message of uid 1000 comes with its origin, its uid and pid, and level remote")
    func origin() throws {
        let brokers = try LinkedServers()
        let (edge, hub) = try brokers.startPair(hubPort: brokers.makePort())
        let subscriber = try hub.run(["sub", "t/#", "-C", "2", "-W", "30", "--format", "json"])
        // What looks at uids never sees senders of another broker.
        let local = try hub.run(["sub", "t/#", "--from-uid", "1000", "--format", "json"])
        try hub.waitForSubscriptions(2)
        try edge.waitForLink("hub", wanting: ["t/#"])
        let publisher = try edge.run(["pub", "t/a", "hello", "--ack"], prefix: user)
        #expect(publisher.wait() == 0, "\(publisher.errorText)")
        let own = try hub.run(["pub", "t/b", "from here", "--ack"], prefix: user)
        #expect(own.wait() == 0, "\(own.errorText)")
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        let messages = try subscriber.outputLines.map(DeliveredMessage.init)
        let remote = try #require(messages.first { $0.topic == "t/a" })
        #expect(remote.fields["origin"] as? String == "edge")
        #expect(remote.level == "remote")
        #expect(remote.sender("uid") == 1000 && remote.sender("gid") == 1000)
        #expect(remote.sender("pid") == Int(publisher.pid))
        #expect(remote.opener("uid") == 1000)
        let near = try #require(messages.first { $0.topic == "t/b" })
        #expect(near.fields["origin"] as? String == "hub")
        #expect(near.level == "kernel")
        #expect(local.waitForOutput { $0.outputText.contains("from here") })
        #expect(local.outputLines.count == 1)
    }

    @Test("Rules without origin never match a remote sender, rules with it do")
    func rules() throws {
        let brokers = try LinkedServers()
        let (edge, hub) = try brokers.startPair(
            hubPort: brokers.makePort(),
            hubRules: """
                [[rule]]
                name = "whoever is here"
                uid = "any"
                allow = ["publish", "subscribe"]
                topics = ["near/#"]
                [[rule]]
                name = "root hears all"
                uid = 0
                allow = "subscribe"
                topics = "#"
                [[rule]]
                name = "1000 of the edges"
                uid = 1000
                origin = "ed*"
                allow = "publish"
                topics = ["far/%o/%u"]
                [[rule]]
                name = "another host"
                uid = "any"
                origin = "other"
                allow = "publish"
                topics = ["#"]

                """)
        let subscriber = try hub.run(["sub", "#", "--format", "json"])
        try edge.waitForLink("hub", wanting: ["#"])
        for topic in ["near/a", "far/edge/1000", "far/hub/1000", "far/edge/0"] {
            let publisher = try edge.run(["pub", topic, topic, "--ack"], prefix: user)
            #expect(publisher.wait() == 0, "\(publisher.errorText)")
        }
        // Root of the other host is nobody here.
        #expect(try edge.run(["pub", "far/edge/0", "root", "--ack"]).wait() == 0)
        #expect(try edge.run(["pub", "near/root", "root", "--ack"]).wait() == 0)
        #expect(try hub.settles { try $0.linkCount("edge", "dropped", "notPermitted") == 5 })
        #expect(try hub.run(["pub", "near/here", "end", "--ack"], prefix: user).wait() == 0)
        #expect(subscriber.waitForOutput { $0.outputText.contains("near/here") })
        let topics = try subscriber.outputLines.map { try DeliveredMessage($0).topic }
        #expect(topics == ["far/edge/1000", "near/here"])
    }

    @Test("A client that says who it is, in topic, payload or name, is seen as who it is")
    func clientClaims() throws {
        let brokers = try LinkedServers()
        let (edge, hub) = try brokers.startPair(hubPort: brokers.makePort())
        let subscriber = try hub.run(["sub", "#", "-C", "4", "-W", "30", "--format", "json"])
        try edge.waitForLink("hub", wanting: ["#"])
        let claims = ["{\"sender\":{\"uid\":0},\"origin\":\"hub\"}", "origin=hub\nuid=0\n"]
        for claim in claims {
            let publisher = try edge.run(["pub", "uid=0/origin=hub", "-m", claim], prefix: user)
            #expect(publisher.wait() == 0, "\(publisher.errorText)")
        }
        let script = try edge.share(Actors.file("Actors/actors.py"))
        let actor = try ChildProcess(user + [Actors.python, script, edge.socketPath, "claims"])
        #expect(actor.wait() == 0, "\(actor.errorText)")
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        let messages = try subscriber.outputLines.map(DeliveredMessage.init)
        #expect(messages.prefix(2).map(\.payload) == claims)
        for message in messages {
            #expect(message.sender("uid") == 1000 && message.opener("uid") == 1000)
            #expect(message.fields["origin"] as? String == "edge")
            #expect(message.level == "remote")
        }
    }

    @Test("A peer speaks for itself only: other origins, levels and ids gain nothing")
    func peerClaims() throws {
        let brokers = try LinkedServers()
        let port = brokers.makePort()
        let key = try brokers.makeKey("edge")
        let hub = try brokers.start(
            "hub",
            [
                .init(
                    peer: "edge", role: "listen", address: "tcp://\(brokers.host):\(port)",
                    key: key)
            ])
        let subscriber = try hub.run(["sub", "#", "$SYS/forged", "--format", "json"])
        try hub.waitForSubscriptions(1)
        let told = try LinkedServers.play(
            "link_peer.py", ["claims", brokers.host, "\(port)", key])
        #expect(subscriber.waitForOutput { $0.outputText.contains("\"end\"") })
        let messages = try subscriber.outputLines.map(DeliveredMessage.init)
        #expect(messages.map(\.payload) == ["level kernel", "end"])
        for message in messages {
            #expect(message.level == "remote")
            #expect(message.fields["origin"] as? String == "edge")
        }
        let dropped = try #require(try hub.link("edge")["dropped"] as? [String: Int])
        #expect(dropped == (try #require(told["dropped"] as? [String: Int])))
    }
}
