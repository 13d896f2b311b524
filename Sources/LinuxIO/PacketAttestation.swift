/// The ids that the kernel recorded for the sender of one packet: its thread group and its
/// REAL user and group at the time of sending, as numbers of the reader's namespaces.
public struct PacketCredentials: Equatable, Hashable, Sendable {
    public let pid: Int32
    public let uid: UInt32
    public let gid: UInt32

    public init(pid: Int32, uid: UInt32, gid: UInt32) {
        self.pid = pid
        self.uid = uid
        self.gid = gid
    }
}

/// What the kernel said of one received packet, besides its bytes.
///
/// A packet counts only if `credentials` is `.recorded` with a pid above 0 (or a sender process
/// descriptor came with it) and nothing was truncated. Anything else has no known sender:
/// not root, not nobody.
public struct PacketAttestation: Equatable, Sendable {
    public enum Credentials: Equatable, Sendable {
        /// Exactly one SCM_CREDENTIALS of the right length. A pid of 0 is a sender outside our
        /// pid namespace.
        case recorded(PacketCredentials)
        /// The packet was queued while nobody asked for credentials: pid 0 and the overflow
        /// ids, without a process descriptor.
        case unrecorded
        /// No SCM_CREDENTIALS: SO_PASSCRED is off, or the control buffer was too small.
        case missing
        /// An SCM_CREDENTIALS that is not whole, or more than one.
        case malformed
    }

    public internal(set) var credentials = Credentials.missing
    /// MSG_CTRUNC: control messages were lost.
    public internal(set) var controlTruncated = false
    /// MSG_TRUNC: the end of the packet was lost.
    public internal(set) var dataTruncated = false
    /// A packet of no bytes, which is not the end of the stream.
    public internal(set) var isEmpty = false
    /// When the kernel queued the packet (SCM_TIMESTAMPNS), in nanoseconds since 1970 by the
    /// clock of the sending moment; 0 when not delivered.
    public internal(set) var receiveTimeNanoseconds: UInt64 = 0
    /// A valid SCM_PIDFD came with the packet (it was closed at once).
    public internal(set) var senderProcessDelivered = false
    /// The inode number of that descriptor: unique among processes until reboot. Nil without
    /// a descriptor and before Linux 6.9.
    public internal(set) var senderProcessInode: UInt64?
    /// How many SCM_RIGHTS descriptors arrived; all were closed.
    public internal(set) var descriptorsClosed = 0

    public init() {}
}
