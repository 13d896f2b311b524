import BrokerWire
import TestSupport
import Testing

@Suite struct `Bytes` {
    @Test func `Numbers are little-endian, at any offset`() {
        let bytes: [UInt8] = [0xFF, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x88]
        let short = bytes.span.loadUInt16(at: 1)
        let word = bytes.span.loadUInt32(at: 1)
        let long = bytes.span.loadUInt64(at: 1)
        let last = bytes.span.loadUInt16(at: 7)
        #expect(short == 0x0201)
        #expect(word == 0x0403_0201)
        #expect(long == 0x8807_0605_0403_0201)
        #expect(last == 0x8807)
    }

    @Test func `Spans are equal if they hold the same bytes`() {
        var random = SeededRandom()
        for count in 0...40 {
            let bytes = random.bytes(count: count)
            #expect(areEqual(bytes, Array(bytes)))
            #expect(!areEqual(bytes, bytes + [0]))
            for index in bytes.indices {
                var other = bytes
                other[index] ^= 0x80
                #expect(!areEqual(bytes, other), "byte \(index) of \(count); \(random)")
            }
        }
    }

    @Test func `Ill-formed text shows as U+FFFD`() {
        let bytes: [UInt8] = [0x61, 0xFF, 0x62]
        let (text, copy) = (bytes.span.text(), bytes.span.copied())
        #expect(text == "a\u{FFFD}b")
        #expect(copy == bytes)
    }

    private func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.span.equals(right.span)
    }
}

@Suite struct `Sender records` {
    @Test func `A record comes back as it was written`() throws {
        var random = SeededRandom()
        for _ in 0..<500 {
            let record = RandomFrames.record(&random)
            var buffer = PacketBuffer(capacityBytes: 256)
            buffer.appendSender(record, origin: [UInt8]().span)
            let copy = SenderRecord(reading: buffer.span, at: 16)
            #expect(copy == record, "\(random)")
        }
    }

    @Test func `Unknown levels and domains are unknown, and other flags are not looked at`() {
        var bytes = [UInt8](repeating: 0, count: SenderRecord.byteCount)
        bytes[48] = 9
        bytes[49] = 0xFE
        bytes[50] = 3
        let record = SenderRecord(reading: bytes.span, at: 0)
        #expect(record.level == .unknown)
        #expect(record.domain == .unknown)
        #expect(!record.isDelegated)
    }

    @Test func `A range of ids holds both of its ends`() {
        let range = IDRange(first: 2_000, last: 2_999)
        #expect(range.contains(2_000) && range.contains(2_999))
        #expect(!range.contains(1_999) && !range.contains(3_000))
        #expect(IDRange(first: 0, last: .max).contains(.max))
    }
}
