import Foundation
import TestSupport
import Testing

/// Somebody who holds the wire between real brokers.
@Suite("Links under attack", .serialized, .enabled(if: Actors.isAvailable, "needs python3"))
struct LinkAttackTests {
    /// A hub with a link that a scripted peer speaks on, and a subscriber to everything.
    private final class Target {
        let brokers: LinkedServers
        let hub: BrokerUnderTest
        let subscriber: ChildProcess
        let arguments: [String]

        init() throws {
            let brokers = try LinkedServers()
            let port = brokers.makePort()
            let key = try brokers.makeKey("edge")
            let links = ["edge", "slow"].map { peer in
                LinkedServers.Link(
                    peer: peer, role: "listen", address: "tcp://\(brokers.host):\(port)", key: key)
            }
            hub = try brokers.start("hub", links)
            self.brokers = brokers
            subscriber = try hub.run(["sub", "#", "--format", "json"])
            try hub.waitForSubscriptions(1)
            arguments = [brokers.host, "\(port)", key]
        }

        func play(_ scene: String, _ more: String...) throws -> [String: Any] {
            try LinkedServers.play("link_peer.py", [scene] + arguments + more)
        }

        /// What the subscriber has got, once `last` is among it.
        func payloads(until last: String) throws -> [String] {
            let hasCome = subscriber.waitForOutput { $0.outputText.contains("\"\(last)\"") }
            #expect(hasCome, "\(last) has not arrived: \(hub.process.errorText.suffix(2_000))")
            return try subscriber.outputLines.compactMap { try DeliveredMessage($0).payload }
        }
    }

    @Test("10,000 altered bytes: each ends the link with a reason, nothing of it is delivered")
    func corruptions() throws {
        let target = try Target()
        let descriptors = target.hub.descriptorCount(connections: 1)
        var cases = 0
        var honest = 0
        var residentKiB: [Int] = []
        let rounds = 4
        for round in 0..<rounds {
            let told = try target.play("corrupt", "\(round)", "\(rounds)", "\(round)")
            cases += told["cases"] as? Int ?? 0
            honest += told["honest"] as? Int ?? 0
            #expect(target.hub.settles { $0.descriptorCount <= descriptors })
            residentKiB.append(target.hub.residentKiB)
            print("altered bytes: \(told["reasons"] ?? ""), \(target.hub.residentKiB) KiB")
        }
        #expect(cases >= 10_000)
        #expect(try target.hub.counter("linkFaults") == cases)
        let payloads = try target.payloads(until: "honest \(rounds - 1) end")
        #expect(payloads.count == honest && payloads.allSatisfy { $0.hasPrefix("honest ") })
        #expect(Set(payloads).count == honest)
        #expect(residentKiB[rounds - 1] - residentKiB[0] < 4_096, "grew: \(residentKiB) KiB")
        let log = target.hub.process.errorText
        #expect(log.contains("reason=tagMismatch") && log.contains("reason=malformed"))
        #expect(target.hub.stop() == 0)
    }

    @Test("Replayed, reflected, spliced, cut and reordered records end the link, drops in time not")
    func records() throws {
        let target = try Target()
        let descriptors = target.hub.descriptorCount(connections: 1)
        let drip = try ChildProcess(
            [Actors.python, Actors.file("Actors/link_peer.py").path, "drip"] + target.arguments)
        var expected: [String] = []
        var cases = 0
        var residentKiB: [Int] = []
        for _ in 0..<3 {
            let told = try target.play("attacks", "1")
            cases += told["cases"] as? Int ?? 0
            expected += told["delivered"] as? [String] ?? []
            residentKiB.append(target.hub.residentKiB)
        }
        #expect(drip.wait(seconds: 60) == 0, "\(drip.errorText)")
        let dripped = try Actors.object(try #require(drip.outputLines.last))
        let reasons = try #require(dripped["reasons"] as? [String: Int])
        #expect(reasons == ["handshakeTimeout": 20, "silent": 1])
        cases += dripped["cases"] as? Int ?? 0
        expected += dripped["delivered"] as? [String] ?? []
        #expect(try target.hub.counter("linkFaults") == cases)
        let payloads = try target.payloads(until: try #require(expected.last))
        #expect(payloads.sorted() == expected.sorted())
        #expect(target.hub.process.errorText.contains("the stream ended"))
        #expect(target.hub.settles { $0.descriptorCount <= descriptors })
        #expect(residentKiB[2] - residentKiB[0] < 4_096, "grew: \(residentKiB) KiB")
        #expect(target.hub.stop() == 0)
    }

    @Test("Between real brokers every tampered connection ends, and each message still comes once")
    func tampering() throws {
        let brokers = try LinkedServers()
        let (names, hubPort) = ((0..<6).map { "edge-\($0)" }, brokers.makePort())
        let key = try brokers.makeKey("edges")
        func link(_ peer: String, _ role: String, _ port: Int) -> LinkedServers.Link {
            .init(peer: peer, role: role, address: "tcp://\(brokers.host):\(port)", key: key)
        }
        let hub = try brokers.start("hub", names.map { link($0, "listen", hubPort) })
        let edges = try names.map { name in
            let port = brokers.makePort()
            return (port, try brokers.start(name, [link("hub", "connect", port)]))
        }
        let count = 300
        let seed = UInt64.random(in: 1...1_000_000)
        let proxy = try ChildProcess(
            [Actors.python, Actors.file("Actors/link_proxy.py").path, "tamper", brokers.host]
                + ["\(hubPort)", hub.socketPath, "\(count)", "\(seed)"]
                + edges.map { "\($0.0)=\($0.1.socketPath)" })
        for (name, (_, edge)) in zip(names, edges) {
            try edge.waitForLink("hub", wanting: ["up/#"])
            try hub.waitForLink(name, wanting: ["down"])
        }
        try proxy.write("\n")
        #expect(proxy.wait(seconds: 120) == 0, "seed \(seed): \(proxy.errorText)")
        let told = try Actors.object(try #require(proxy.outputLines.last))
        print("tampered: \(told["kinds"] ?? ""), seed \(seed)")
        let cases = told["cases"] as? Int ?? 0
        #expect(cases >= count)
        #expect(told["delivered"] as? Int == told["published"] as? Int, "seed \(seed): \(told)")
        #expect((told["wrong"] as? [Any])?.isEmpty == true, "seed \(seed): \(told)")
        var faults = try hub.counter("linkFaults") ?? 0
        for (_, edge) in edges { faults += try edge.counter("linkFaults") ?? 0 }
        #expect(faults >= cases)
    }

    @Test("Strangers who connect again and again fill no disk with what is said of them")
    func strangers() throws {
        let target = try Target()
        // All handshakes that may be unfinished, then many more.
        let told = try target.play("flood", "64", "1000")
        #expect(told["connections"] as? Int == 1_064)
        #expect(target.hub.process.waitForOutput { $0.errorText.contains("log lines suppressed") })
        let lines = target.hub.process.errorText.split(separator: "\n")
            .filter { $0.contains("unfinished handshakes") }
        #expect(!lines.isEmpty)
        // By the second that they begin with; its seconds and those of the broker may overlap.
        let seconds = Dictionary(grouping: lines) { $0.prefix { $0 != " " } }
        let busiest = seconds.map(\.value.count).max()
        #expect(try #require(busiest) <= 100)
    }
}
