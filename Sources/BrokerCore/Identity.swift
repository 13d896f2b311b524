package import BrokerWire

/// What the kernel recorded for one packet: SCM_CREDENTIALS, the receive time and, where the
/// kernel has pidfds, which process it was.
package struct Attestation: Equatable, Sendable {
    package var pid: Int32
    package var uid: UInt32
    package var gid: UInt32
    /// Inode of the sender's pidfd; 0: not known.
    package var process: UInt64
    package var timeNanoseconds: UInt64

    package init(
        pid: Int32, uid: UInt32, gid: UInt32, process: UInt64, timeNanoseconds: UInt64
    ) {
        self.pid = pid
        self.uid = uid
        self.gid = gid
        self.process = process
        self.timeNanoseconds = timeNanoseconds
    }
}

/// Who sent a packet, as far as the kernel said. There is no third case: what is not attested is
/// unknown, never root and never nobody.
package enum PacketIdentity: Equatable, Sendable {
    case attested(Attestation)
    case unknown(Missing)

    /// Why the sender is unknown.
    package enum Missing: Equatable, Sendable {
        /// The credentials were not recorded when the packet was queued.
        case unrecorded
        /// The kernel delivered no, or not exactly one whole, SCM_CREDENTIALS.
        case incomplete
        /// Control data or payload were cut short.
        case truncated
        /// The uid or gid is 4294967295, which is nobody's.
        case noID

        package var explanation: String {
            switch self {
            case .unrecorded: "the kernel recorded no credentials for this packet"
            case .incomplete: "the kernel did not deliver exactly one set of credentials"
            case .truncated: "the packet or its control data arrived truncated"
            case .noID: "its uid or gid is 4294967295, which is nobody's"
            }
        }
    }
}

/// Who opened a connection: read once, when it was accepted.
package struct Peer: Equatable, Sendable {
    package var record: SenderRecord.Opener
    /// Supplementary groups at connect(), sorted, without duplicates.
    package var groups: [UInt32]
    package var domain: SenderRecord.Domain

    package init(
        record: SenderRecord.Opener, groups: [UInt32], domain: SenderRecord.Domain
    ) {
        self.record = record
        self.groups = groups
        self.domain = domain
    }
}

extension SenderRecord {
    /// Puts attestation and opener side by side and says how far they may be believed.
    package init(attestation: Attestation, opener: Peer) {
        self.init(
            pid: attestation.pid, uid: attestation.uid, gid: attestation.gid,
            process: attestation.process, opener: opener.record,
            timeNanoseconds: attestation.timeNanoseconds,
            level: Self.level(of: attestation, opener: opener),
            isDelegated: Self.isDelegated(attestation, opener: opener.record),
            domain: opener.domain)
    }

    /// Root of the broker's namespace can claim any id, root of another namespace any id that is
    /// mapped there. Root on either side of the connection is enough: a descriptor opened by a
    /// user and written by root carries what root chose.
    private static func level(of attestation: Attestation, opener: Peer) -> Level {
        if opener.record.uid == 0 || attestation.uid == 0 { return .claimable }
        switch opener.domain {
        case .other: return .claimable
        case .own, .unknown: return .kernel
        }
    }

    /// A pid alone is no identity: it may have been reused. Where both processes are known by
    /// pidfd, those decide.
    private static func isDelegated(_ attestation: Attestation, opener: Opener) -> Bool {
        if attestation.uid != opener.uid || attestation.pid != opener.pid { return true }
        guard attestation.process != 0, opener.process != 0 else { return false }
        return attestation.process != opener.process
    }
}
