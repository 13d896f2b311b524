import LinuxIO
import Testing

@Suite("Process descriptors", .enabled(if: kernel.peerPidfd, "needs SO_PEERPIDFD (Linux 6.5)"))
struct ProcessDescriptorTests {
    private func peer(
        of connection: borrowing OwnedDescriptor
    ) throws -> ProcessDescriptor {
        guard let process = ProcessDescriptor.ofPeer(of: connection) else {
            throw Malfunction(what: "no process descriptor")
        }
        return process
    }

    @Test(
        "opener, packet and pidfd_open give one process one inode",
        .enabled(if: kernel.pidfdInode, "needs pidfs (Linux 6.9)"))
    func sameInode() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        let child = try Child(
            "c = connect('\(scratch.path("socket"))'); c.send(b'hi'); me(); sys.stdin.readline()")
        let truth = try child.ids()
        let connection = try acceptOne(listener)
        let inode = try peer(of: connection).inode
        #expect(inode != nil)
        #expect(inode == (try ProcessDescriptor.open(pid: truth.pid)).inode)
        #expect(inode != (try ProcessDescriptor.open(pid: CurrentProcess.pid)).inode)
        var packets = PacketReceiver()
        try #require(packets.receive(from: connection) == .packets(1))
        #expect(packets.attestation(at: 0).senderProcessInode == inode)
        #expect(SocketOptions.setPassPidfd(connection, false) == true)
        try child.tell("x")
        try child.finish()
    }

    @Test(
        "another process on the same connection has another inode",
        .enabled(if: kernel.pidfdInode, "needs pidfs (Linux 6.9)"))
    func forkedSender() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        let child = try Child(
            """
            c = connect('\(scratch.path("socket"))')
            if os.fork() == 0:
                me(); c.send(b'from the child'); os._exit(0)
            os.wait()
            """)
        let truth = try child.ids()
        try child.finish()
        let connection = try acceptOne(listener)
        var packets = PacketReceiver()
        try #require(packets.receive(from: connection) == .packets(1))
        let attestation = packets.attestation(at: 0)
        #expect(attestation.credentials == .recorded(truth))
        #expect(try PeerCredentials.read(connection).pid != truth.pid)
        #expect(attestation.senderProcessInode != (try peer(of: connection)).inode)
    }

    @Test("a zombie still has its number, a reaped process has not")
    func reaped() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        let child = try Child(
            """
            pid = os.fork()
            if pid == 0:
                c = connect('\(scratch.path("socket"))'); say("connected")
                while c.recv(10) != b"go": pass
                os._exit(0)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT); say("zombie"); sys.stdin.readline()
            os.waitpid(pid, 0); say("reaped"); sys.stdin.readline()
            """)
        #expect(try child.line() == "connected")
        let connection = try acceptOne(listener)
        let process = try peer(of: connection)
        #expect(process.hasExitedAndBeenReaped() == false)
        #expect(send("go", to: connection) == .sent(1))
        #expect(try child.line() == "zombie")
        #expect(process.hasExitedAndBeenReaped() == false)
        try child.tell("x")
        #expect(try child.line() == "reaped")
        #expect(process.hasExitedAndBeenReaped() == true)
        try child.tell("x")
        try child.finish()
    }

    @Test(
        "with no descriptor number left a packet has no process, and still its sender",
        .enabled(if: kernel.passPidfd, "needs SO_PASSPIDFD (Linux 6.5)"))
    func descriptorsExhausted() async {
        await #expect(processExitsWith: .success) {
            let pair = try Pair()
            try SocketOptions.enableCredentialRecording(pair.first)
            SocketOptions.setPassPidfd(pair.first, true)
            var packets = PacketReceiver()
            #expect(send("first", to: pair.second) == .sent(1))
            try #require(packets.receive(from: pair.first) == .packets(1))
            #expect(packets.attestation(at: 0).senderProcessDelivered)
            let lowestFree = try pair.first.duplicate().rawValue
            #expect(CurrentProcess.setSoftDescriptorLimit(UInt64(lowestFree)))
            #expect(send("second", to: pair.second) == .sent(1))
            try #require(packets.receive(from: pair.first) == .packets(1))
            let attestation = packets.attestation(at: 0)
            #expect(!attestation.senderProcessDelivered)
            #expect(attestation.senderProcessInode == nil)
            let ours = PacketCredentials(
                pid: CurrentProcess.pid, uid: CurrentProcess.userID, gid: CurrentProcess.groupID)
            #expect(attestation.credentials == .recorded(ours))
        }
    }

    @Test(
        "our own user namespace is known as such",
        .enabled(if: kernel.pidfdUserNamespace, "needs PIDFD_GET_USER_NAMESPACE and privilege"))
    func sameNamespace() throws {
        let own = try ProcessDescriptor.open(pid: CurrentProcess.pid)
        #expect(own.userNamespace(seenFrom: .init()) == .same)
    }

    @Test(
        "another user namespace is known by its owner",
        .enabled(if: kernel.pidfdUserNamespace, "needs PIDFD_GET_USER_NAMESPACE and privilege"),
        .enabled(if: isRoot && unshareWorks, "needs unprivileged user namespaces"))
    func otherNamespace() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        let child = try Child(
            "c = connect('\(scratch.path("socket"))'); c.send(b'hi'); me(); sys.stdin.readline()",
            through: [
                "/usr/bin/setpriv", "--reuid", "4243", "--regid", "4243", "--clear-groups",
                "/usr/bin/unshare", "--user", "--map-root-user",
            ])
        let claimed = try child.ids()
        #expect(claimed.uid == 0)
        let connection = try acceptOne(listener)
        let namespace = try peer(of: connection).userNamespace(seenFrom: .init())
        guard case .other(_, let owner) = namespace else {
            Issue.record("not seen as another namespace")
            return
        }
        #expect(owner == 4243)
        var packets = PacketReceiver()
        try #require(packets.receive(from: connection) == .packets(1))
        // What it calls root is the user that made the namespace.
        #expect(
            packets.attestation(at: 0).credentials
                == .recorded(PacketCredentials(pid: claimed.pid, uid: 4243, gid: 4243)))
        try child.tell("x")
        try child.finish()
    }
}

/// Whether an unprivileged user may make a user namespace here.
private let unshareWorks: Bool = {
    guard
        let child = try? Child(
            "say('made')",
            through: [
                "/usr/bin/setpriv", "--reuid", "4243", "--regid", "4243", "--clear-groups",
                "/usr/bin/unshare", "--user", "--map-root-user",
            ])
    else { return false }
    return (try? child.line()) == "made"
}()
