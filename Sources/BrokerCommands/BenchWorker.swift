import ArgumentParser
import BrokerClient
import Foundation
import LinuxIO

/// The processes that `broker bench` runs. Not for people: it speaks with its parent.
struct BenchWorker: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-worker", abstract: "Publish or subscribe for a benchmark",
        shouldDisplay: false)

    enum Role: String, ExpressibleByArgument {
        case publish
        case subscribe
        case latency
    }

    @Argument var role: Role
    @Option(name: .customLong("socket")) var socketPath: String
    @Option var messages: Int
    @Option var size = BenchStamp.byteCount
    @Option var batch = 0
    @Option var publisher = 0
    @Option var publishers = 1
    @Option var rate = 0
    @Option var overflow = OverflowArgument.block

    func run() async throws {
        Actor.endWithParent()
        var result: BenchResult
        do throws(BrokerClientError) {
            let client = try await connect(name: "bench-\(role.rawValue)")
            switch role {
            case .publish: result = try await publish(client)
            case .subscribe: result = try await subscribe(client)
            case .latency: result = try await latency(client)
            }
            await client.close()
        } catch {
            result = BenchResult()
            result.failure = error.message
        }
        let line = try JSONEncoder().encode(result) + Data("\n".utf8)
        try FileHandle.standardOutput.write(contentsOf: line)
    }

    private func connect(name: String) async throws(BrokerClientError) -> BrokerClient {
        var configuration = BrokerClient.Configuration(
            socketPath: socketPath, clientName: name)
        configuration.reconnect = .never
        configuration.gathers = batch != 1
        return try await BrokerClient.connect(configuration)
    }

    private func sayReady() {
        FileHandle.standardOutput.write(Data("ready\n".utf8))
    }

    private static let runMessagesMax = 64
    private static let runBytesMax = 65_536

    private func publish(_ client: BrokerClient) async throws(BrokerClientError) -> BenchResult {
        let topic = try PreparedTopic("bench/\(publisher)")
        // Each look at an option goes through the argument parser.
        let (messages, size, batch, publisher) = (messages, size, batch, publisher)
        let run = max(1, min(Self.runMessagesMax, Self.runBytesMax / size))
        // 0: the library decides when it sends.
        let flushed = batch == 0 ? messages : batch
        var payloads = [UInt8](repeating: UInt8(ascii: "x"), count: run * size)
        let byteCounts = [Int](repeating: size, count: run)
        sayReady()
        _ = readLine()
        var result = BenchResult()
        result.startNanoseconds = Clock.monotonicNanoseconds()
        var first = 0
        while first < messages {
            let count = min(run, messages - first, flushed - first % flushed)
            Self.stamp(count, from: first, publisher: publisher, size: size, in: &payloads)
            let counts = byteCounts.span.extracting(first: count)
            let bytes = payloads.span.extracting(first: count * size)
            try await client.publish(bytes, byteCounts: counts, to: topic)
            first += count
            if batch > 0, first % flushed == 0 { try await client.flush() }
        }
        // Everything is accepted when the broker answers this.
        _ = try await client.ping()
        result.sent = messages
        result.endNanoseconds = Clock.monotonicNanoseconds()
        return result
    }

    private static func stamp(
        _ count: Int, from first: Int, publisher: Int, size: Int, in payloads: inout [UInt8]
    ) {
        var bytes = payloads.mutableSpan
        for index in 0..<count {
            BenchStamp.write(
                publisher: publisher, value: UInt64(first + index), to: &bytes,
                at: index * size)
        }
    }

    /// The handler's way to consume: the fastest that the library has.
    private func subscribe(
        _ client: BrokerClient
    ) async throws(BrokerClientError) -> BenchResult {
        var options = SubscriptionOptions()
        options.overflow = overflow.policy
        let tally = BenchTally(expected: messages, publishers: publishers)
        let subscription = try await client.subscribe(to: ["bench/+"], options: options) {
            tally.add($0)
        }
        sayReady()
        try await tally.wait(for: subscription)
        return tally.result
    }

    // MARK: Latency

    private func latency(_ sender: BrokerClient) async throws(BrokerClientError) -> BenchResult {
        let receiver = try await connect(name: "bench-receive")
        let course = LatencyCourse(
            sender, topic: try PreparedTopic("bench/latency"), messages: messages, size: size,
            isPingPong: rate == 0)
        let subscription = try await receiver.subscribe(to: ["bench/latency"]) {
            course.received($0)
        }
        sayReady()
        _ = readLine()
        let schedule = course.start(ratePerSecond: rate)
        try await course.tally.wait(for: subscription)
        schedule?.join()
        await receiver.close()
        return course.result
    }
}
