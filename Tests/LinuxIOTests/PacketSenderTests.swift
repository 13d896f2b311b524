import LinuxIO
import Testing

@Suite("Sending packets")
struct PacketSenderTests {
    private static let texts = ["one", "two", "three", "four"].map(packet)

    private func sendFour(to fd: borrowing OwnedDescriptor, count: Int) -> SendOutcome {
        let (one, two, three, four) = (
            packet("one"), packet("two"), packet("three"), packet("four")
        )
        return sendPackets(
            to: fd, one.span, two.span, three.span, four.span, count: count)
    }

    @Test("up to four packets go out in order, each on its own", arguments: 1...4)
    func inOrder(count: Int) throws {
        let pair = try Pair()
        #expect(sendFour(to: pair.first, count: count) == .sent(count))
        var packets = PacketReceiver()
        try #require(packets.receive(from: pair.second) == .packets(count))
        let received = (0..<count).map { packet(packets.text(at: $0)) }
        #expect(received == Array(Self.texts.prefix(count)))
    }

    @Test("the largest packet is what the socket says, and one byte more is too large")
    func largest() throws {
        let pair = try Pair()
        let size = try SocketOptions.maximumPacketBytes(pair.first)
        #expect(size == (try SocketOptions.sendBufferBytes(pair.first)) - 32)
        let tooLarge = [UInt8](repeating: 7, count: size + 1)
        #expect(sendPacket(to: pair.first, tooLarge.span) == .tooLarge)
        #expect(sendPacket(to: pair.first, tooLarge.span.extracting(first: size)) == .sent(1))
        var packets = PacketReceiver(slots: 1, packetBytesMax: size)
        try #require(packets.receive(from: pair.second) == .packets(1))
        #expect(packets.bytes(at: 0).count == size)
        #expect(packets.attestation(at: 0).dataTruncated == false)
    }

    @Test("a packet that is too large stops those behind it, not those before it")
    func tooLargeInTheMiddle() throws {
        let pair = try Pair()
        let size = try SocketOptions.maximumPacketBytes(pair.first)
        let tooLarge = [UInt8](repeating: 7, count: size + 1)
        let small = packet("small")
        let outcome = sendPackets(
            to: pair.first, small.span, tooLarge.span, small.span, small.span, count: 4)
        #expect(outcome == .sent(1))
        let again = sendPackets(
            to: pair.first, tooLarge.span, small.span, small.span, small.span, count: 3)
        #expect(again == .tooLarge)
        var packets = PacketReceiver()
        try #require(packets.receive(from: pair.second) == .packets(1))
    }

    @Test("a full queue would block, and nothing accepted is lost")
    func fullQueue() throws {
        let pair = try Pair()
        var accepted = 0
        var outcome = sendFour(to: pair.first, count: 4)
        while case .sent(let count) = outcome {
            accepted += count
            outcome = sendFour(to: pair.first, count: 4)
        }
        #expect(outcome == .wouldBlock)
        #expect(send("x", to: pair.first) == .wouldBlock)
        var packets = PacketReceiver()
        var received = 0
        while case .packets(let count) = packets.receive(from: pair.second) { received += count }
        #expect(received == accepted)
        #expect(send("x", to: pair.first) == .sent(1))
    }

    @Test("a peer that has closed is gone, without a signal")
    func peerGone() throws {
        let pair = try Pair()
        let first = pair.first
        let second = pair.second
        _ = consume second
        try waitForHangUp(first)
        #expect(send("anybody?", to: first) == .peerGone)
        #expect(sendFour(to: first, count: 4) == .peerGone)
    }

    @Test("after shutting down its writing side a socket still receives")
    func halfClosed() throws {
        let pair = try Pair()
        try shutdownWrite(pair.first)
        #expect(send("no more", to: pair.first) == .peerGone)
        #expect(send("back", to: pair.second) == .sent(1))
        var packets = PacketReceiver()
        #expect(packets.receive(from: pair.second) == .endOfStream)
        try #require(packets.receive(from: pair.first) == .packets(1))
    }

    @Test("a process that has exited is a peer that is gone")
    func deadProcess() throws {
        let scratch = try Scratch()
        let listener = try scratch.listen()
        let child = try Child("c = connect('\(scratch.path("socket"))')")
        try child.finish()
        let connection = try acceptOne(listener)
        #expect(send("hello?", to: connection) == .peerGone)
    }

    @Test("a larger send buffer makes larger packets possible")
    func sendBuffer() throws {
        let pair = try Pair()
        let before = try SocketOptions.maximumPacketBytes(pair.first)
        try SocketOptions.setSendBuffer(pair.first, bytes: before / 4)
        #expect(try SocketOptions.maximumPacketBytes(pair.first) < before)
    }
}
