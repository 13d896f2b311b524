import BrokerWire
import Foundation
import TestSupport
import Testing

@testable import BrokerCore

/// Somebody who holds the wire between two brokers, with real HMAC-SHA-256.
struct ManInTheMiddleTests {
    private static let batches = 4

    private static func messages(_ count: Int) -> [[UInt8]] {
        (0..<count).map { Array("message \($0)".utf8) }
    }

    private static func undisturbed() -> Exchange {
        let exchange = Exchange()
        exchange.run(count: batches)
        return exchange
    }

    /// How many messages stand before the record that holds this byte, in what was sent to the
    /// listener.
    private static func messagesBefore(_ place: Int, in stream: [UInt8]) -> Int {
        var offset = 0
        var count = 0
        while offset < stream.count {
            let rest = stream.span.extracting(offset...)
            guard let header = try? LinkRecordHeader(reading: rest) else { return count }
            if offset + header.recordBytes > place { return count }
            if header.kind == .data { count += 1 }
            offset += header.recordBytes
        }
        return count
    }

    @Test func `an exchange that nobody disturbs delivers everything`() {
        let exchange = Self.undisturbed()
        #expect(exchange.delivered == Self.messages(Self.batches))
        #expect(exchange.faults.isEmpty)
    }

    @Test func `an exchange is the same each time`() {
        let (first, second) = (Self.undisturbed(), Self.undisturbed())
        #expect(first.sent == second.sent)
    }

    /// Every byte of the whole exchange, both ways, several bits of each.
    @Test func `no altered byte is delivered, nor what comes behind it`() {
        let whole = Self.undisturbed().sent
        var alterations = 0
        for way in Exchange.Way.allCases {
            let stream = whole[way] ?? []
            for place in stream.indices {
                for bit in [0, 1, 2, 4, 6, 7] as [UInt8] {
                    alterations += 1
                    let exchange = Exchange { movedWay, offset, bytes in
                        var bytes = bytes
                        if movedWay == way, bytes.indices.contains(place - offset) {
                            bytes[place - offset] ^= 1 << bit
                        }
                        return bytes
                    }
                    exchange.run(count: Self.batches)
                    let allowed =
                        way == .toListener
                        ? Self.messagesBefore(place, in: stream) : Self.batches
                    let got = exchange.delivered
                    // What an altered header hides is only missing: the reader waits for more.
                    let isRight = got == Self.messages(got.count) && got.count <= allowed
                    #expect(isRight, "\(way) byte \(place) bit \(bit): \(got.count) delivered")
                }
            }
        }
        print("\(alterations) altered bits")
        #expect(alterations >= 10_000)
    }

    @Test func `records that come again, turned round, swapped or left out end the link`() {
        let stream = Self.undisturbed().sent[.toListener] ?? []
        for place in [200, stream.count / 2, stream.count - 10] {
            let limit = Self.messagesBefore(place, in: stream)
            let attacks: [(String, ([UInt8]) -> [UInt8])] = [
                ("again", { $0 + $0 }), ("left out", { _ in [] }),
                ("backwards", { $0.reversed() }), ("cut short", { Array($0.dropLast()) }),
                ("first again", { bytes in bytes + Array(stream.prefix(bytes.count)) }),
                ("splice", { bytes in Array(stream.suffix(bytes.count)) + bytes }),
            ]
            for (name, attack) in attacks {
                let exchange = Exchange { way, offset, bytes in
                    let isHere =
                        way == .toListener && offset <= place
                        && place < offset + bytes.count
                    return isHere ? attack(bytes) : bytes
                }
                exchange.run(count: Self.batches)
                let got = exchange.delivered
                // What is repeated behind the original leaves the original untouched.
                let allowed = limit + 1
                #expect(
                    got == Self.messages(got.count) && got.count <= allowed,
                    "\(name) at \(place): \(got.count)")
            }
        }
    }

    @Test func `what a side sent is refused when it comes back to it`() {
        var toListener: [UInt8] = []
        let exchange = Exchange { way, _, bytes in
            if way == .toListener {
                toListener = bytes
                return bytes
            }
            return toListener
        }
        exchange.run(count: Self.batches)
        #expect(exchange.delivered.isEmpty)
        #expect(exchange.faults.contains(.roleWrong))
    }

    @Test func `the stream of another connection is refused`() {
        // The same link, the same keys, other nonces: a captured stream is worth nothing.
        let old = Self.undisturbed().sent[.toListener] ?? []
        let helloBytes = 40 + 4 + 32 + "edge-1".utf8.count
        let exchange = Exchange { way, offset, bytes in
            guard way == .toListener else {
                // Another nonce of the listener.
                var bytes = bytes
                if offset == 0 { bytes[50] ^= 1 }
                return bytes
            }
            return offset == 0 ? old : []
        }
        exchange.run(count: Self.batches)
        #expect(exchange.delivered.count <= Self.batches)
        #expect(helloBytes < old.count)
    }

    @Test func `a byte at a time is as good as all at once`() {
        let exchange = Exchange(pieceBytes: 1)
        exchange.run(count: Self.batches)
        #expect(exchange.delivered == Self.messages(Self.batches))
        #expect(exchange.faults.isEmpty)
    }
}
