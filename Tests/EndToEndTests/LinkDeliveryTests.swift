import Foundation
import TestSupport
import Testing

/// What links promise, between real brokers on real sockets.
@Suite("Delivery over links", .serialized, .enabled(if: Actors.isAvailable, "needs python3"))
struct LinkDeliveryTests {
    @Test("100 cuts at 10,000 messages a second: each message once, in order per publisher")
    func cuts() throws {
        let brokers = try LinkedServers()
        let (hubPort, port) = (brokers.makePort(), brokers.makePort())
        let (edge, hub) = try brokers.startPair(hubPort: hubPort, edgePort: port)
        let seed = UInt64.random(in: 1...1_000_000)
        let proxy = try ChildProcess([
            Actors.python, Actors.file("Actors/link_proxy.py").path, "cuts", brokers.host,
            "\(port)", "\(hubPort)", edge.socketPath, hub.socketPath, "100", "\(seed)",
        ])
        try edge.waitForLink("hub", wanting: ["load/#"])
        try proxy.write("\n")
        #expect(proxy.wait(seconds: 120) == 0, "seed \(seed): \(proxy.errorText)")
        let told = try Actors.object(try #require(proxy.outputLines.last))
        print("cuts: \(told), seed \(seed)")
        #expect(told["cuts"] as? Int == 100)
        #expect(told["delivered"] as? Int == told["published"] as? Int, "seed \(seed)")
        #expect((told["wrong"] as? [Any])?.isEmpty == true, "seed \(seed): \(told)")
        let link = try edge.link("hub")
        // A cut within a handshake ends what never was a connection.
        #expect(link["connections"] as? Int ?? 0 > 80)
        #expect(link["messagesLost"] as? Int == 0)
    }

    @Test("Python's hmac verifies what running brokers sent, before and after a rotation")
    func capture() throws {
        let brokers = try LinkedServers()
        let (hubPort, port) = (brokers.makePort(), brokers.makePort())
        let (edge, hub) = try brokers.startPair(hubPort: hubPort, edgePort: port)
        let proxy = try ChildProcess([
            Actors.python, Actors.file("Actors/link_proxy.py").path, "capture", brokers.host,
            "\(port)", "\(hubPort)",
        ])
        let subscriber = try hub.run(["sub", "#", "-C", "20", "-W", "60"])
        try edge.waitForLink("hub", wanting: ["#"])
        let lines = (1...10).map { "message \($0)" }.joined(separator: "\n") + "\n"
        func publish() throws {
            let publisher = try edge.run(["pub", "captured/x", "-l", "--ack"])
            try publisher.write(lines)
            publisher.closeInput()
            #expect(publisher.wait() == 0, "\(publisher.errorText)")
        }
        try publish()
        try rotate(brokers, edge, hub)
        try publish()
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        #expect(try edge.settles { try $0.link("hub")["unacknowledgedBytes"] as? Int == 0 })
        #expect(try edge.link("hub")["connections"] as? Int == 1)
        proxy.closeInput()
        #expect(proxy.wait() == 0, "\(proxy.errorText)")
        let file = brokers.directory.appendingPathComponent("capture.json")
        try proxy.outputText.write(to: file, atomically: true, encoding: .utf8)
        let verifier = try ChildProcess([
            Actors.python, Actors.file("../../Protocol/reference/verify_link.py").path,
            "--key", brokers.directory.appendingPathComponent("edge.key").path, "--flip", "2000",
            file.path,
        ])
        #expect(verifier.wait() == 0, "\(verifier.errorText)")
        #expect(
            verifier.outputText.contains("20 messages, 2000 alterations found out"),
            "\(verifier.outputText)")
    }

    /// As the manual says: once, carry the file over, then once on each side.
    private func rotate(
        _ brokers: LinkedServers, _ edge: BrokerUnderTest, _ hub: BrokerUnderTest
    ) throws {
        let old = try edge.link("hub")["keyID"] as? String
        let key = brokers.directory.appendingPathComponent("edge.key").path
        func step(_ path: String) throws {
            let rotation = try edge.run(["link", "rotate", "hub", "--file", path])
            #expect(rotation.wait() == 0, "\(rotation.errorText)")
        }
        try step(key)
        let carried = try brokers.carryKey(key, to: "hub")
        #expect(hub.process.waitForOutput { $0.errorText.contains("link keys reloaded") })
        try step(key)
        #expect(try edge.settles { try $0.link("hub")["keyID"] as? String != old })
        try step(carried)
    }

    @Test("A triangle and a mesh of five deliver each message once", arguments: [3, 5])
    func loops(count: Int) throws {
        let brokers = try LinkedServers()
        let names = (0..<count).map { "node-\($0)" }
        let key = try brokers.makeKey("mesh")
        let ports = names.map { _ in brokers.makePort() }
        // Every broker is linked to every other; the one with the lower number listens.
        let nodes = try names.indices.map { own in
            try brokers.start(
                names[own],
                names.indices.filter { $0 != own }.map { other in
                    LinkedServers.Link(
                        peer: names[other], role: other > own ? "listen" : "connect",
                        address: "tcp://\(brokers.host):\(ports[min(own, other)])", key: key,
                        extra: "origins = [\"node-*\"]")
                })
        }
        let total = count * 200
        let subscribers = try nodes.map {
            try $0.run([
                "sub", "mesh/+", "-C", "\(total)", "-W", "60", "-F", "%t %p", "--overflow",
                "block",
            ])
        }
        for own in names.indices {
            for other in names.indices where other != own {
                try nodes[own].waitForLink(names[other], wanting: ["mesh/+"])
            }
        }
        let publishers = try nodes.enumerated().map { number, node in
            let publisher = try node.run(["pub", "mesh/\(number)", "-l"])
            try publisher.write((0..<200).map { "\($0)\n" }.joined())
            publisher.closeInput()
            return publisher
        }
        for publisher in publishers { #expect(publisher.wait() == 0, "\(publisher.errorText)") }
        for subscriber in subscribers {
            #expect(subscriber.wait(seconds: 60) == 0, "\(subscriber.errorText)")
            for number in 0..<count {
                let got = subscriber.outputLines.filter { $0.hasPrefix("mesh/\(number) ") }
                #expect(got == (0..<200).map { "mesh/\(number) \($0)" })
            }
        }
        // Nothing comes late either: every broker has taken each message from elsewhere once.
        for (node, name) in zip(nodes, names) {
            let links = try #require(try node.status()["links"] as? [[String: Any]])
            let accepted = links.reduce(0) { $0 + ($1["messagesAccepted"] as? Int ?? 0) }
            #expect(accepted == (count - 1) * 200, "\(name)")
        }
    }
}
