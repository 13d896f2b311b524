import FoundationEssentials
import Histogram

/// What was measured.
struct BenchSetting: Codable {
    let publishers: Int
    let subscribers: Int
    let payloadBytes: Int
    let batch: Int
    let ratePerSecond: Int
}

/// What one worker process tells when it has finished. Times are of CLOCK_MONOTONIC, which all
/// processes share.
struct BenchResult: Codable {
    var sent = 0
    var received = 0
    var disordered = 0
    var lostNotices: UInt64 = 0
    var startNanoseconds: UInt64 = 0
    var endNanoseconds: UInt64 = 0
    var latency: BenchLatency?
    /// Why it could not finish.
    var failure: String?
}

/// Percentiles in microseconds.
struct BenchLatency: Codable {
    let p50: Double
    let p90: Double
    let p99: Double
    let p999: Double
    let max: Double
    let mean: Double

    init(_ histogram: Histogram<UInt32>) {
        func microseconds(_ percentile: Double) -> Double {
            Double(histogram.valueAtPercentile(percentile)) / 1_000
        }
        p50 = microseconds(50)
        p90 = microseconds(90)
        p99 = microseconds(99)
        p999 = microseconds(99.9)
        max = Double(histogram.max) / 1_000
        mean = histogram.mean / 1_000
    }
}

/// The figures of one measurement, for people and for machines.
struct BenchReport {
    private let setting: BenchSetting
    let published: Int
    let delivered: Int
    let lost: Int
    let disordered: Int
    let seconds: Double
    private let latency: BenchLatency?

    init(
        setting: BenchSetting, sent: [BenchResult], received: [BenchResult],
        expectedDeliveries: Int
    ) {
        self.setting = setting
        published = sent.reduce(0) { $0 + $1.sent }
        delivered = received.reduce(0) { $0 + $1.received }
        lost = max(0, expectedDeliveries - delivered)
        disordered = received.reduce(0) { $0 + $1.disordered }
        let start = sent.map(\.startNanoseconds).min() ?? 0
        let end = received.map(\.endNanoseconds).max() ?? 0
        seconds = end > start ? Double(end - start) / 1e9 : 0
        latency = received.first?.latency
    }

    private var messagesPerSecond: Double { seconds > 0 ? Double(published) / seconds : 0 }
    private var deliveriesPerSecond: Double { seconds > 0 ? Double(delivered) / seconds : 0 }

    var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let document = Document(
            setting: setting, published: published, delivered: delivered, lost: lost,
            disordered: disordered, seconds: seconds, messages_per_second: messagesPerSecond,
            deliveries_per_second: deliveriesPerSecond, latency_microseconds: latency)
        do {
            return String(decoding: try encoder.encode(document), as: UTF8.self)
        } catch {
            preconditionFailure("a report does not encode: \(error)")
        }
    }

    var text: String {
        var lines = [
            "\(setting.publishers) to \(setting.subscribers), "
                + "\(setting.payloadBytes)-byte payload",
            "  published  \(published) messages in \(Self.rounded(seconds)) s, "
                + "\(Self.rate(messagesPerSecond)) messages/s",
            "  delivered  \(delivered), \(Self.rate(deliveriesPerSecond)) deliveries/s",
            "  lost       \(lost), out of order \(disordered)",
        ]
        if let latency {
            lines.append(
                "  latency    p50 \(Self.rounded(latency.p50)) µs, "
                    + "p90 \(Self.rounded(latency.p90)), p99 \(Self.rounded(latency.p99)), "
                    + "p99.9 \(Self.rounded(latency.p999)), max \(Self.rounded(latency.max))")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func rounded(_ value: Double) -> String {
        String((value * 100).rounded() / 100)
    }

    private static func rate(_ perSecond: Double) -> String {
        if perSecond >= 1e6 { return "\(rounded(perSecond / 1e6)) M" }
        if perSecond >= 1e3 { return "\(rounded(perSecond / 1e3)) k" }
        return rounded(perSecond)
    }

    /// Names as scripts know them from other benchmark tools.
    private struct Document: Encodable {
        let setting: BenchSetting
        let published: Int
        let delivered: Int
        let lost: Int
        let disordered: Int
        let seconds: Double
        // swift-format-ignore: AlwaysUseLowerCamelCase
        let messages_per_second: Double
        // swift-format-ignore: AlwaysUseLowerCamelCase
        let deliveries_per_second: Double
        // swift-format-ignore: AlwaysUseLowerCamelCase
        let latency_microseconds: BenchLatency?
    }
}
