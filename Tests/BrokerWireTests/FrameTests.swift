import BrokerWire
import TestSupport
import Testing

@Suite struct `Frames` {
    @Test(arguments: FrameType.allCases)
    func `Random frames of a type come back as they were written`(_ type: FrameType) throws {
        var random = SeededRandom()
        for _ in 0..<200 {
            var buffer = PacketBuffer(capacityBytes: Limits.packetBytesMax)
            let way = Way.allCases.first { RandomFrames.types($0).contains(type) }
            if type == .deliver { RandomFrames.append(.sender, to: &buffer, &random) }
            RandomFrames.append(type, to: &buffer, &random)
            let bytes = buffer.sealedBytes()
            let packet = try InspectedPacket(bytes, way: try #require(way))
            #expect(packet.frames.last?.header.type == type, "\(random)")
            #expect(packet.encoded(from: bytes) == bytes, "\(random)")
        }
    }

    @Test(arguments: Way.allCases)
    func `Packets of many random frames come back as they were written`(_ way: Way) throws {
        var random = SeededRandom()
        for _ in 0..<200 {
            var buffer = PacketBuffer(capacityBytes: Limits.packetBytesMax)
            if way == .toClient { RandomFrames.append(.sender, to: &buffer, &random) }
            var types = way == .toClient ? [FrameType.sender] : []
            for _ in 0..<random.int(in: 1...12) {
                let type = random.pick(RandomFrames.types(way).filter { $0 != .disconnect })
                RandomFrames.append(type, to: &buffer, &random)
                types.append(type)
            }
            let frameCount = buffer.frameCount
            #expect(frameCount == types.count)
            let bytes = buffer.sealedBytes()
            let packet = try InspectedPacket(bytes, way: way)
            #expect(packet.frames.map(\.header.type) == types, "\(random)")
            #expect(packet.encoded(from: bytes) == bytes, "\(random)")
        }
    }

    @Test func `Random mutations of good packets are read safely`() {
        var random = SeededRandom()
        for _ in 0..<3_000 {
            let way = random.pick(Way.allCases)
            var buffer = PacketBuffer(capacityBytes: Limits.packetBytesMax)
            for _ in 0..<random.int(in: 1...4) {
                RandomFrames.append(random.pick(RandomFrames.types(way)), to: &buffer, &random)
            }
            var bytes = buffer.sealedBytes()
            for _ in 0..<random.int(in: 1...4) {
                bytes[random.int(in: 0...(bytes.count - 1))] = random.pick([0, 1, 8, 0x7F, 0xFF])
            }
            let repaired = PacketInspection.withRightHeader(bytes)
            #expect(PacketInspection.violation(in: bytes) == nil, "\(random)")
            #expect(PacketInspection.violation(in: repaired) == nil, "\(random)")
        }
    }

    @Test func `The first DELIVER of a packet needs a SENDER, whatever the packet before had`() {
        let deliver = "c500b7001d000000150000000800010001000000000000000100000061"
        #expect(throws: Refusal.self) {
            try InspectedPacket(HexText.bytes(deliver), way: .toClient)
        }
    }

    @Test func `A well-formed frame of each type says how long it is`() throws {
        for type in FrameType.allCases {
            let count = FrameHeader.byteCount + type.fixedBytes
            for missing in 0...type.fixedBytes {
                let frame = Self.frame(type: type.rawValue, count: count - missing)
                #expect((Self.fault(in: frame) == nil) == (missing == 0), "\(type), \(missing)")
            }
            let longer = Self.fault(in: Self.frame(type: type.rawValue, count: count + 1))
            #expect(longer == (type.hasTail ? nil : .leftOver(bytes: 1)), "\(type)")
        }
    }

    @Test func `Flags 0 to 3 that a type has no meaning for are refused, 4 to 7 ignored`() {
        for type in FrameType.allCases {
            let count = FrameHeader.byteCount + type.fixedBytes
            for flags in UInt8.min ... .max {
                let frame = Self.frame(type: type.rawValue, flags: flags, count: count)
                let isRefused = flags & 0x0F & ~type.knownFlags != 0
                let fault: WireError.Fault? = isRefused ? .criticalFlags(flags) : nil
                #expect(Self.fault(in: frame) == fault, "\(type), flags \(flags)")
            }
        }
    }

    @Test func `Unknown types from 0x80 on are ignored, others refused`() {
        for raw in UInt8.min ... .max where FrameType(rawValue: raw) == nil {
            // Ignored as if it were not there: neither flags nor lead are looked at.
            let frame = Self.frame(type: raw, flags: 0xFF, leadLength: 0xFFFF, count: 8)
            #expect(Self.fault(in: frame) == (raw < 0x80 ? .frameType(raw) : nil))
        }
    }

    @Test func `Errors name their reason and say where they are`() {
        let unknown = WireError(.frameType(0x7F), at: 24)
        #expect(unknown.reason == .frameUnknown)
        #expect(unknown.description == "unknown frame type 127, at byte 24 of the packet")
        let magic = WireError(.magic, at: 0)
        #expect(magic.reason == .malformedPacket)
        #expect(magic.description.hasPrefix("the packet does not begin with C5 00 B7 00"))
    }

    /// A packet with one frame of zeros.
    private static func frame(
        type: UInt8, flags: UInt8 = 0, leadLength: UInt16 = 0, count: Int
    ) -> [UInt8] {
        let header: [UInt8] = [
            UInt8(count), 0, 0, 0, type, flags, UInt8(leadLength & 0xFF), UInt8(leadLength >> 8),
        ]
        let body = [UInt8](repeating: 0, count: count - header.count)
        return PacketInspection.withRightHeader([UInt8](repeating: 0, count: 8) + header + body)
    }

    private static func fault(in packet: [UInt8]) -> WireError.Fault? {
        do {
            var cursor = try FrameCursor(packet: packet.span)
            while try cursor.next(in: packet.span) != nil {}
            return nil
        } catch {
            return error.fault
        }
    }
}
