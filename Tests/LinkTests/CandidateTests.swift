import BrokerCore
import BrokerWire
import Testing

/// What carries a stream may know who the peer is before the peer says so.
@Suite("Whom a listener takes its peer for")
struct CandidateTests {
    private static let now: UInt64 = 1_000_000_000

    private static func makeBroker(_ name: String, _ links: [LinkConfiguration]) -> Broker {
        var broker = Broker(
            configuration: BrokerConfiguration(
                name: name, version: "0", instance: 7, hashSeed: 1,
                process: SenderRecord.Opener(pid: 1, uid: 990, gid: 990, process: 9),
                packetBytesMax: Limits.packetBytesMax, policy: .open(brokerUID: 990)),
            nowNanoseconds: now)
        broker.configureLinks(
            links,
            security: FixedSecurity(
                keys: Exchange.keys, current: 0x1111_1111_1111_1111, seed: UInt64(links.count)))
        return broker
    }

    private static func makeHub() -> Broker {
        makeBroker(
            "hub", ["edge-1", "edge-2"].map { LinkConfiguration(peer: $0, isConnector: false) })
    }

    /// What `edge-1` says first.
    private static func hello() throws -> [UInt8] {
        var edge = makeBroker("edge-1", [LinkConfiguration(peer: "hub", isConnector: true)])
        var effects = Effects()
        let dialed = edge.linkDialed("hub", nowNanoseconds: now, into: &effects)
        let id = try #require(dialed)
        var output = LinkOutput()
        edge.linkOutput(id, into: &output, nowNanoseconds: now, effects: &effects)
        let pending = output.pending
        return (0..<pending.count).map { pending[$0] }
    }

    /// Why the hub refuses the HELLO of `edge-1`; nil: it does not.
    private func refusal(
        accepting candidates: [String]?, proved: [String]? = nil
    ) throws -> LinkFault.Reason? {
        var hub = Self.makeHub()
        var effects = Effects()
        let accepted = hub.linkAccepted(for: candidates, nowNanoseconds: Self.now)
        let id = try #require(accepted)
        if let proved { hub.linkPeerProved(id, toBe: proved) }
        let hello = try Self.hello()
        _ = hub.linkReceived(id, hello.span, nowNanoseconds: Self.now, into: &effects)
        let notices = effects.linkNotices
        return notices.first?.reason
    }

    @Test("A HELLO is taken from the links that listen there, and from no others")
    func candidates() throws {
        #expect(try refusal(accepting: nil) == nil)
        #expect(try refusal(accepting: ["edge-1", "edge-2"]) == nil)
        #expect(try refusal(accepting: ["edge-2"]) == .nameUnknown)
        #expect(try refusal(accepting: []) == .nameUnknown)
    }

    @Test("Whom TLS has proved the peer to be decides over what it calls itself")
    func proved() throws {
        let both = ["edge-1", "edge-2"]
        #expect(try refusal(accepting: both, proved: ["edge-1"]) == nil)
        #expect(try refusal(accepting: both, proved: ["edge-2"]) == .nameUnknown)
        #expect(try refusal(accepting: both, proved: []) == .nameUnknown)
    }

    @Test("What fails before HELLO is counted for the only link it can be")
    func failure() throws {
        for (candidates, link) in [(["edge-1"], "edge-1"), (["edge-1", "edge-2"], "")] {
            var hub = Self.makeHub()
            var effects = Effects()
            let accepted = hub.linkAccepted(for: candidates, nowNanoseconds: Self.now)
            let id = try #require(accepted)
            hub.linkFailed(id, LinkFault(.tlsFailed, "no TLS 1.3"), into: &effects)
            let notices = effects.linkNotices
            #expect(notices.map(\.link) == [link])
            #expect(notices.map(\.reason) == [.tlsFailed])
            let counted = hub.linkStatistics("edge-1")?.faults[.tlsFailed]
            #expect(counted == (link.isEmpty ? nil : 1))
        }
    }
}
