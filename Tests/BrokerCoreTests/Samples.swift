import BrokerWire

@testable import BrokerCore

/// Identities and configurations that tests begin with.
enum Sample {
    static let brokerUID: UInt32 = 990
    static let second: UInt64 = 1_000_000_000

    static func configuration(
        policy: AccessPolicy = .open(brokerUID: brokerUID),
        packetBytesMax: Int = Limits.packetBytesMax
    ) -> BrokerConfiguration {
        BrokerConfiguration(
            name: "test", version: "0.0.0", instance: 7, hashSeed: 0x5EED,
            process: SenderRecord.Opener(pid: 90, uid: brokerUID, gid: brokerUID, process: 900),
            packetBytesMax: packetBytesMax, policy: policy)
    }

    static func peer(
        uid: UInt32, pid: Int32 = 100, process: UInt64 = 0,
        domain: SenderRecord.Domain = .own
    ) -> Peer {
        Peer(
            record: SenderRecord.Opener(pid: pid, uid: uid, gid: uid, process: process),
            groups: [], domain: domain)
    }

    static func attestation(
        uid: UInt32, gid: UInt32? = nil, pid: Int32 = 100, process: UInt64 = 0
    ) -> Attestation {
        Attestation(
            pid: pid, uid: uid, gid: gid ?? uid, process: process, timeNanoseconds: 1)
    }
}
