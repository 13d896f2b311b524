/// ISO 8601 in UTC, from nanoseconds since 1970. Remembers the second it wrote last: messages
/// come many to the second.
struct TimestampWriter {
    enum Precision: Int {
        case microseconds = 6
        case nanoseconds = 9
    }

    private var second: UInt64 = .max
    private var text: [UInt8] = []

    /// `2026-07-01T05:54:21.123456789Z`
    mutating func append(
        _ nanoseconds: UInt64, _ precision: Precision, to buffer: inout [UInt8]
    ) {
        if nanoseconds / 1_000_000_000 != second { write(second: nanoseconds / 1_000_000_000) }
        buffer.append(contentsOf: text)
        let fraction = nanoseconds % 1_000_000_000
        switch precision {
        case .microseconds: buffer.append(decimal: fraction / 1000, digits: 6)
        case .nanoseconds: buffer.append(decimal: fraction, digits: 9)
        }
        buffer.append(UInt8(ascii: "Z"))
    }

    /// `2026-07-01T05:54:21Z`, from what a status document says in whole seconds; nil if that is no
    /// time, or one that does not fit into nanoseconds.
    static func text(seconds: UInt64?) -> String? {
        guard let seconds, seconds > 0, seconds <= UInt64.max / 1_000_000_000 else { return nil }
        var writer = TimestampWriter()
        writer.write(second: seconds)
        return String(decoding: writer.text.dropLast(), as: UTF8.self) + "Z"
    }

    private mutating func write(second: UInt64) {
        self.second = second
        let (year, month, day) = Self.civilDate(daysSince1970: second / 86_400)
        text.removeAll(keepingCapacity: true)
        text.append(decimal: year, digits: 4)
        text.append(UInt8(ascii: "-"))
        text.append(decimal: month, digits: 2)
        text.append(UInt8(ascii: "-"))
        text.append(decimal: day, digits: 2)
        text.append(UInt8(ascii: "T"))
        text.append(decimal: second % 86_400 / 3600, digits: 2)
        text.append(UInt8(ascii: ":"))
        text.append(decimal: second % 3600 / 60, digits: 2)
        text.append(UInt8(ascii: ":"))
        text.append(decimal: second % 60, digits: 2)
        text.append(UInt8(ascii: "."))
    }

    /// The Gregorian calendar, counted in eras of 400 years that begin on 1 March, so that the
    /// day that comes every four years is the last one of a year.
    static func civilDate(
        daysSince1970: UInt64
    ) -> (year: UInt64, month: UInt64, day: UInt64) {
        let days = daysSince1970 + 719_468  // since 0000-03-01
        let era = days / 146_097
        let dayOfEra = days % 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
        return (year, month, day)
    }
}
