import BrokerCore
import BrokerWire
import Testing

/// What the shell has to do does not depend on what a log reader is told.
@Suite("A flood of notices about links")
struct NoticeFloodTests {
    private static let now: UInt64 = 1_000_000_000

    private static func makeBroker(_ name: String, _ link: LinkConfiguration) -> Broker {
        var broker = Broker(
            configuration: BrokerConfiguration(
                name: name, version: "0", instance: 7, hashSeed: 1,
                process: SenderRecord.Opener(pid: 1, uid: 990, gid: 990, process: 9),
                packetBytesMax: Limits.packetBytesMax, policy: .open(brokerUID: 990)),
            nowNanoseconds: now)
        broker.configureLinks(
            [link],
            security: FixedSecurity(
                keys: Exchange.keys, current: 0x1111_1111_1111_1111, seed: UInt64(name.count)))
        return broker
    }

    private static func take(
        from broker: inout Broker, _ id: LinkConnectionID, _ effects: inout Effects
    ) -> [UInt8] {
        var output = LinkOutput()
        broker.linkOutput(id, into: &output, nowNanoseconds: now, effects: &effects)
        return output.pending.copied()
    }

    @Test("The shell hears of a link that is established beside many who are refused")
    func established() throws {
        var hub = Self.makeBroker("hub", LinkConfiguration(peer: "edge", isConnector: false))
        var edge = Self.makeBroker("edge", LinkConfiguration(peer: "hub", isConnector: true))
        var (hubEffects, edgeEffects) = (Effects(), Effects())
        let first = edge.linkDialed("hub", nowNanoseconds: Self.now, into: &edgeEffects)
        let second = hub.linkAccepted(nowNanoseconds: Self.now)
        let (dialed, accepted) = (try #require(first), try #require(second))
        let garbage = [UInt8](repeating: 0x55, count: 256)
        for _ in 0..<200 {
            let third = hub.linkAccepted(nowNanoseconds: Self.now)
            let stranger = try #require(third)
            _ = hub.linkReceived(
                stranger, garbage.span, nowNanoseconds: Self.now, into: &hubEffects)
            hub.linkClosed(stranger, into: &hubEffects)
        }
        #expect(hubEffects.noticesDropped > 0)
        for _ in 0..<3 {
            let toHub = Self.take(from: &edge, dialed, &edgeEffects)
            _ = hub.linkReceived(
                accepted, toHub.span, nowNanoseconds: Self.now, into: &hubEffects)
            let toEdge = Self.take(from: &hub, accepted, &hubEffects)
            _ = edge.linkReceived(
                dialed, toEdge.span, nowNanoseconds: Self.now, into: &edgeEffects)
        }
        let isConnected = hub.isLinkConnected("edge") && edge.isLinkConnected("hub")
        try #require(isConnected)
        #expect(edgeEffects.linksEstablished == [dialed])
        #expect(hubEffects.linksEstablished == [accepted])
    }
}
