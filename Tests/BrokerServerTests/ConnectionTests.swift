import BrokerCore
import BrokerWire
import LinuxIO
import SystemPackage
import Testing

@testable import BrokerServer

/// From what the kernel delivered to who sent it: real sockets with the options set as they should
/// be, and as they should not.
@Suite("The identity of a received packet")
struct ConnectionTests {
    /// One end of a pair as the reactor would hold it, the other to send from.
    private struct Line: ~Copyable {
        let connection: Connection
        let sender: OwnedDescriptor
        var receiver = PacketReceiver(slots: 8, packetBytesMax: 65_536)

        init(recordsCredentials: Bool, hasPidfd: Bool = true) throws {
            var pair = try SeqpacketPair()
            guard let ours = pair.first.take(), let theirs = pair.second.take() else {
                throw KernelError(call: "socketpair", errno: .badFileDescriptor)
            }
            if recordsCredentials { try SocketOptions.enableCredentialRecording(ours) }
            let process = hasPidfd ? ProcessDescriptor.ofPeer(of: ours) : nil
            let inode =
                switch process {
                case .some(let process): process.inode ?? 0
                case .none: UInt64(0)
                }
            let opener = try PeerCredentials.read(ours)
            connection = Connection(
                id: SessionID(slot: 0, generation: 1), descriptor: ours, process: process,
                opener: SenderRecord.Opener(
                    pid: opener.pid, uid: opener.uid, gid: opener.gid, process: inode))
            sender = theirs
        }

        mutating func receive() throws -> PacketIdentity {
            let packet: [UInt8] = [1, 2, 3]
            try #require(sendPacket(to: sender, packet.span) == .sent(1))
            try #require(receiver.receive(from: connection.descriptor) == .packets(1))
            return connection.identity(
                of: receiver.attestation(at: 0), isOpenerAlive: connection.isOpenerAlive())
        }
    }

    @Test("Recorded credentials name this process, by pid, ids and pidfd")
    func recorded() throws {
        var line = try Line(recordsCredentials: true)
        guard case .attested(let attestation) = try line.receive() else {
            Issue.record("the sender is unknown")
            return
        }
        #expect(attestation.pid == CurrentProcess.pid)
        #expect(attestation.uid == CurrentProcess.userID)
        #expect(attestation.gid == CurrentProcess.groupID)
        let own = try ProcessDescriptor.open(pid: CurrentProcess.pid)
        #expect(attestation.process == own.inode ?? 0)
        #expect(attestation.timeNanoseconds > 1_600_000_000_000_000_000)
    }

    @Test("Without recorded credentials the sender is unknown, not root and not nobody")
    func notRecorded() throws {
        var line = try Line(recordsCredentials: false)
        #expect(try line.receive() == .unknown(.incomplete))
    }

    @Test("A packet queued before credentials were asked for has an unknown sender")
    func queuedUnrecorded() throws {
        var line = try Line(recordsCredentials: false)
        let packet: [UInt8] = [1]
        try #require(sendPacket(to: line.sender, packet.span) == .sent(1))
        try SocketOptions.enableCredentialRecording(line.connection.descriptor)
        try #require(line.receiver.receive(from: line.connection.descriptor) == .packets(1))
        let identity = line.connection.identity(
            of: line.receiver.attestation(at: 0), isOpenerAlive: true)
        #expect(identity == .unknown(.unrecorded))
        // The next one is recorded.
        guard case .attested = try line.receive() else {
            Issue.record("the sender is unknown")
            return
        }
    }

    @Test("Truncated control data makes the sender unknown")
    func truncated() throws {
        let line = try Line(recordsCredentials: true)
        var receiver = PacketReceiver(slots: 1, packetBytesMax: 64, controlBytesMax: 24)
        let packet: [UInt8] = [1]
        try #require(sendPacket(to: line.sender, packet.span) == .sent(1))
        try #require(receiver.receive(from: line.connection.descriptor) == .packets(1))
        let identity = line.connection.identity(
            of: receiver.attestation(at: 0), isOpenerAlive: true)
        #expect(identity == .unknown(.truncated))
    }

    @Test("Without pidfds the process is not known, and the rest still is")
    func withoutPidfds() throws {
        var line = try Line(recordsCredentials: true, hasPidfd: false)
        guard case .attested(let attestation) = try line.receive() else {
            Issue.record("the sender is unknown")
            return
        }
        #expect(attestation.process == 0)
        #expect(attestation.pid == CurrentProcess.pid)
    }

    @Test("An opener that was reaped is no longer taken for the owner of its pid")
    func reapedOpener() throws {
        var line = try Line(recordsCredentials: true)
        let packet: [UInt8] = [1]
        try #require(sendPacket(to: line.sender, packet.span) == .sent(1))
        try #require(line.receiver.receive(from: line.connection.descriptor) == .packets(1))
        let identity = line.connection.identity(
            of: line.receiver.attestation(at: 0), isOpenerAlive: false)
        guard case .attested(let attestation) = identity else {
            Issue.record("the sender is unknown")
            return
        }
        #expect(attestation.process == 0)
    }
}
