import ArgumentParser

/// A length of time: `2`, `0.5` (seconds), `100ms`, `250us`, `2s`, `5m`, `1h`.
struct IntervalArgument: ExpressibleByArgument, Equatable, Sendable {
    let duration: Duration

    /// A year: what is longer is a mistake, and this leaves room for sums of nanoseconds.
    static let daysMax = 366
    private static let secondsMax = Double(daysMax) * 86_400

    /// What the help of an option says, and so does the error about its value.
    static let help = "seconds, or 100ms, 2s, 5m, up to \(daysMax) days"

    init?(argument: String) {
        let digits = argument.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard let unit = Self.seconds(ofUnit: argument.dropFirst(digits.count)),
            digits.contains(where: \.isNumber), let number = Double(String(digits))
        else { return nil }
        let seconds = number * unit
        guard seconds.isFinite, seconds <= Self.secondsMax else { return nil }
        duration = .nanoseconds(Int64((seconds * 1e9).rounded()))
    }

    private static func seconds(ofUnit unit: Substring) -> Double? {
        switch unit {
        case "", "s": 1
        case "ms": 1e-3
        case "us": 1e-6
        case "m", "min": 60
        case "h": 3600
        default: nil
        }
    }
}
