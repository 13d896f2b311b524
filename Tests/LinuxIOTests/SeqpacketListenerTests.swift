import CLinux
import Foundation
import Glibc
import LinuxIO
import SystemPackage
import Testing

@Suite("Listening")
struct SeqpacketListenerTests {
    @Test("connections are accepted in turn, with credentials recorded, until nobody waits")
    func accepts() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        let clients = [
            try Child("c = connect('\(scratch.path("socket"))'); me(); sys.stdin.readline()"),
            try Child("c = connect('\(scratch.path("socket"))'); me(); sys.stdin.readline()"),
        ]
        var truth: Set<Int32> = []
        for client in clients { truth.insert(try client.ids().pid) }
        var seen: Set<Int32> = []
        for _ in clients {
            let connection = try acceptOne(listener)
            #expect(SocketOptions.recordsCredentials(connection) == true)
            seen.insert(try PeerCredentials.read(connection).pid)
        }
        #expect(seen == truth)
        guard case .wouldBlock = listener.accept() else {
            Issue.record("nobody should wait")
            return
        }
        for client in clients {
            try client.tell("x")
            try client.finish()
        }
    }

    @Test("a full backlog tells the client to come back")
    func backlogFull() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen(backlog: 0)
        let first = try connectSeqpacket(path: scratch.path("socket"))
        let error = #expect(throws: KernelError.self) {
            _ = try connectSeqpacket(path: scratch.path("socket"))
        }
        #expect(error == KernelError(call: "connect", errno: .wouldBlock))
        _ = try acceptOne(listener)
        _ = try connectSeqpacket(path: scratch.path("socket"))
        #expect(first.rawValue >= 0)
    }

    @Test("with no descriptor left the connection goes on waiting")
    func descriptorsExhausted() async {
        await #expect(processExitsWith: .success) {
            let scratch = try Scratch()
            let listener = try scratch.listen()
            let client = try connectSeqpacket(path: scratch.path("socket"))
            let lowestFree = try client.duplicate().rawValue
            let before = CurrentProcess.descriptorLimit.soft
            #expect(CurrentProcess.setSoftDescriptorLimit(UInt64(lowestFree)))
            switch listener.accept() {
            case .descriptorsExhausted(let error): #expect(error.errno == .tooManyOpenFiles)
            default: Issue.record("accepted without a descriptor")
            }
            #expect(CurrentProcess.setSoftDescriptorLimit(before))
            _ = try acceptOne(listener)
        }
    }

    @Test("the mode is exact under umask 077 and 000", arguments: [0o666, 0o660, 0o600, 0o622])
    func exactMode(mode: Int) async {
        await #expect(processExitsWith: .success) { [mode] in
            let scratch = try Scratch()
            for mask in [0o077, 0o000, 0o777, 0o022] {
                umask(mode_t(mask))
                let listener = try SeqpacketListener(
                    path: scratch.path("socket"), mode: UInt32(mode), groupID: nil, backlog: 1)
                umask(0o022)
                #expect(try scratch.permissions("socket") == mode)
                #expect(try listener.removePath())
                #expect(!scratch.exists("socket.lock"))
            }
        }
    }

    @Test(
        "the socket belongs to the group asked for",
        .enabled(if: isRoot, "only root may give files to any group"))
    func group() throws {
        let scratch = try Scratch()
        let listener = try SeqpacketListener(
            path: scratch.path("socket"), mode: 0o660, groupID: 4242, backlog: 1)
        let attributes = try FileManager.default.attributesOfItem(atPath: scratch.path("socket"))
        #expect(attributes[.groupOwnerAccountID] as? Int == 4242)
        #expect(attributes[.posixPermissions] as? Int == 0o660)
        try listener.removePath()
    }

    @Test("a path longer than a socket address works on both sides")
    func longPath() throws {
        let scratch = try Scratch()
        let directory = String(repeating: "d", count: 120)
        try FileManager.default.createDirectory(
            atPath: scratch.path(directory), withIntermediateDirectories: false)
        let path = scratch.path(directory + "/socket")
        #expect(path.utf8.count > 107)
        let listener = try SeqpacketListener(path: path, mode: 0o600, groupID: nil, backlog: 1)
        let client = try connectSeqpacket(path: path)
        let connection = try acceptOne(listener)
        #expect(send("far away", to: client) == .sent(1))
        var packets = PacketReceiver()
        try #require(packets.receive(from: connection) == .packets(1))
        #expect(try listener.removePath() == true)
        #expect(!scratch.exists(directory + "/socket"))
    }

    @Test("a name that fits no address is refused with advice")
    func longName() throws {
        let scratch = try Scratch()
        let error = #expect(throws: SocketPathError.self) {
            _ = try scratch.listen(String(repeating: "n", count: 120))
        }
        #expect("\(try #require(error))".hasSuffix("the file name alone must be shorter"))
    }

    @Test("removing the path leaves what somebody else put there")
    func removeOnlyOurs() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        try scratch.remove("socket")
        try scratch.write("socket")
        #expect(try listener.removePath() == false)
        #expect(scratch.exists("socket"))
        #expect(!scratch.exists("socket.lock"))
    }

    @Test("a socket that listens already is taken over, and its clients then see us")
    func adopt() throws {
        let pair = try Pair()
        let scratch = try Scratch()
        let original = try scratch.listen()
        let inherited = try original.descriptor.duplicate()
        let listener = try SeqpacketListener(adopting: inherited, backlog: 4)
        let client = try connectSeqpacket(path: scratch.path("socket"))
        let connection = try acceptOne(listener)
        #expect(SocketOptions.recordsCredentials(connection) == true)
        #expect(try PeerCredentials.read(client).pid == CurrentProcess.pid)
        #expect(try listener.removePath() == false)
        #expect(scratch.exists("socket"))
        let refused = #expect(throws: KernelError.self) {
            _ = try SeqpacketListener(adopting: try pair.first.duplicate(), backlog: 4)
        }
        #expect(refused?.errno == .invalidArgument)
    }

    @Test("descriptors of other kinds are not adopted")
    func adoptOtherKinds() throws {
        let event = try EventFD()
        let error = #expect(throws: KernelError.self) {
            _ = try SeqpacketListener(adopting: try event.descriptor.duplicate(), backlog: 4)
        }
        #expect(error?.errno == .notSocket)
        #expect((OwnedDescriptor(inherited: 1 << 20) == nil) == true)
        #expect((OwnedDescriptor(inherited: -1) == nil) == true)
    }

    @Test("connections queued before adoption are seen to have no recording")
    func queuedBeforeAdoption() throws {
        let scratch = try Scratch()
        let bare = try bareListener(scratch.path("socket"))
        let early = try connectSeqpacket(path: scratch.path("socket"))
        let listener = try SeqpacketListener(adopting: bare, backlog: 4)
        let late = try connectSeqpacket(path: scratch.path("socket"))
        #expect(SocketOptions.recordsCredentials(try acceptOne(listener)) == false)
        #expect(SocketOptions.recordsCredentials(try acceptOne(listener)) == true)
        #expect(early.rawValue != late.rawValue)
    }

    @Test("with the option set only after accept, what was sent in between has no sender")
    func optionAfterAccept() throws {
        let scratch = try Scratch()
        let bare = try bareListener(scratch.path("socket"))
        let client = try connectSeqpacket(path: scratch.path("socket"))
        let number = accept(bare.rawValue, nil, nil)
        let connection = OwnedDescriptor(adopting: number)
        #expect(send("in between", to: client) == .sent(1))
        try SocketOptions.enableCredentialRecording(connection)
        #expect(send("afterwards", to: client) == .sent(1))
        var packets = PacketReceiver()
        try #require(packets.receive(from: connection) == .packets(2))
        #expect(packets.attestation(at: 0).credentials == .unrecorded)
        let ours = PacketCredentials(
            pid: CurrentProcess.pid, uid: CurrentProcess.userID, gid: CurrentProcess.groupID)
        #expect(packets.attestation(at: 1).credentials == .recorded(ours))
    }

    /// A listener without any option, as a careless parent makes one.
    private func bareListener(_ path: String) throws -> OwnedDescriptor {
        let type = Int32(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue)
        let bare = OwnedDescriptor(adopting: socket(AF_UNIX, type, 0))
        guard unsafe clinux_bind_path(bare.rawValue, path) == 0, listen(bare.rawValue, 4) == 0
        else { throw Malfunction(what: "no bare listener") }
        return bare
    }
}
