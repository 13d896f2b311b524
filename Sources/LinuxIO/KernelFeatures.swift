import CLinux
import Glibc
import SystemPackage

/// What this kernel can tell about senders, found by trying it on a pair of sockets, and the
/// settings that bound a broker.
public struct KernelFeatures: Equatable, Sendable {
    /// Packets carry our own pid, uid and gid (SO_PASSCRED). Nothing works without it.
    public var passCred = false
    /// Packets carry a process descriptor (SO_PASSPIDFD, 6.5).
    public var passPidfd = false
    /// A connection gives its opener's process descriptor (SO_PEERPIDFD, 6.5).
    public var peerPidfd = false
    /// Process descriptors have inodes of their own (pidfs, 6.9).
    public var pidfdInode = false
    /// PIDFD_GET_INFO (6.13).
    public var pidfdGetInfo = false
    /// PIDFD_GET_USER_NAMESPACE (6.11), tried on this process. For processes of other users it
    /// takes the right to trace them as well (CAP_SYS_PTRACE).
    public var pidfdUserNamespace = false
    /// Descriptors can be refused (SO_PASSRIGHTS, 6.16).
    public var passRights = false
    /// Packets carry the time of queueing (SO_TIMESTAMPNS).
    public var receiveTimestamp = false

    /// The kernel's release (`6.18.44`), empty if unknown.
    public var kernelRelease = ""
    /// The sysctl net.core.wmem_max, which bounds the size of packets; nil if unknown.
    public var sendBufferBytesMax: Int?
    /// The sysctl kernel.pid_max; nil if unknown.
    public var pidMax: Int?
    /// /proc/self/uid_map as it is, lines and all.
    public var uidMap = ""
    /// Whether every uid is itself: "uid 0" means root of the machine only then.
    public var uidMapIsIdentity = false
    /// Whether we see every process of the machine; otherwise strangers have pid 0.
    public var isInitialPIDNamespace = false
    public var descriptorLimit = CurrentProcess.descriptorLimit

    /// The inode number of the first pid namespace (the kernel's PROC_PID_INIT_INO).
    private static let initialPIDNamespaceInode: UInt64 = 0xEFFF_FFFC

    /// Tries everything on this machine, as this user. Takes well below a millisecond.
    public static func probe() -> KernelFeatures {
        var features = KernelFeatures()
        features.tryPackets()
        features.readSettings()
        return features
    }

    /// Sends itself one packet with everything on.
    private mutating func tryPackets() {
        guard var pair = try? SeqpacketPair(), let sender = pair.first.take(),
            let receiver = pair.second.take()
        else { return }
        tryPackets(sender, receiver)
    }

    private mutating func tryPackets(
        _ sender: borrowing OwnedDescriptor, _ receiver: borrowing OwnedDescriptor
    ) {
        try? SocketOptions.enableCredentialRecording(receiver)
        try? SocketOptions.enableReceiveTimestamps(receiver)
        SocketOptions.setPassPidfd(receiver, true)
        passRights = SocketOptions.setPassRights(receiver, false)
        let probe: [UInt8] = [1]
        var packets = PacketReceiver(slots: 1, packetBytesMax: 16)
        if sendPacket(to: sender, probe.span) == .sent(1),
            packets.receive(from: receiver) == .packets(1)
        {
            let attestation = packets.attestation(at: 0)
            let ourselves = PacketCredentials(pid: getpid(), uid: getuid(), gid: getgid())
            passCred = attestation.credentials == .recorded(ourselves)
            passPidfd = attestation.senderProcessDelivered
            receiveTimestamp = attestation.receiveTimeNanoseconds > 0
        }
        peerPidfd = ProcessDescriptor.ofPeer(of: receiver) != nil
        guard let own = try? ProcessDescriptor.open(pid: getpid()) else { return }
        pidfdInode = own.inode != nil
        pidfdGetInfo = own.currentPID() == getpid()
        pidfdUserNamespace = own.userNamespace(seenFrom: .init()) == .same
    }

    private mutating func readSettings() {
        kernelRelease = KernelFeatures.line("/proc/sys/kernel/osrelease") ?? ""
        sendBufferBytesMax = KernelFeatures.line("/proc/sys/net/core/wmem_max").flatMap { Int($0) }
        pidMax = KernelFeatures.line("/proc/sys/kernel/pid_max").flatMap { Int($0) }
        uidMap = KernelFeatures.text("/proc/self/uid_map") ?? ""
        let words = uidMap.split { $0 == " " || $0 == "\n" || $0 == "\t" }
        uidMapIsIdentity = words == ["0", "0", "4294967295"]
        isInitialPIDNamespace =
            fileIdentity(path: "/proc/self/ns/pid")?.inode
            == KernelFeatures.initialPIDNamespaceInode
    }

    private static func text(_ path: String) -> String? {
        guard let bytes = try? readSmallFile(path, maxBytes: 4096) else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func line(_ path: String) -> String? {
        text(path)?.split(separator: "\n").first.map { String($0) }
    }
}
