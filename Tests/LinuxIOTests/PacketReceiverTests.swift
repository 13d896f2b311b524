import LinuxIO
import Testing

@Suite("Receiving packets")
struct PacketReceiverTests {
    @Test("an empty packet is not the end of the stream")
    func emptyPacket() throws {
        let pair = try Pair()
        try SocketOptions.enableCredentialRecording(pair.first)
        #expect(send("", to: pair.second) == .sent(1))
        #expect(send("more", to: pair.second) == .sent(1))
        var packets = PacketReceiver()
        try #require(packets.receive(from: pair.first) == .packets(2))
        #expect(packets.attestation(at: 0).isEmpty)
        #expect(packets.bytes(at: 0).isEmpty == true)
        #expect(!packets.attestation(at: 1).isEmpty)
        #expect(packets.endOfStreamSeen == false)
        #expect(packets.receive(from: pair.first) == .wouldBlock)
        try shutdownWrite(pair.second)
        #expect(packets.receive(from: pair.first) == .endOfStream)
        #expect(packets.endOfStreamSeen == true)
        #expect(packets.receive(from: pair.first) == .endOfStream)
    }

    @Test("a batch followed by the end counts the real packets only", arguments: 0...9)
    func batchThenEnd(sent: Int) throws {
        let pair = try Pair()
        let first = pair.first
        let second = pair.second
        try SocketOptions.enableCredentialRecording(first)
        for number in 0..<sent {
            #expect(send(number == 3 ? "" : "packet \(number)", to: second) == .sent(1))
        }
        _ = consume second
        try waitForHangUp(first)
        var packets = PacketReceiver(slots: 8, packetBytesMax: 64)
        var texts: [String] = []
        while case .packets(let count) = packets.receive(from: first) {
            #expect(count <= 8)
            for index in 0..<count { texts.append(packets.text(at: index)) }
            if packets.endOfStreamSeen { break }
        }
        #expect(packets.endOfStreamSeen == true)
        #expect(texts == (0..<sent).map { $0 == 3 ? "" : "packet \($0)" })
    }

    @Test("a caller may take fewer packets than there are slots, and the rest next time")
    func fewerThanSlots() throws {
        let pair = try Pair()
        try SocketOptions.enableCredentialRecording(pair.first)
        for number in 0..<5 { #expect(send("\(number)", to: pair.second) == .sent(1)) }
        var packets = PacketReceiver(slots: 8, packetBytesMax: 64)
        try #require(packets.receive(from: pair.first, packetsMax: 2) == .packets(2))
        #expect(packets.text(at: 1) == "1")
        try #require(packets.receive(from: pair.first, packetsMax: 100) == .packets(3))
        #expect(packets.text(at: 0) == "2")
        #expect(packets.receive(from: pair.first, packetsMax: 1) == .wouldBlock)
    }

    @Test("what the peer sent before it closed on unread packets is not lost")
    func resetBeforeData() throws {
        let pair = try Pair()
        let first = pair.first
        let second = pair.second
        #expect(send("never read", to: first) == .sent(1))
        try SocketOptions.enableCredentialRecording(first)
        #expect(send("last", to: second) == .sent(1))
        #expect(send("words", to: second) == .sent(1))
        _ = consume second
        try waitForHangUp(first)
        var packets = PacketReceiver()
        try #require(packets.receive(from: first) == .packets(2))
        #expect(packets.text(at: 0) == "last")
        #expect(packets.text(at: 1) == "words")
        #expect(packets.endOfStreamSeen == true)
        #expect(packets.receive(from: first) == .endOfStream)
    }

    @Test("a reset with nothing queued is the end")
    func resetWithoutData() throws {
        let pair = try Pair()
        let first = pair.first
        let second = pair.second
        #expect(send("never read", to: first) == .sent(1))
        _ = consume second
        try waitForHangUp(first)
        var packets = PacketReceiver()
        #expect(packets.receive(from: first) == .endOfStream)
    }

    @Test("a packet larger than its slot is marked, and the next one is whole")
    func oversized() throws {
        let pair = try Pair()
        try SocketOptions.enableCredentialRecording(pair.first)
        #expect(send("0123456789abcdefX", to: pair.second) == .sent(1))
        #expect(send("0123456789abcdef", to: pair.second) == .sent(1))
        var packets = PacketReceiver(slots: 4, packetBytesMax: 16)
        try #require(packets.receive(from: pair.first) == .packets(2))
        #expect(packets.attestation(at: 0).dataTruncated)
        #expect(packets.bytes(at: 0).count == 16)
        #expect(!packets.attestation(at: 1).dataTruncated)
        #expect(packets.text(at: 1) == "0123456789abcdef")
    }

    @Test(
        "credentials cut short are never taken for ids",
        arguments: [(0, false), (16, true), (20, true), (24, true)])
    func truncatedControl(controlBytes: Int, arrives: Bool) throws {
        let pair = try Pair()
        try SocketOptions.enableCredentialRecording(pair.first)
        #expect(send("text", to: pair.second) == .sent(1))
        var packets = PacketReceiver(
            slots: 1, packetBytesMax: 64, controlBytesMax: controlBytes)
        try #require(packets.receive(from: pair.first) == .packets(1))
        let attestation = packets.attestation(at: 0)
        #expect(attestation.controlTruncated)
        #expect(attestation.credentials == (arrives ? .malformed : .missing))
    }

    @Test("an empty packet without room for credentials is not the end either")
    func emptyAndTruncated() throws {
        let pair = try Pair()
        try SocketOptions.enableCredentialRecording(pair.first)
        #expect(send("", to: pair.second) == .sent(1))
        var packets = PacketReceiver(slots: 1, packetBytesMax: 64, controlBytesMax: 0)
        try #require(packets.receive(from: pair.first) == .packets(1))
        #expect(packets.attestation(at: 0).controlTruncated)
    }

    @Test("slots keep nothing of an earlier batch")
    func slotsAreReused() throws {
        let pair = try Pair()
        var packets = PacketReceiver(slots: 2, packetBytesMax: 64)
        try SocketOptions.enableCredentialRecording(pair.first)
        #expect(send("a long packet", to: pair.second) == .sent(1))
        try #require(packets.receive(from: pair.first) == .packets(1))
        let other = try Pair()
        #expect(send("short", to: other.second) == .sent(1))
        try #require(packets.receive(from: other.first) == .packets(1))
        #expect(packets.text(at: 0) == "short")
        #expect(packets.attestation(at: 0).credentials == .missing)
    }

    @Test("packets of the largest size arrive whole in every slot")
    func largestPackets() throws {
        let pair = try Pair()
        try SocketOptions.setSendBuffer(pair.second, bytes: 4 << 20)
        var packets = PacketReceiver(slots: 2, packetBytesMax: 65_536)
        for seed in 0..<2 {
            let bytes = (0..<65_536).map { UInt8(truncatingIfNeeded: $0 * 31 + seed) }
            #expect(sendPacket(to: pair.second, bytes.span) == .sent(1))
        }
        try #require(packets.receive(from: pair.first) == .packets(2))
        for seed in 0..<2 {
            let bytes = packets.bytes(at: seed)
            let right = bytes.indices.count {
                bytes[$0] == UInt8(truncatingIfNeeded: $0 * 31 + seed)
            }
            #expect(right == 65_536)
        }
    }

    @Test("asking for a packet that was not received traps")
    func indexIsChecked() async {
        await #expect(processExitsWith: .failure) {
            let packets = PacketReceiver()
            _ = packets.attestation(at: 0)
        }
    }
}
