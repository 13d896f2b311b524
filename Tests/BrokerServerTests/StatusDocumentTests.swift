import BrokerCore
import BrokerWire
import Foundation
import Testing

@testable import BrokerServer

/// The status document as machines read it. Protocol/README.md, section 9.
@Suite("Status document")
struct StatusDocumentTests {
    private func document(_ sessions: [BrokerSnapshot.Session]) throws -> [String: Any] {
        let configuration = BrokerConfiguration(
            name: "host", version: "1.2.3", instance: 255, hashSeed: 1,
            process: SenderRecord.Opener(pid: 1, uid: 0, gid: 0, process: 0),
            packetBytesMax: Limits.packetBytesMax, policy: .open(brokerUID: 0))
        var broker = Broker(configuration: configuration, nowNanoseconds: 0)
        var effects = Effects()
        let opener = Peer(
            record: SenderRecord.Opener(pid: 42, uid: 4_294_967_294, gid: 7, process: 9),
            groups: [7, 8], domain: .other(ownerUID: 1001))
        _ = broker.connectionOpened(opener, nowNanoseconds: 0, into: &effects)
        let rules = RulesStatus(.open(brokerUID: 0), path: nil, warnings: [])
        let bytes = StatusDocument.encode(
            broker.snapshot(nowNanoseconds: 5_000_000_000),
            turns: FairQueue(inputCostMax: 0, busyPercentMax: 100), rules: rules)
        let object = try JSONSerialization.jsonObject(with: Data(bytes))
        return try #require(object as? [String: Any])
    }

    @Test("Sessions, openers, users and counters are there, the largest uid whole")
    func fields() throws {
        let document = try document([])
        #expect(document["version"] as? String == "1.2.3")
        #expect(document["instance"] as? String == "ff")
        #expect(document["uptimeSeconds"] as? Int == 5)
        let session = try #require((document["sessions"] as? [[String: Any]])?.first)
        #expect(session["state"] as? String == "greeting")
        #expect(session["connectedSeconds"] as? Int == 5)
        let opener = try #require(session["opener"] as? [String: Any])
        #expect(opener["uid"] as? Int == 4_294_967_294)
        #expect(opener["groups"] as? [Int] == [7, 8])
        #expect(opener["domain"] as? String == "other")
        #expect(opener["domainOwner"] as? Int == 1001)
        #expect(opener["trustDomain"] as? Int == 1001)
        let user = try #require((document["users"] as? [[String: Any]])?.first)
        #expect(user["uid"] as? Int == 4_294_967_294)
        #expect(user["connections"] as? Int == 1)
        #expect(user["greetings"] as? Int == 1)
        #expect(user["throttledMilliseconds"] as? Int == 0)
        let counters = try #require(document["counters"] as? [String: Any])
        #expect(counters["connectionsAccepted"] as? Int == 1)
        #expect(counters.keys.contains("messagesLost"))
    }
}
