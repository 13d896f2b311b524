import ArgumentParser
import BrokerClient
import Foundation
import Histogram
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
        return try await BrokerClient.connect(configuration)
    }

    private func sayReady() {
        FileHandle.standardOutput.write(Data("ready\n".utf8))
    }

    private func publish(_ client: BrokerClient) async throws(BrokerClientError) -> BenchResult {
        let topic = try PreparedTopic("bench/\(publisher)")
        var payload = [UInt8](repeating: UInt8(ascii: "x"), count: size)
        sayReady()
        _ = readLine()
        var result = BenchResult()
        result.startNanoseconds = Clock.monotonicNanoseconds()
        for index in 0..<messages {
            BenchStamp.write(publisher: publisher, value: UInt64(index), to: &payload)
            if try !client.publishIfRoom(payload.span, to: topic) {
                try await client.publish(payload.span, to: topic)
            }
            if batch > 0 && (index + 1) % batch == 0 { try await client.flush() }
        }
        // Everything is accepted when the broker answers this.
        _ = try await client.ping()
        result.sent = messages
        result.endNanoseconds = Clock.monotonicNanoseconds()
        return result
    }

    private func subscribe(
        _ client: BrokerClient
    ) async throws(BrokerClientError) -> BenchResult {
        var options = SubscriptionOptions()
        options.overflow = overflow.policy
        let subscription = try await client.subscribe(to: ["bench/+"], options: options)
        sayReady()
        var result = BenchResult()
        var next = [UInt64](repeating: 0, count: publishers)
        let batches = subscription.batches.makeAsyncIterator()
        while result.received + Int(result.lostNotices) < messages {
            guard let batch = try await batches.next() else { break }
            if result.startNanoseconds == 0 {
                result.startNanoseconds = Clock.monotonicNanoseconds()
            }
            result.lostNotices += batch.lost
            var disordered = 0
            batch.forEach { view in
                guard let stamp = BenchStamp.read(view.payload), stamp.publisher < publishers
                else { return }
                if stamp.value < next[stamp.publisher] { disordered += 1 }
                next[stamp.publisher] = stamp.value + 1
            }
            result.disordered += disordered
            result.received += batch.count
        }
        result.endNanoseconds = Clock.monotonicNanoseconds()
        return result
    }

    // MARK: Latency

    private func latency(_ sender: BrokerClient) async throws(BrokerClientError) -> BenchResult {
        let receiver = try await connect(name: "bench-receive")
        let subscription = try await receiver.subscribe(
            to: ["bench/latency"], options: SubscriptionOptions())
        let topic = try PreparedTopic("bench/latency")
        sayReady()
        _ = readLine()
        var result = BenchResult()
        result.startNanoseconds = Clock.monotonicNanoseconds()
        let histogram =
            rate == 0
            ? try await pingPong(sender, subscription, topic)
            : try await onSchedule(sender, subscription, topic)
        result.endNanoseconds = Clock.monotonicNanoseconds()
        result.sent = messages
        result.received = Int(histogram.totalCount)
        result.latency = BenchLatency(histogram)
        await receiver.close()
        return result
    }

    private static let slowestNanoseconds: UInt64 = 60_000_000_000

    /// One in flight: the next is published when the last has arrived.
    private func pingPong(
        _ sender: BrokerClient, _ subscription: Subscription, _ topic: PreparedTopic
    ) async throws(BrokerClientError) -> Histogram<UInt32> {
        var histogram = Histogram<UInt32>(highestTrackableValue: Self.slowestNanoseconds)
        var payload = [UInt8](repeating: UInt8(ascii: "x"), count: size)
        let batches = subscription.batches.makeAsyncIterator()
        for index in 0..<messages {
            let start = Clock.monotonicNanoseconds()
            BenchStamp.write(publisher: 0, value: UInt64(index), to: &payload)
            try await sender.publish(payload.span, to: topic)
            guard let batch = try await batches.next(), batch.count == 1 else { break }
            histogram.record(Clock.monotonicNanoseconds() - start)
        }
        return histogram
    }

    /// Open loop: each message has a time at which it is due, and is measured from then on, so
    /// that a stall is seen by all the messages it delays.
    private func onSchedule(
        _ sender: BrokerClient, _ subscription: Subscription, _ topic: PreparedTopic
    ) async throws(BrokerClientError) -> Histogram<UInt32> {
        let publisher = Task { await publishOnSchedule(sender, topic) }
        var histogram = Histogram<UInt32>(highestTrackableValue: Self.slowestNanoseconds)
        var received = 0
        let batches = subscription.batches.makeAsyncIterator()
        while received < messages, let batch = try await batches.next() {
            let now = Clock.monotonicNanoseconds()
            batch.forEach { view in
                guard let stamp = BenchStamp.read(view.payload) else { return }
                histogram.record(now > stamp.value ? now - stamp.value : 1)
            }
            received += batch.count
        }
        publisher.cancel()
        return histogram
    }

    /// Ends early when the client does; the receiver then counts the rest as lost.
    private func publishOnSchedule(_ sender: BrokerClient, _ topic: PreparedTopic) async {
        let interval = 1_000_000_000 / UInt64(rate)
        var payload = [UInt8](repeating: UInt8(ascii: "x"), count: size)
        var due = Clock.monotonicNanoseconds() + interval
        for _ in 0..<messages {
            let now = Clock.monotonicNanoseconds()
            if due > now {
                try? await Task.sleep(nanoseconds: due - now)
            }
            BenchStamp.write(publisher: 0, value: due, to: &payload)
            do throws(BrokerClientError) {
                try await sender.publish(payload.span, to: topic)
            } catch {
                return
            }
            due += interval
        }
    }
}
