import Foundation
import TestSupport
import Testing

/// Brokers in network namespaces of their own, and what networks do.
@Suite("Links over a real network", .serialized)
struct LinkNetworkTests {
    @Test(
        "Drops, resets, a lost interface: each message once when it is over, and status tells",
        .enabled(
            if: Actors.isAvailable && Namespaces.areAvailable,
            "needs root that may make network namespaces, ip, ss, nft and python3"))
    func faults() throws {
        let network = try Namespaces()
        let brokers = try LinkedServers()
        let (edge, hub) = try brokers.startPair(over: network)
        let load = try ChildProcess([
            Actors.python, Actors.file("Actors/link_proxy.py").path, "steady", edge.socketPath,
            hub.socketPath, "1000",
        ])
        try edge.waitForLink("hub", wanting: ["load/#"])
        try load.write("\n")

        // Short: the connection lives on.
        try network.drop(forSeconds: 2)
        #expect(try edge.delivers(afterwardsTo: hub))
        #expect(try edge.link("hub")["connections"] as? Int == 1)

        // The listener does not hear of a reset that only the connector got, as long as that lasts.
        try network.rejectWithReset()
        #expect(try edge.settles { try !$0.isLinkUp("hub") })
        #expect(try hub.isLinkUp("edge"))
        try network.heal()
        #expect(try edge.delivers(afterwardsTo: hub))
        #expect(try hub.settles { try $0.link("edge")["connections"] as? Int == 2 })

        try network.killConnections()
        #expect(try edge.settles { try $0.link("hub")["connections"] as? Int == 3 })
        #expect(try edge.delivers(afterwardsTo: hub))
        #expect(hub.process.errorText.contains("the stream ended"))

        try network.takeDown(forSeconds: 2)
        #expect(try edge.delivers(afterwardsTo: hub))

        // Long: both sides give up, and find each other again by themselves.
        try network.dropEverything()
        #expect(try edge.settles { try !$0.isLinkUp("hub") })
        #expect(try hub.settles { try !$0.isLinkUp("edge") })
        #expect(try edge.linkCount("hub", "faults", "silent") == 1)
        #expect(try hub.linkCount("edge", "faults", "silent") == 1)
        // It does not wait as long as the kernel would for an answer to what was dropped.
        #expect(
            edge.process.waitForOutput(seconds: 40) {
                $0.errorText.contains("no answer link=hub")
            })
        try network.heal()
        #expect(try edge.settles { try $0.isLinkUp("hub") })
        #expect(try edge.delivers(afterwardsTo: hub))

        load.closeInput()
        #expect(load.wait(seconds: 60) == 0, "\(load.errorText)")
        let told = try Actors.object(try #require(load.outputLines.last))
        print("network faults: \(told)")
        #expect(told["delivered"] as? Int == told["published"] as? Int)
        #expect((told["wrong"] as? [Any])?.isEmpty == true, "\(told)")
        #expect(try edge.link("hub")["messagesLost"] as? Int == 0)
    }

    @Test(
        "A slow network: messages come once, in order, and the round trip is told",
        .enabled(if: Actors.isAvailable, "needs python3"))
    func delay() throws {
        let brokers = try LinkedServers()
        let (hubPort, port) = (brokers.makePort(), brokers.makePort())
        let (edge, hub) = try brokers.startPair(hubPort: hubPort, edgePort: port)
        let script = Actors.file("Actors/link_proxy.py").path
        let relay = try ChildProcess([
            Actors.python, script, "delay", brokers.host, "\(port)", "\(hubPort)", "100",
        ])
        defer { relay.closeInput() }
        let load = try ChildProcess([
            Actors.python, script, "steady", edge.socketPath, hub.socketPath, "4000",
        ])
        try edge.waitForLink("hub", wanting: ["load/#"])
        try load.write("\n")
        Thread.sleep(forTimeInterval: 3)
        load.closeInput()
        #expect(load.wait(seconds: 60) == 0, "\(load.errorText)")
        let told = try Actors.object(try #require(load.outputLines.last))
        #expect(told["delivered"] as? Int == told["published"] as? Int)
        #expect((told["wrong"] as? [Any])?.isEmpty == true, "\(told)")
        // Both sides ask, also the one that had something to say all the time.
        func roundTrips() throws -> [Int] {
            try [edge.link("hub"), hub.link("edge")]
                .compactMap { $0["roundTripMicroseconds"] as? Int }
        }
        #expect(try hub.settles { _ in try roundTrips().count == 2 })
        #expect(try roundTrips().allSatisfy { $0 >= 200_000 })
        #expect(try edge.isLinkUp("hub"))
    }
}

/// Two network namespaces joined by a pair of virtual interfaces.
final class Namespaces {
    static let port = 7447
    let edge = "broker-edge-\(getpid())"
    let hub = "broker-hub-\(getpid())"
    let hubAddress = "10.99.0.2"

    /// Whether this user may make namespaces, and has the tools.
    static let areAvailable: Bool = {
        guard Actors.isRoot else { return false }
        let name = "broker-probe-\(getpid())"
        let commands = [
            ["ip", "netns", "add", name],
            ["ip", "netns", "exec", name, "nft", "list", "ruleset"],
            ["ip", "netns", "exec", name, "ss", "-t"],
        ]
        let isAble = commands.allSatisfy { (try? ChildProcess($0).wait()) == 0 }
        _ = try? ChildProcess(["ip", "netns", "del", name]).wait()
        return isAble
    }()

    init() throws {
        for name in [edge, hub] {
            try run(["ip", "netns", "add", name])
            try run(["ip", "-n", name, "link", "set", "lo", "up"])
        }
        try run(
            ["ip", "link", "add", "wire", "netns", edge, "type", "veth"]
                + ["peer", "name", "wire", "netns", hub])
        for (name, address) in [(edge, "10.99.0.1"), (hub, hubAddress)] {
            try run(["ip", "-n", name, "addr", "add", "\(address)/24", "dev", "wire"])
            try run(["ip", "-n", name, "link", "set", "wire", "up"])
        }
    }

    deinit {
        for name in [edge, hub] { _ = try? ChildProcess(["ip", "netns", "del", name]).wait() }
    }

    /// For a command in a namespace.
    static func prefix(_ name: String) -> [String] { ["ip", "netns", "exec", name] }

    private func run(_ command: [String]) throws {
        let process = try ChildProcess(command)
        guard process.wait() == 0 else {
            throw BrokerUnderTest.Failure(
                description: "\(command.joined(separator: " ")): \(process.errorText)")
        }
    }

    /// What the hub's side does with packets that arrive.
    private func filter(_ rule: String) throws {
        let table =
            "table inet fault { chain in { type filter hook input priority 0; \(rule) ; } ; }"
        try run(Self.prefix(hub) + ["nft", table])
    }

    func dropEverything() throws { try filter("counter drop") }

    func rejectWithReset() throws {
        try filter("tcp dport \(Self.port) counter reject with tcp reset")
    }

    func heal() throws { try run(Self.prefix(hub) + ["nft", "flush", "ruleset"]) }

    func drop(forSeconds seconds: Double) throws {
        try dropEverything()
        Thread.sleep(forTimeInterval: seconds)
        try heal()
    }

    /// Ends the connections at the connector, as an administrator can.
    func killConnections() throws {
        try run(Self.prefix(edge) + ["ss", "-K", "dst", hubAddress])
    }

    func takeDown(forSeconds seconds: Double) throws {
        try run(["ip", "-n", edge, "link", "set", "wire", "down"])
        Thread.sleep(forTimeInterval: seconds)
        try run(["ip", "-n", edge, "link", "set", "wire", "up"])
    }
}

extension LinkedServers {
    /// "edge" and "hub", each in its namespace.
    fileprivate func startPair(
        over network: Namespaces
    ) throws -> (edge: BrokerUnderTest, hub: BrokerUnderTest) {
        let key = try makeKey("edge")
        let address = "tcp://\(network.hubAddress):\(Namespaces.port)"
        let hub = try start(
            "hub", [Link(peer: "edge", role: "listen", address: address, key: key)],
            prefix: Namespaces.prefix(network.hub))
        let edge = try start(
            "edge", [Link(peer: "hub", role: "connect", address: address, key: key)],
            prefix: Namespaces.prefix(network.edge))
        return (edge, hub)
    }
}

extension BrokerUnderTest {
    /// Whether what is published here from now on arrives there.
    fileprivate func delivers(afterwardsTo hub: BrokerUnderTest) throws -> Bool {
        let topic = "after/\(UUID().uuidString)"
        let subscriber = try hub.run(["sub", topic, "-C", "1", "-W", "60"])
        let isWanted = try settles {
            (try $0.link("hub")["filters"] as? [String])?.contains(topic) == true
        }
        guard isWanted else { return false }
        return try run(["pub", topic, "here", "--ack"]).wait() == 0
            && subscriber.wait(seconds: 70) == 0
    }
}
