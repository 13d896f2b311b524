import ArgumentParser
import BrokerClient
import BrokerWire
import Foundation

/// `broker bench`: how many messages a second go through, and how long one takes.
struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure throughput and latency through a broker",
        discussion: """
            Publishers and subscribers are processes of their own that use the public client \
            library. Every message carries its number: lost and disordered ones are counted. \
            Without --socket a broker is started for the time of the measurement.

            Subscribers hold publishers back (overflow `block`), so that nothing is lost however \
            uneven the two are; see --overflow.
            """)

    @Option(
        name: .customLong("socket"),
        help: ArgumentHelp("Measure the broker at this path.", valueName: "path"))
    var socketPath: String?

    @Flag(
        help: ArgumentHelp(
            "Measure two brokers and a link between them.",
            discussion: "Publishers are at one, subscribers at the other; the link is TCP."))
    var viaLink = false

    @Flag(help: "With --via-link: the link is under TLS, with its key as pre-shared key.")
    var tls = false

    @Option(help: "Publishing processes, 1 to 64.")
    var publishers = 1

    @Option(help: "Subscribing processes, 1 to 1000; each receives everything.")
    var subscribers = 1

    @Option(
        help: ArgumentHelp(
            "Payload of each message: \(BenchStamp.byteCount) to \(Limits.packetBytesMax) bytes.",
            valueName: "bytes"))
    var size = 128

    @Option(
        help: ArgumentHelp(
            "Messages that each publisher sends, 1 to \(Bench.messagesMax).", valueName: "n"))
    var messages = 5_000_000

    @Option(
        help: ArgumentHelp(
            "Flush after this many messages; 1: each in a packet of its own. "
                + "0: as the client library batches by itself.", valueName: "n"))
    var batch = 0

    @Option(help: "What the subscriptions do when they are full.")
    var overflow = OverflowArgument.block

    @Flag(help: "Measure the time from publishing to receiving instead.")
    var latency = false

    @Option(
        help: ArgumentHelp(
            "With --latency: messages a second, sent on schedule; 0: one in flight.",
            valueName: "n"))
    var rate = 0

    @Option(help: "Print text or json.")
    var format = OutputFormat.text

    /// Days, and sums of all publishers and subscribers that are no overflow.
    private static let messagesMax = 1_000_000_000_000

    func validate() throws {
        guard (1...64).contains(publishers), (1...1_000).contains(subscribers) else {
            throw ValidationError("1 to 64 publishers and 1 to 1000 subscribers are possible")
        }
        guard (BenchStamp.byteCount...Limits.packetBytesMax).contains(size) else {
            throw ValidationError(
                "--size is \(BenchStamp.byteCount) to \(Limits.packetBytesMax) bytes: each message "
                    + "carries its number, and fits in a packet")
        }
        guard (1...Self.messagesMax).contains(messages), batch >= 0, rate >= 0 else {
            throw ValidationError(
                "--messages is 1 to \(Self.messagesMax); --batch and --rate are not negative")
        }
        if viaLink && (latency || socketPath != nil) {
            throw ValidationError("--via-link starts its brokers itself and measures throughput")
        }
        if tls && !viaLink { throw ValidationError("--tls goes with --via-link") }
        if rate > 0 && !latency { throw ValidationError("--rate goes with --latency") }
    }

    func run() async throws {
        await BenchBroker.endOnSignal()
        let report =
            if viaLink {
                try BenchLink.withBrokers(hasTLS: tls) { try measureThroughput(from: $0, to: $1) }
            } else {
                try BenchBroker.withBroker(at: socketPath) { socket in
                    latency
                        ? try measureLatency(socket)
                        : try measureThroughput(from: socket, to: socket)
                }
            }
        let output = Output()
        switch format {
        case .text: try output.write(report.text)
        case .json: try output.write(report.json + "\n")
        }
        if report.lost > 0 || report.disordered > 0 {
            throw CommandFailure(
                .failure, "\(report.lost) messages lost, \(report.disordered) out of order")
        }
    }

    private func measureThroughput(
        from source: String, to destination: String
    ) throws -> BenchReport {
        let expected = messages * publishers
        var receivers: [BenchWorkerProcess] = []
        for _ in 0..<subscribers {
            receivers.append(
                try BenchWorkerProcess([
                    "subscribe", "--socket", destination, "--messages", "\(expected)",
                    "--publishers", "\(publishers)", "--overflow", overflow.rawValue,
                ]))
        }
        for receiver in receivers { try receiver.waitUntilReady() }
        // What is subscribed at one broker has to reach the other.
        if viaLink { Thread.sleep(forTimeInterval: 0.5) }
        var senders: [BenchWorkerProcess] = []
        for publisher in 0..<publishers {
            senders.append(
                try BenchWorkerProcess([
                    "publish", "--socket", source, "--messages", "\(messages)",
                    "--size", "\(size)", "--batch", "\(batch)", "--publisher", "\(publisher)",
                ]))
        }
        for sender in senders { try sender.waitUntilReady() }
        for sender in senders { try sender.go() }
        let sent = try senders.map { try $0.result() }
        let received = try receivers.map { try $0.result() }
        return BenchReport(
            setting: setting, sent: sent, received: received,
            expectedDeliveries: expected * subscribers)
    }

    private func measureLatency(_ socket: String) throws -> BenchReport {
        let worker = try BenchWorkerProcess([
            "latency", "--socket", socket, "--messages", "\(min(messages, 200_000))",
            "--size", "\(size)", "--rate", "\(rate)",
        ])
        try worker.waitUntilReady()
        try worker.go()
        let result = try worker.result()
        return BenchReport(
            setting: setting, sent: [result], received: [result],
            expectedDeliveries: result.sent)
    }

    private var setting: BenchSetting {
        BenchSetting(
            publishers: latency ? 1 : publishers, subscribers: latency ? 1 : subscribers,
            payloadBytes: size, batch: batch, ratePerSecond: rate)
    }
}

/// The number of a message, at the beginning of its payload.
enum BenchStamp {
    static let byteCount = 16

    /// - Parameters:
    ///   - publisher: who sent it.
    ///   - value: its number, or the time it was to be sent.
    static func write(
        publisher: Int, value: UInt64, to payload: inout MutableSpan<UInt8>, at start: Int = 0
    ) {
        precondition(start >= 0 && payload.count - start >= byteCount)
        for offset in 0..<8 {
            payload[start &+ offset] = UInt8(
                truncatingIfNeeded: UInt64(publisher) >> UInt64(8 &* offset))
            payload[start &+ 8 &+ offset] = UInt8(
                truncatingIfNeeded: value >> UInt64(8 &* offset))
        }
    }

    static func read(_ payload: Span<UInt8>) -> (publisher: Int, value: UInt64)? {
        guard payload.count >= byteCount, let publisher = Int(exactly: payload.loadUInt64(at: 0))
        else { return nil }
        return (publisher, payload.loadUInt64(at: 8))
    }
}
