import LinuxIO
import Testing

@Suite("Credentials of each packet")
struct PacketCredentialsTests {
    @Test("a packet carries the ids of the process that sent it, not of the one that connected")
    func packetOfChild() throws {
        let pair = try Pair()
        try SocketOptions.enableCredentialRecording(pair.first)
        let child = try Child("me(); s.send(b'hello')", socket: pair.second)
        let truth = try child.ids()
        var packets = PacketReceiver()
        #expect(try packets.receiveWaiting(from: pair.first) == .packets(1))
        #expect(packets.text(at: 0) == "hello")
        #expect(packets.attestation(at: 0).credentials == .recorded(truth))
        #expect(truth.pid != CurrentProcess.pid)
        try child.finish()
    }

    @Test("two senders on one descriptor are told apart packet by packet")
    func twoSendersOneDescriptor() throws {
        let pair = try Pair()
        try SocketOptions.enableCredentialRecording(pair.first)
        #expect(send("parent", to: pair.second) == .sent(1))
        let child = try Child("me(); s.send(b'child')", socket: pair.second)
        let truth = try child.ids()
        try child.finish()
        #expect(send("parent again", to: pair.second) == .sent(1))
        var packets = PacketReceiver()
        try #require(packets.receive(from: pair.first) == .packets(3))
        let ours = PacketCredentials(
            pid: CurrentProcess.pid, uid: CurrentProcess.userID, gid: CurrentProcess.groupID)
        #expect(packets.attestation(at: 0).credentials == .recorded(ours))
        #expect(packets.attestation(at: 1).credentials == .recorded(truth))
        #expect(packets.attestation(at: 2).credentials == .recorded(ours))
    }

    @Test(
        "a child that became another user is seen as that user",
        .enabled(if: isRoot, "only root may become another user"))
    func otherUser() throws {
        let pair = try Pair()
        try SocketOptions.enableCredentialRecording(pair.first)
        let child = try Child(
            """
            s.send(b'before')
            os.setgid(4242); os.setuid(4294967294); me()
            s.send(b'after')
            """, socket: pair.second)
        let truth = try child.ids()
        try child.finish()
        var packets = PacketReceiver()
        try #require(packets.receive(from: pair.first) == .packets(2))
        let before = PacketCredentials(
            pid: truth.pid, uid: CurrentProcess.userID, gid: CurrentProcess.groupID)
        #expect(packets.attestation(at: 0).credentials == .recorded(before))
        #expect(packets.attestation(at: 1).credentials == .recorded(truth))
        #expect(truth.uid == 4_294_967_294)
        #expect(truth.gid == 4242)
    }

    @Test(
        "the opener has effective ids and sorted groups, the packet real ids",
        .enabled(if: isRoot, "only root may choose its ids"))
    func effectiveAndReal() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        let child = try Child(
            """
            os.setgroups([300, 100, 200, 100]); os.setegid(1002); os.seteuid(1001)
            c = connect("\(scratch.path("socket"))"); c.send(b'hello'); me(); sys.stdin.readline()
            """)
        let real = try child.ids()
        let connection = try acceptOne(listener)
        var packets = PacketReceiver()
        try #require(packets.receive(from: connection) == .packets(1))
        #expect(packets.attestation(at: 0).credentials == .recorded(real))
        #expect(real.uid == 0)
        let opener = try PeerCredentials.read(connection)
        #expect(
            opener
                == PeerCredentials(pid: real.pid, uid: 1001, gid: 1002, groups: [100, 200, 300]))
        try child.tell("x")
        try child.finish()
    }

    @Test(
        "an opener with many groups is read whole",
        .enabled(if: isRoot, "only root may choose its groups"))
    func manyGroups() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        let child = try Child(
            """
            os.setgroups(list(range(6000, 5000, -1)))
            c = connect("\(scratch.path("socket"))"); me(); sys.stdin.readline()
            """)
        _ = try child.ids()
        let connection = try acceptOne(listener)
        #expect(try PeerCredentials.read(connection).groups == Array(5001...6000))
        try child.tell("x")
        try child.finish()
    }

    @Test("a packet sent before accept is recorded, by a child that is gone by then")
    func sentBeforeAccept() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        let child = try Child("c = connect('\(scratch.path("socket"))'); me(); c.send(b'early')")
        let truth = try child.ids()
        try child.finish()
        let connection = try acceptOne(listener)
        #expect(SocketOptions.recordsCredentials(connection) == true)
        #expect(try PeerCredentials.read(connection).pid == truth.pid)
        var packets = PacketReceiver()
        try #require(packets.receive(from: connection) == .packets(1))
        #expect(packets.endOfStreamSeen == true)
        #expect(packets.attestation(at: 0).credentials == .recorded(truth))
    }

    @Test("a packet queued before the option was set has no sender")
    func unrecorded() throws {
        let pair = try Pair()
        #expect(SocketOptions.recordsCredentials(pair.first) == false)
        #expect(send("too early", to: pair.second) == .sent(1))
        try SocketOptions.enableCredentialRecording(pair.first)
        SocketOptions.setPassPidfd(pair.first, true)
        #expect(SocketOptions.recordsCredentials(pair.first) == true)
        #expect(send("in time", to: pair.second) == .sent(1))
        var packets = PacketReceiver()
        try #require(packets.receive(from: pair.first) == .packets(2))
        #expect(packets.attestation(at: 0).credentials == .unrecorded)
        #expect(!packets.attestation(at: 0).senderProcessDelivered)
        guard case .recorded = packets.attestation(at: 1).credentials else {
            Issue.record("the second packet was recorded")
            return
        }
    }

    @Test("without the option there are no credentials")
    func missing() throws {
        let pair = try Pair()
        #expect(send("anonymous", to: pair.second) == .sent(1))
        var packets = PacketReceiver()
        try #require(packets.receive(from: pair.first) == .packets(1))
        #expect(packets.attestation(at: 0).credentials == .missing)
        #expect(packets.attestation(at: 0).receiveTimeNanoseconds == 0)
    }

    @Test("packets carry the time of queueing when asked for")
    func timestamps() throws {
        let pair = try Pair()
        try SocketOptions.enableReceiveTimestamps(pair.first)
        #expect(send("now", to: pair.second) == .sent(1))
        var packets = PacketReceiver()
        try #require(packets.receive(from: pair.first) == .packets(1))
        #expect(packets.attestation(at: 0).receiveTimeNanoseconds > 1_600_000_000_000_000_000)
    }
}
