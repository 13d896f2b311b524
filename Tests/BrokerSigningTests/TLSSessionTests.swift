import BrokerSigning
import TestSupport
import Testing

/// Both ends of a TLS connection in memory, with a pre-shared key.
@Suite struct `TLS by pre-shared key` {
    /// Without printing them.
    private func expectSame(
        _ found: [UInt8], _ expected: [UInt8], location: SourceLocation = #_sourceLocation
    ) {
        let isSame = found == expected
        #expect(isSame, "\(found.count) of \(expected.count) bytes", sourceLocation: location)
    }

    @Test func `Both sides agree, and what is sent arrives`() throws {
        var pair = try TLSPair()
        pair.run()
        #expect(pair.connector.state == .established && pair.listener.state == .established)
        #expect(pair.connector.identity == TLSPair.identity)
        #expect(pair.listener.identity == TLSPair.identity)
        #expect(pair.listener.cipher == "TLS_AES_128_GCM_SHA256")
        let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        expectSame(pair.transfer(bytes, .toListener), bytes)
        expectSame(pair.transfer(bytes, .toConnector), bytes)
    }

    @Test func `Bytes that come one at a time are the same`() throws {
        var pair = try TLSPair()
        pair.bytesAtATime = 1
        pair.run()
        #expect(pair.connector.state == .established && pair.listener.state == .established)
        let bytes = (0..<40_000).map { UInt8(truncatingIfNeeded: $0) }
        expectSame(pair.transfer(bytes, .toListener), bytes)
    }

    @Test func `Nothing readable goes over the wire, and records are large`() throws {
        var pair = try TLSPair()
        pair.run()
        let before = pair.carried[.toListener]?.count ?? 0
        let bytes = [UInt8](repeating: UInt8(ascii: "x"), count: 65_536)
        expectSame(pair.transfer(bytes, .toListener), bytes)
        let wire = Array((pair.carried[.toListener] ?? []).dropFirst(before))
        #expect(wire.count == 4 * (16_384 + 22))
        #expect(!wire.windows(of: 8).contains { $0.allSatisfy { $0 == UInt8(ascii: "x") } })
    }

    @Test func `After the last record of a key there is another key`() throws {
        var pair = try TLSPair(recordsPerKeyMax: 3)
        pair.run()
        let bytes = (0..<500_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let before = pair.carried[.toListener]?.count ?? 0
        expectSame(pair.transfer(bytes, .toListener), bytes)
        let wireBytes = (pair.carried[.toListener]?.count ?? 0) - before
        let records = (bytes.count + 16_383) / 16_384
        // Every fourth record there is one more, which says so.
        #expect(wireBytes == bytes.count + 22 * records + 27 * ((records - 1) / 3))
    }

    @Test func `Another key under the same identity is refused`() throws {
        var pair = try TLSPair(keys: (1, 2))
        pair.run()
        let failure = try #require(TLSPair.failure(pair.listener))
        #expect(failure.kind == .noSharedKey)
        #expect(failure.description.contains("another link key under the same key id"))
        guard case .alert? = TLSPair.failure(pair.connector)?.kind else {
            Issue.record("the connector is not told: \(pair.connector.state)")
            return
        }
    }

    @Test func `An identity that nobody knows is refused and named`() throws {
        var pair = try TLSPair(known: "broker-link/1/other/hub/0000000000000001")
        pair.run()
        let failure = try #require(TLSPair.failure(pair.listener))
        #expect(failure.kind == .noSharedKey)
        #expect(failure.description.contains(TLSPair.identity))
        #expect(TLSPair.failure(pair.connector) != nil)
    }

    @Test(arguments: [
        Array("GET / HTTP/1.1\r\nHost: hub\r\n\r\n".utf8), [0xC5, 0x00, 0xB8, 0x00, 1, 1],
        [UInt8](repeating: 0, count: 40), [0x80, 0x2E, 1, 0, 2],
    ])
    func `A peer without TLS is recognised by its first byte`(bytes: [UInt8]) throws {
        let listener = try TLSPair.keyListener()
        TLSPair.feed(bytes, to: listener)
        let failure = try #require(TLSPair.failure(listener))
        #expect(failure.kind == .plaintext)
        #expect(failure.description.contains("without TLS") == (bytes.first == 0xC5))
        #expect(listener.outputBytes == 0)
        #expect(listener.write(bytes.span) == 0 && TLSPair.read(listener).isEmpty)
    }

    @Test func `Every flipped bit of a handshake ends it on one side or the other`() throws {
        var intact = try TLSPair()
        intact.run()
        try #require(intact.listener.state == .established)
        for way in TLSPair.Way.allCases {
            let count = intact.carried[way]?.count ?? 0
            try #require(count > 100)
            for offset in 0..<count {
                var pair = try TLSPair()
                pair.alter = { $0 == way && $1 == offset ? $2 ^ 0x01 : $2 }
                pair.run()
                let whole = pair.transfer([1, 2, 3], .toListener) == [1, 2, 3]
                let back = pair.transfer([4, 5, 6], .toConnector) == [4, 5, 6]
                // The version of a record's header is one that nobody looks at (RFC 8446, 5.1).
                let isWatched = !(whole && back)
                let isVersion = Self.isRecordVersion(offset, in: intact.carried[way] ?? [])
                #expect(isWatched || isVersion, "\(way) \(offset)")
            }
        }
    }

    /// Whether a byte is the version in the header of a record.
    private static func isRecordVersion(_ offset: Int, in wire: [UInt8]) -> Bool {
        var start = 0
        while start + 5 <= wire.count {
            if offset == start + 1 || offset == start + 2 { return true }
            start += 5 + Int(wire[start + 3]) << 8 + Int(wire[start + 4])
        }
        return false
    }

    @Test func `Every flipped bit of a record's tag, length or content ends the connection`() throws
    {
        for offset in 0..<60 {
            var pair = try TLSPair()
            pair.run()
            let before = pair.carried[.toListener]?.count ?? 0
            pair.alter = { $0 == .toListener && $1 == before + offset ? $2 ^ 0x10 : $2 }
            // Twice, so that a length that was made larger is filled.
            let content = [UInt8](repeating: 7, count: 38)
            let arrived =
                pair.transfer(content, .toListener)
                + pair.transfer(
                    [UInt8](repeating: 8, count: 60_000), .toListener)
            #expect(arrived.isEmpty, "\(offset)")
            let failure = try #require(TLSPair.failure(pair.listener), "\(offset)")
            #expect(failure.kind == .damaged, "\(offset): \(failure)")
        }
    }

    @Test func `A handshake that is cut off anywhere is never complete`() throws {
        var intact = try TLSPair()
        intact.run()
        try #require(intact.listener.state == .established)
        let count = intact.carried[.toConnector]?.count ?? 0
        for length in 0..<count {
            var pair = try TLSPair()
            pair.alter = { $0 == .toConnector && $1 == length ? nil : $2 }
            pair.run()
            #expect(pair.connector.state == .handshaking, "\(length)")
            #expect(pair.connector.write([1].span) == 0)
        }
    }

    @Test func `A record that is cut off gives nothing`() throws {
        var pair = try TLSPair()
        pair.run()
        let before = pair.carried[.toListener]?.count ?? 0
        pair.alter = { $0 == .toListener && $1 == before + 100 ? nil : $2 }
        #expect(pair.transfer([UInt8](repeating: 1, count: 1_000), .toListener).isEmpty)
        #expect(pair.listener.state == .established)
    }

    @Test func `Who has nothing more to say says so`() throws {
        var pair = try TLSPair()
        pair.run()
        #expect(pair.transfer([1], .toListener) == [1])
        pair.connector.close()
        pair.run()
        #expect(TLSPair.read(pair.listener).isEmpty)
        #expect(pair.listener.state == .ended)
    }

    @Test func `A side that is not read from takes no more than its buffers hold`() throws {
        var pair = try TLSPair()
        pair.run()
        let bytes = [UInt8](repeating: 1, count: 1_048_576)
        let taken = pair.connector.write(bytes.span)
        #expect(taken == 4 * 16_384)
        #expect(pair.connector.write(bytes.span) == 0)
        #expect(pair.connector.outputBytes <= 4 * (16_384 + 256))
        // And one that does not read is brought no more than it has room for.
        let junk = [UInt8](repeating: 23, count: 1_048_576)
        #expect(TLSPair.feed(junk, to: try TLSPair.keyListener()) < 70_000)
    }

    @Test func `A hello that never ends is not kept`() throws {
        let listener = try TLSPair.keyListener()
        // A handshake message that says it has 16 MiB, in records of the largest size.
        let record =
            [22, 3, 1, 0x40, 0x00] + [1, 0xFF, 0xFF, 0xFF]
            + [UInt8](repeating: 0, count: 16_380)
        var taken = 0
        while TLSPair.failure(listener) == nil, taken < 1_048_576 {
            let count = TLSPair.feed(record, to: listener)
            taken += count
            if count == 0 { break }
        }
        #expect(TLSPair.failure(listener)?.kind == .damaged)
        #expect(taken < 262_144)
    }
}

extension Array {
    fileprivate func windows(of count: Int) -> some Sequence<ArraySlice<Element>> {
        stride(from: 0, through: self.count - count, by: 1).lazy.map { self[$0..<($0 + count)] }
    }
}
