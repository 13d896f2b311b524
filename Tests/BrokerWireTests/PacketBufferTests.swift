import BasicContainers
import BrokerWire
import TestSupport
import Testing

@Suite struct `Packet buffers` {
    @Test func `A new buffer holds a packet header and no frame`() {
        let buffer = PacketBuffer(capacityBytes: 64)
        let (bytes, capacity, free) = (buffer.byteCount, buffer.capacityBytes, buffer.freeBytes)
        let isEmpty = buffer.isEmpty
        #expect(bytes == PacketHeader.byteCount)
        #expect(capacity == 64)
        #expect(free == 56)
        #expect(isEmpty)
    }

    @Test func `Sealing fills in the length`() {
        var buffer = PacketBuffer(capacityBytes: 64)
        buffer.appendPing(nonce: 0x0807_0605_0403_0201)
        let bytes = buffer.sealedBytes()
        #expect(HexText.text(bytes) == "c500b70018000000100000000a0000000102030405060708")
    }

    @Test func `Frames that fit exactly are taken`() throws {
        var buffer = PacketBuffer(capacityBytes: PacketHeader.byteCount + 2 * 16)
        buffer.appendPing(nonce: 1)
        buffer.appendPong(nonce: 2)
        let (free, frameCount) = (buffer.freeBytes, buffer.frameCount)
        #expect(free == 0)
        #expect(frameCount == 2)
        let packet = try InspectedPacket(buffer.sealedBytes(), way: .toClient)
        #expect(packet.frames.map(\.header.type) == [.ping, .pong])
    }

    @Test func `A cleared buffer is as good as new`() {
        var used = PacketBuffer(capacityBytes: 256)
        used.appendDisconnect(reason: .protocolError, explanation: "something long before")
        used.seal()
        used.clear()
        let (isEmpty, capacity, frameCount) = (used.isEmpty, used.capacityBytes, used.frameCount)
        #expect(isEmpty)
        #expect(capacity == 256)
        #expect(frameCount == 0)
        var new = PacketBuffer(capacityBytes: 256)
        used.appendStatusRequest(token: 9)
        new.appendStatusRequest(token: 9)
        let (usedBytes, newBytes) = (used.sealedBytes(), new.sealedBytes())
        #expect(usedBytes == newBytes)
    }

    @Test func `Sealing again after another frame states the new length`() {
        var buffer = PacketBuffer(capacityBytes: 64)
        buffer.appendPing(nonce: 1)
        buffer.seal()
        buffer.appendPing(nonce: 2)
        let bytes = buffer.sealedBytes()
        #expect(bytes.count == 40)
        #expect(bytes[4..<8].elementsEqual([40, 0, 0, 0]))
    }

    @Test func `An explanation is cut at 512 bytes, between characters`() throws {
        var buffer = PacketBuffer(capacityBytes: 2_048)
        let text = "a" + String(repeating: "é", count: 300)
        buffer.appendReply(
            ReplyFrame(token: 1, reason: .success, request: .ping, explanation: text))
        buffer.appendDisconnect(reason: .success, explanation: text)
        let packet = try InspectedPacket(buffer.sealedBytes(), way: .toClient)
        let cut = "a" + String(repeating: "é", count: 255)
        let explanations = packet.frames.map { frame in
            switch frame.payload {
            case .reply(let reply): reply.explanation
            case .disconnect(let disconnect): disconnect.explanation
            default: "another frame"
            }
        }
        #expect(explanations == [cut, cut])
    }

    @Test func `A prefix never cuts a character`() {
        #expect("aé".prefix(utf8Bytes: 3) == "aé")
        #expect("aé".prefix(utf8Bytes: 2) == "a")
        #expect("€".prefix(utf8Bytes: 2) == "")
        #expect("€".prefix(utf8Bytes: 0) == "")
        #expect("👍🏽".prefix(utf8Bytes: 7) == "👍")
    }
}

/// What would write or read outside of a packet ends the process instead.
@Suite struct `Preconditions of packets` {
    @Test func `A packet without frames cannot be sealed`() async {
        await #expect(processExitsWith: .failure) {
            var buffer = PacketBuffer(capacityBytes: 64)
            buffer.seal()
        }
    }

    @Test func `A cleared packet cannot be sealed`() async {
        await #expect(processExitsWith: .failure) {
            var buffer = PacketBuffer(capacityBytes: 64)
            buffer.appendPing(nonce: 1)
            buffer.clear()
            buffer.seal()
        }
    }

    @Test func `A frame one byte too large is not written`() async {
        await #expect(processExitsWith: .failure) {
            var buffer = PacketBuffer(capacityBytes: PacketHeader.byteCount + 15)
            buffer.appendPing(nonce: 1)
        }
    }

    @Test func `A lead of more than 65535 bytes is not written`() async {
        await #expect(processExitsWith: .failure) {
            var buffer = PacketBuffer(capacityBytes: Limits.packetBytesMax)
            let topic = [UInt8](repeating: 0x61, count: 65_536)
            buffer.appendPublish(
                token: 1, wantsAcknowledgement: false, topic: topic.span, payload: topic.span)
        }
    }

    @Test func `A topic longer than the message it begins is not written`() async {
        await #expect(processExitsWith: .failure) {
            var buffer = PacketBuffer(capacityBytes: 256)
            let body: [UInt8] = [0x61, 0x62]
            buffer.appendDeliver(
                sequence: 1, subscription: 1, body: body.span, topicLength: 3)
        }
    }

    @Test func `A buffer has room for a header and at most for the largest packet`() async {
        await #expect(processExitsWith: .failure) {
            _ = PacketBuffer(capacityBytes: PacketHeader.byteCount)
        }
        await #expect(processExitsWith: .failure) {
            _ = PacketBuffer(capacityBytes: Limits.packetBytesMax + 1)
        }
    }

    @Test func `A number beyond the end is not loaded`() async {
        await #expect(processExitsWith: .failure) {
            let bytes = [UInt8](repeating: 0, count: 4)
            _ = bytes.span.loadUInt32(at: 1)
        }
        await #expect(processExitsWith: .failure) {
            let bytes = [UInt8](repeating: 0, count: 4)
            _ = bytes.span.loadUInt16(at: -1)
        }
        await #expect(processExitsWith: .failure) {
            let bytes = [UInt8](repeating: 0, count: 11)
            _ = bytes.span.loadUInt64(at: 4)
        }
        await #expect(processExitsWith: .failure) {
            let bytes = [UInt8](repeating: 0, count: 1)
            _ = bytes.span.loadUInt16(at: 0)
        }
    }

    @Test func `A sender record beyond the end is not read`() async {
        await #expect(processExitsWith: .failure) {
            let bytes = [UInt8](repeating: 0, count: SenderRecord.byteCount)
            _ = SenderRecord(reading: bytes.span, at: 1)
        }
    }

    @Test func `A cursor reads only the packet it was made for`() async {
        await #expect(processExitsWith: .failure) {
            let packet = HexText.bytes("c500b70018000000100000000a0000000102030405060708")
            var cursor = try FrameCursor(packet: packet.span)
            _ = try cursor.next(in: packet.span.extracting(first: 20))
        }
    }

    @Test func `A frame is not read as another type`() async {
        await #expect(processExitsWith: .failure) {
            let packet = HexText.bytes("c500b70018000000100000000a0000000102030405060708")
            var cursor = try FrameCursor(packet: packet.span)
            guard let header = try cursor.next(in: packet.span) else { return }
            _ = LostFrame(header, in: packet.span)
        }
    }

    @Test func `A range of ids does not run backwards`() async {
        await #expect(processExitsWith: .failure) { _ = IDRange(first: 2, last: 1) }
    }
}
