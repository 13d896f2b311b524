import BrokerWire
import Testing

@testable import BrokerCore

@Suite("Identity and AccessPolicy: who sent it, and may they")
struct IdentityTests {
    private func record(
        _ attestation: Attestation, _ opener: Peer
    ) -> SenderRecord {
        SenderRecord(attestation: attestation, opener: opener)
    }

    @Test("Another pid, another uid or another process behind the same pid is delegated")
    func delegated() {
        let opener = Sample.peer(uid: 1000, pid: 5, process: 50)
        func isDelegated(uid: UInt32, pid: Int32, process: UInt64) -> Bool {
            record(Sample.attestation(uid: uid, pid: pid, process: process), opener).isDelegated
        }
        #expect(!isDelegated(uid: 1000, pid: 5, process: 50))
        #expect(!isDelegated(uid: 1000, pid: 5, process: 0))
        #expect(isDelegated(uid: 1000, pid: 5, process: 51))
        #expect(isDelegated(uid: 1000, pid: 6, process: 50))
        #expect(isDelegated(uid: 1001, pid: 5, process: 50))
    }

    @Test("Root on either side, or another namespace, makes an identity claimable")
    func level() {
        let user = Sample.attestation(uid: 1000)
        let root = Sample.attestation(uid: 0)
        let other = SenderRecord.Domain.other(ownerUID: 1000)
        #expect(record(user, Sample.peer(uid: 1000)).level == .kernel)
        #expect(record(user, Sample.peer(uid: 1000, domain: .unknown)).level == .kernel)
        #expect(record(root, Sample.peer(uid: 1000)).level == .claimable)
        #expect(record(user, Sample.peer(uid: 0)).level == .claimable)
        #expect(record(user, Sample.peer(uid: 1000, domain: other)).level == .claimable)
    }

    @Test(
        "Who lacks the right is named, sender before opener",
        arguments: [
            // attested, opener, and who is refused
            (UInt32(0), UInt32(0), nil),
            (990, 990, nil),
            (0, 990, nil),
            (990, 0, nil),
            (1000, 1000, (UInt32(1000), false)),
            (1000, 0, (1000, false)),
            (0, 1000, (1000, true)),
            (990, 1000, (1000, true)),
            (4_294_967_294, 0, (4_294_967_294, false)),
            (2_147_483_648, 2_147_483_648, (2_147_483_648, false)),
            (0, 65_534, (65_534, true)),
        ] as [(UInt32, UInt32, (UInt32, Bool)?)])
    func ownerOnly(attested: UInt32, opener: UInt32, refused: (UInt32, Bool)?) {
        let policy = AccessPolicy.ownerOnly(brokerUID: 990)
        let subject = Subject(
            record(Sample.attestation(uid: attested), Sample.peer(uid: opener)))
        for action in [Action.publish, .subscribe, .inspect, .block] {
            let expected =
                refused.map {
                    Decision.denied(uid: $0.0, as: $0.1 ? .opener : .sender, rule: nil)
                } ?? .allowed(rule: 0)
            let topic = Array("$SYS/any".utf8)
            #expect(policy.decide(action, topic: topic, subject) == expected)
            let open = AccessPolicy.open(brokerUID: 990)
            #expect(open.decide(action, topic: topic, subject).isAllowed)
        }
    }

    @Test("Subjects differ in everything that a decision may depend on")
    func subjects() {
        let base = record(Sample.attestation(uid: 1000, gid: 5), Sample.peer(uid: 1000))
        let others = [
            record(Sample.attestation(uid: 1001, gid: 5), Sample.peer(uid: 1000)),
            record(Sample.attestation(uid: 1000, gid: 6), Sample.peer(uid: 1000)),
            record(Sample.attestation(uid: 1000, gid: 5), Sample.peer(uid: 1001)),
            record(Sample.attestation(uid: 1000, gid: 5, pid: 9), Sample.peer(uid: 1000)),
            record(
                Sample.attestation(uid: 1000, gid: 5),
                Sample.peer(uid: 1000, domain: .other(ownerUID: nil))),
        ]
        #expect(Set((others + [base]).map { Subject($0) }).count == 6)
    }
}
