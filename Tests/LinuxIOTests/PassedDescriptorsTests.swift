import Foundation
import LinuxIO
import SystemPackage
import Testing

@Suite("Descriptors sent along with packets")
struct PassedDescriptorsTests {
    /// Sends `count` copies of the writing end of a pipe, and tells whether all were closed:
    /// only then does its reading end come to an end.
    private static func program(sending count: Int) -> String {
        """
        reader, writer = os.pipe()
        pass_on(s, b'take', [writer] * \(count))
        os.close(writer)
        say("sent")
        say_whether_closed(reader)
        """
    }

    @Test("every descriptor is closed at once", arguments: [1, 2, 253])
    func closed(count: Int) throws {
        let pair = try Pair()
        try SocketOptions.enableCredentialRecording(pair.first)
        SocketOptions.setPassPidfd(pair.first, true)
        let child = try Child(Self.program(sending: count), socket: pair.second)
        #expect(try child.line() == "sent")
        var packets = PacketReceiver()
        try #require(packets.receive(from: pair.first) == .packets(1))
        let attestation = packets.attestation(at: 0)
        #expect(attestation.descriptorsClosed == count)
        #expect(!attestation.controlTruncated)
        #expect(attestation.senderProcessDelivered == kernel.passPidfd)
        #expect(try child.line() == "closed")
        try child.finish()
    }

    @Test("none stays open when the control buffer was too small", arguments: [32, 56, 64, 200])
    func closedWhenTruncated(controlBytes: Int) throws {
        let pair = try Pair()
        try SocketOptions.enableCredentialRecording(pair.first)
        SocketOptions.setPassPidfd(pair.first, true)
        let child = try Child(Self.program(sending: 100), socket: pair.second)
        #expect(try child.line() == "sent")
        var packets = PacketReceiver(
            slots: 1, packetBytesMax: 64, controlBytesMax: controlBytes)
        try #require(packets.receive(from: pair.first) == .packets(1))
        let attestation = packets.attestation(at: 0)
        #expect(attestation.controlTruncated)
        #expect(attestation.descriptorsClosed < 100)
        #expect(try child.line() == "closed")
        try child.finish()
    }

    @Test("none stays open behind an empty packet, which nobody's credentials mark as one")
    func closedBehindEmptyPacket() throws {
        let pair = try Pair()
        let child = try Child("s.send(b'')\n" + Self.program(sending: 3), socket: pair.second)
        #expect(try child.line() == "sent")
        var packets = PacketReceiver()
        #expect(packets.receive(from: pair.first) == .endOfStream)
        #expect(try child.line() == "closed")
        try child.finish()
    }

    @Test("none stays open that came with an empty packet")
    func closedWithEmptyPacket() throws {
        let pair = try Pair()
        let child = try Child(
            Self.program(sending: 3).replacing("b'take'", with: "b''"), socket: pair.second)
        #expect(try child.line() == "sent")
        var packets = PacketReceiver()
        try #require(packets.receive(from: pair.first) == .packets(1))
        #expect(packets.attestation(at: 0).isEmpty)
        #expect(packets.attestation(at: 0).descriptorsClosed == 3)
        #expect(try child.line() == "closed")
        try child.finish()
    }

    @Test(
        "a connection refuses them to the listener's face",
        .enabled(if: kernel.passRights, "needs SO_PASSRIGHTS (Linux 6.16)"))
    func refusedByConnection() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        let client = try connectSeqpacket(path: scratch.path("socket"))
        let connection = try acceptOne(listener)
        let error = #expect(throws: KernelError.self) {
            try Actor.give(connection, through: connection)
        }
        #expect(error?.errno == .notPermitted)
        #expect(send("plain", to: connection) == .sent(1))
        var packets = PacketReceiver()
        try #require(packets.receive(from: client) == .packets(1))
        #expect(packets.text(at: 0) == "plain")
    }

    @Test(
        "a listener refuses them to the sender's face",
        .enabled(if: kernel.passRights, "needs SO_PASSRIGHTS (Linux 6.16)"))
    func refused() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        let child = try Child(
            """
            c = connect('\(scratch.path("socket"))')
            try: pass_on(c, b'take', [1])
            except OSError as e: say(e.errno)
            c.send(b'plain')
            """)
        #expect(try child.line() == "1")
        try child.finish()
        let connection = try acceptOne(listener)
        var packets = PacketReceiver()
        try #require(packets.receive(from: connection) == .packets(1))
        #expect(packets.text(at: 0) == "plain")
        #expect(packets.attestation(at: 0).descriptorsClosed == 0)
    }

    @Test("a thousand packets with descriptors leave none open")
    func countStaysTheSame() async {
        await #expect(processExitsWith: .success) {
            let pair = try Pair()
            try SocketOptions.enableCredentialRecording(pair.first)
            SocketOptions.setPassPidfd(pair.first, true)
            var packets = PacketReceiver()
            let child = try Child(
                """
                for i in range(1000): pass_on(s, b'take', [0, 1, 2])
                """, socket: pair.second)
            var closed = 0
            while closed < 3000,
                case .packets(let count) = try packets.receiveWaiting(from: pair.first)
            {
                for index in 0..<count {
                    closed += packets.attestation(at: index).descriptorsClosed
                }
            }
            #expect(closed == 3000)
            // Some are the libraries' own; thousands would be ours.
            let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")
            #expect(open.count < 500)
            try child.finish()
        }
    }
}
