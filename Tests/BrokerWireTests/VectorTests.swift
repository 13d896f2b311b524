import BrokerWire
import TestSupport
import Testing

/// Every packet of Protocol/vectors: as it is, cut short, with bits turned over, among other
/// bytes.
@Suite struct `Packet vectors` {
    @Test(arguments: try VectorFile.validPackets())
    func `A valid packet reads as what the vector says`(_ vector: ValidPacket) throws {
        let packet = try InspectedPacket(vector.bytes, way: vector.way)
        #expect(packet.json(in: vector.bytes) == vector.frames)
        #expect(PacketInspection.violation(in: vector.bytes) == nil)
    }

    @Test(arguments: try VectorFile.validPackets().filter { $0.canonical })
    func `Writing the frames of a packet gives its bytes`(_ vector: ValidPacket) throws {
        let packet = try InspectedPacket(vector.bytes, way: vector.way)
        let encoded = try #require(packet.encoded(from: vector.bytes))
        #expect(HexText.text(encoded) == vector.hex)
    }

    @Test(arguments: try VectorFile.invalidPackets())
    func `An invalid packet is refused where the vector says`(_ vector: InvalidPacket) {
        let bytes = vector.bytes
        let refusal = #expect(throws: Refusal.self) {
            try InspectedPacket(bytes, way: vector.way)
        }
        #expect(refusal?.reason.description == vector.reason)
        #expect(refusal?.offset == vector.offset)
        #expect(PacketInspection.violation(in: bytes) == nil)
    }

    @Test(arguments: try VectorFile.validPackets())
    func `A packet cut short is refused at each length`(_ vector: ValidPacket) {
        let bytes = vector.bytes
        for count in 0..<bytes.count {
            #expect(throws: Refusal.self, "cut to \(count) bytes") {
                try InspectedPacket(Array(bytes.prefix(count)), way: vector.way)
            }
        }
    }

    /// A sender could cut a packet and state the new length: then frames are cut, and only a cut
    /// between two frames leaves a packet.
    @Test(arguments: try VectorFile.validPackets())
    func `A packet cut short that states its length holds whole frames only`(
        _ vector: ValidPacket
    ) throws {
        let bytes = vector.bytes
        let ends = try InspectedPacket(bytes, way: vector.way).frames.map(\.header.end)
        for count in PacketHeader.byteCount..<bytes.count {
            let cut = PacketInspection.withRightHeader(Array(bytes.prefix(count)))
            let packet = try? InspectedPacket(cut, way: vector.way)
            let whole = ends.filter { $0 <= count }
            #expect(PacketInspection.violation(in: cut) == nil)
            if vector.canonical {
                #expect((packet != nil) == (whole.last == count), "cut to \(count) bytes")
            }
        }
    }

    @Test(
        arguments: try VectorFile.validPackets().map { ($0.name, $0.way, $0.bytes) }
            + VectorFile.invalidPackets().map { ($0.name, $0.way, $0.bytes) })
    func `A packet with any one bit turned over is read safely`(
        _ name: String, _ way: Way, _ bytes: [UInt8]
    ) {
        var flipped = bytes
        // In long packets, the bytes in the middle are payload or more of the same frame.
        let middle = min(256, bytes.count)..<max(256, bytes.count - 32)
        for bit in 0..<(8 * bytes.count) where !middle.contains(bit / 8) {
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            if let violation = PacketInspection.violation(in: flipped, way: way) {
                Issue.record("\(name), bit \(bit): \(violation)")
            }
            flipped[bit / 8] = bytes[bit / 8]
        }
    }

    @Test(arguments: try VectorFile.validPackets())
    func `Bytes around a packet do not change what it says`(_ vector: ValidPacket) throws {
        let bytes = vector.bytes
        let alone = try InspectedPacket(bytes, way: vector.way)
        for (before, after) in [(1, 1), (7, 0), (0, 9), (64, 4_096)] {
            let buffer =
                [UInt8](repeating: 0xC5, count: before) + bytes
                + [UInt8](repeating: 0xFF, count: after)
            let slice = buffer.span.extracting(before..<(before + bytes.count))
            let packet = try InspectedPacket(slice, way: vector.way)
            #expect(packet == alone)
            if after > 0 {
                let longer = Array(buffer[before..<(before + bytes.count + 1)])
                #expect(throws: Refusal.self) { try InspectedPacket(longer, way: vector.way) }
            }
        }
    }

    @Test func `Every frame type and every reason is among the vectors`() throws {
        let valid = try VectorFile.validPackets()
        let frames = try valid.flatMap { vector in
            try InspectedPacket(vector.bytes, way: vector.way).frames
        }
        #expect(Set(frames.map(\.header.type)) == Set(FrameType.allCases))
        let refused = Set(try VectorFile.invalidPackets().map(\.reason))
        #expect(refused.isSuperset(of: ["malformedPacket", "frameUnknown", "protocolError"]))
    }
}

/// Inputs on which fuzzing once failed stay good.
@Suite struct `Inputs kept by the fuzzer` {
    @Test func `Packets`() throws {
        for (name, bytes) in try ProjectFiles.fuzzFailures(of: "FuzzPacket") {
            #expect(PacketInspection.violation(in: bytes) == nil, "\(name)")
            let repaired = PacketInspection.withRightHeader(bytes)
            #expect(PacketInspection.violation(in: repaired) == nil, "\(name)")
        }
    }

    @Test func `Topics`() throws {
        for (name, bytes) in try ProjectFiles.fuzzFailures(of: "FuzzTopic") {
            #expect(TopicInspection.violation(in: bytes) == nil, "\(name)")
        }
    }
}
