import BrokerClient
import BrokerWire
import Histogram
import LinuxIO

/// What a subscriber of the benchmark has got: every message is looked at, on the client's
/// thread.
final class BenchTally: Sendable {
    private struct State {
        var result = BenchResult()
        /// The number that each publisher's next message must have.
        var next: [UInt64]
        var isComplete = false
    }

    private let state: Lock<State>
    private let expected: Int
    private let end = AsyncStream<Void>.makeStream()

    init(expected: Int, publishers: Int) {
        self.expected = expected
        state = Lock(State(next: [UInt64](repeating: 0, count: publishers)))
    }

    var result: BenchResult { state.withLock { $0.result } }

    func add(_ batch: borrowing BatchView) {
        let isComplete = state.withLock { state in
            if state.result.startNanoseconds == 0 {
                state.result.startNanoseconds = Clock.monotonicNanoseconds()
            }
            let publishers = state.next.count
            batch.forEach { view in
                guard let stamp = BenchStamp.read(view.payload), stamp.publisher < publishers
                else { return }
                if stamp.value < state.next[stamp.publisher] { state.result.disordered += 1 }
                state.next[stamp.publisher] = stamp.value.saturatingAdd(1)
            }
            state.result.lostNotices = state.result.lostNotices.saturatingAdd(batch.lost)
            state.result.received += batch.count
            let known = UInt64(state.result.received).saturatingAdd(state.result.lostNotices)
            if known < UInt64(expected) { return false }
            state.result.endNanoseconds = Clock.monotonicNanoseconds()
            return true
        }
        if isComplete { finish() }
    }

    /// Ends `wait`.
    func finish() { end.continuation.finish() }

    /// Waits until everything has come, or nothing more can come.
    func wait(for subscription: Subscription) async throws(BrokerClientError) {
        let watch = Task { () -> BrokerClientError? in
            defer { finish() }
            do throws(BrokerClientError) {
                for try await _ in subscription.batches {}
                return nil
            } catch {
                return error
            }
        }
        for await _ in end.stream {}
        subscription.cancel()
        if let error = await watch.value { throw error }
    }
}

/// One measurement of latency: sends, and takes the time until the message is back.
final class LatencyCourse: Sendable {
    private static let slowestNanoseconds: UInt64 = 60_000_000_000

    private struct State {
        var histogram = Histogram<UInt32>(highestTrackableValue: slowestNanoseconds)
        var payload: [UInt8]
        var sent = 0
        var startNanoseconds: UInt64 = 0
        var endNanoseconds: UInt64 = 0
    }

    private let sender: BrokerClient
    private let topic: PreparedTopic
    private let messages: Int
    private let isPingPong: Bool
    private let state: Lock<State>
    let tally: BenchTally

    /// - Parameter isPingPong: one in flight: the next is sent when the last has arrived.
    init(
        _ sender: BrokerClient, topic: PreparedTopic, messages: Int, size: Int, isPingPong: Bool
    ) {
        self.sender = sender
        self.topic = topic
        self.messages = messages
        self.isPingPong = isPingPong
        tally = BenchTally(expected: messages, publishers: 1)
        state = Lock(State(payload: [UInt8](repeating: UInt8(ascii: "x"), count: size)))
    }

    /// Sends the first message, or, on a thread of its own, all of them on schedule.
    func start(ratePerSecond: Int) -> SystemThread? {
        state.withLock { $0.startNanoseconds = Clock.monotonicNanoseconds() }
        if isPingPong {
            send(stamped: Clock.monotonicNanoseconds())
            return nil
        }
        return SystemThread.start(name: "bench-schedule", timerSlackNanoseconds: 1) {
            self.sendOnSchedule(interval: 1_000_000_000 / UInt64(ratePerSecond))
        }
    }

    /// A message carries the time from which it is measured.
    func received(_ batch: borrowing BatchView) {
        let now = Clock.monotonicNanoseconds()
        let isLast = state.withLock { state in
            batch.forEach { view in
                guard let stamp = BenchStamp.read(view.payload) else { return }
                state.histogram.record(now > stamp.value ? now - stamp.value : 1)
            }
            state.endNanoseconds = now
            return Int(state.histogram.totalCount) >= messages
        }
        if isLast { return tally.finish() }
        if isPingPong { send(stamped: Clock.monotonicNanoseconds()) }
    }

    var result: BenchResult {
        state.withLock { state in
            var result = BenchResult()
            result.startNanoseconds = state.startNanoseconds
            result.endNanoseconds = state.endNanoseconds
            result.sent = messages
            result.received = Int(state.histogram.totalCount)
            result.latency = BenchLatency(state.histogram)
            return result
        }
    }

    /// Open loop: each message has a time at which it is due, and is measured from then on, so
    /// that a stall is seen by all the messages it delays.
    private func sendOnSchedule(interval: UInt64) {
        var due = Clock.monotonicNanoseconds() + interval
        for _ in 0..<messages {
            Clock.sleep(untilMonotonicNanoseconds: due)
            guard send(stamped: due) else { return }
            due += interval
        }
    }

    /// - Returns: false when nothing more can be sent; the rest then counts as lost.
    @discardableResult
    private func send(stamped value: UInt64) -> Bool {
        let isSent = state.withLock { state in
            var payload = state.payload.mutableSpan
            BenchStamp.write(publisher: 0, value: value, to: &payload)
            do throws(BrokerClientError) {
                return try sender.publishIfRoom(state.payload.span, to: topic)
            } catch {
                return false
            }
        }
        if !isSent { tally.finish() }
        return isSent
    }
}
