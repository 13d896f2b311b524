import BrokerClient
import Foundation
import TestSupport
import Testing

@testable import BrokerCommands

@Suite("Times")
struct TimestampTests {
    @Test("of documents are shown in whole seconds, if they are times")
    func documents() {
        #expect(TimestampWriter.text(seconds: 1_795_427_449) == "2026-11-23T09:50:49Z")
        #expect(TimestampWriter.text(seconds: 18_446_744_073) == "2554-07-21T23:34:33Z")
        #expect(TimestampWriter.text(seconds: 18_446_744_074) == nil)
        #expect(TimestampWriter.text(seconds: .max) == nil)
        #expect(TimestampWriter.text(seconds: 0) == nil)
        #expect(TimestampWriter.text(seconds: nil) == nil)
    }

    @Test("agree with Foundation's calendar for 8,000 years")
    func calendar() throws {
        var calendar = Calendar(identifier: .iso8601)
        calendar.timeZone = try #require(TimeZone(secondsFromGMT: 0))
        var random = SeededRandom(seed: 1)
        let days = [0, 58, 59, 60, 789, 790, 11_015, 11_016, 11_017, 47_541, 47_542]
        let others = (0..<2000).map { _ in Int.random(in: 0...2_900_000, using: &random) }
        for day in days + others {
            let date = Date(timeIntervalSince1970: Double(day) * 86_400)
            let expected = calendar.dateComponents([.year, .month, .day], from: date)
            let found = TimestampWriter.civilDate(daysSince1970: UInt64(day))
            #expect(Int(found.year) == expected.year, "day \(day)")
            #expect(Int(found.month) == expected.month, "day \(day)")
            #expect(Int(found.day) == expected.day, "day \(day)")
        }
    }

    @Test("are written to the nanosecond")
    func text() {
        var writer = TimestampWriter()
        func text(_ nanoseconds: UInt64, _ precision: TimestampWriter.Precision) -> String {
            var buffer: [UInt8] = []
            writer.append(nanoseconds, precision, to: &buffer)
            return String(decoding: buffer, as: UTF8.self)
        }
        #expect(text(0, .nanoseconds) == "1970-01-01T00:00:00.000000000Z")
        #expect(text(1_000_001_999, .microseconds) == "1970-01-01T00:00:01.000001Z")
        #expect(
            text(951_868_799_999_999_999, .nanoseconds) == "2000-02-29T23:59:59.999999999Z")
        #expect(text(.max, .nanoseconds) == "2554-07-21T23:34:33.709551615Z")
    }
}

@Suite("Values of options")
struct OptionValueTests {
    @Test(
        "that are lengths of time",
        arguments: [
            ("0", 0), ("2", 2_000_000_000), ("0.5", 500_000_000), ("100ms", 100_000_000),
            ("2s", 2_000_000_000), ("250us", 250_000), ("1.5m", 90_000_000_000),
            ("1h", 3_600_000_000_000), (".25", 250_000_000), ("5min", 300_000_000_000),
        ])
    func interval(text: String, nanoseconds: Int64) {
        #expect(IntervalArgument(argument: text)?.duration == .nanoseconds(nanoseconds))
    }

    @Test(
        "that are not lengths of time",
        arguments: ["", "s", "-1", "1x", "1 s", "inf", "nan", "1e3", "..", ".", "99999999h", "٣"])
    func noInterval(text: String) {
        #expect(IntervalArgument(argument: text) == nil)
    }

    @Test("that are users and groups of this system")
    func names() throws {
        #expect(try IdentityArgument.uid("root") == 0)
        #expect(try IdentityArgument.uids("root") == IDRange(first: 0, last: 0))
        #expect(try IdentityArgument.uids("5-7") == IDRange(first: 5, last: 7))
        #expect(try IdentityArgument.gid("root") == 0)
        #expect(try IdentityArgument.gid("17") == 17)
        #expect(try IdentityArgument.gids("17") == IDRange(first: 17, last: 17))
    }

    @Test("that are modes of files")
    func modes() {
        #expect(FileModeArgument(argument: "0660")?.mode == 0o660)
        #expect(FileModeArgument(argument: "666")?.mode == 0o666)
        for text in ["", "8", "1777", "rw", "-1", "0x1"] {
            #expect(FileModeArgument(argument: text) == nil, "\(text)")
        }
        #expect(FileModeArgument(mode: 0o666).defaultValueDescription == "0666")
    }
}

@Suite("Lines of standard input")
struct LineReaderTests {
    @Test("are the same in whatever pieces they come", arguments: 1...9)
    func pieces(size: Int) throws {
        let text = "one\n\nthree\r\nfour, the longest of them\nlast"
        var rest = Array(text.utf8)[...]
        var reader = LineReader { bytes in
            let piece = rest.prefix(size)
            rest = rest.dropFirst(size)
            bytes.append(contentsOf: piece)
            return piece.count
        }
        var lines: [String] = []
        reading: while true {
            switch reader.next() {
            case .line: lines.append(String(copyingRepaired: reader.span))
            case .needsInput: try reader.fill()
            case .end: break reading
            }
        }
        #expect(lines == ["one", "", "three\r", "four, the longest of them", "last"])
        #expect(reader.next() == .end)
    }

    @Test("have a limit")
    func tooLong() {
        var reader = LineReader { bytes in
            bytes.append(contentsOf: repeatElement(0x78, count: 65_536))
            return 65_536
        }
        #expect(throws: CommandFailure.self) {
            while reader.next() == .needsInput { try reader.fill() }
        }
    }
}

@Suite("The stamp of a message of `broker bench`")
struct BenchStampTests {
    @Test("of a publisher that cannot be is none", arguments: [UInt64(1) << 63, .max])
    func publisher(number: UInt64) {
        let bytes = (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
        let payload = bytes + [UInt8](repeating: 1, count: 8)
        #expect(BenchStamp.read(payload.span) == nil)
    }
}
