import BrokerClient
import LinuxIO
import Synchronization

/// Sends what `broker pub` was told to send.
struct PublishRun {
    let client: BrokerClient
    let topic: PreparedTopic
    let interval: Duration?
    /// Nil: answers are not awaited.
    let answers: AnswerPrinter?
    var progress: Progress
    let refusals: RefusalNotes

    private let clock = ContinuousClock()
    private var due: ContinuousClock.Instant?

    init(
        client: BrokerClient, topic: PreparedTopic, interval: Duration?,
        answers: AnswerPrinter?, progress: Progress, refusals: RefusalNotes
    ) {
        self.client = client
        self.topic = topic
        self.interval = interval
        self.answers = answers
        self.progress = progress
        self.refusals = refusals
    }

    mutating func send(_ source: PublishSource, count: Int) async throws {
        switch source {
        case .single(let payload):
            for _ in 0..<count { try await send(payload.span) }
        case .lines:
            var reader = LineReader()
            while try reader.next() { try await send(reader.span) }
        }
    }

    /// Stops at the first refusal that is known of by now.
    private mutating func send(_ payload: Span<UInt8>) async throws {
        try refusals.check()
        if let interval { try await pause(interval) }
        if let answers {
            try answers.print(await client.publishAcknowledged(payload, to: topic))
        } else {
            try await client.publish(payload, to: topic)
        }
        progress.add(bytes: payload.count)
    }

    /// Counted from the first message, so that sending does not add to the interval.
    private mutating func pause(_ interval: Duration) async throws {
        guard let due else {
            due = clock.now + interval
            return
        }
        try await clock.sleep(until: due)
        self.due = max(due + interval, clock.now)
    }
}

/// Prints what the broker answered to each message.
struct AnswerPrinter {
    private let format: OutputFormat
    private let topic: String
    private let output = Output()

    init(_ format: OutputFormat, topic: String) {
        self.format = format
        self.topic = topic
    }

    func print(_ answer: Acknowledgement) throws {
        switch format {
        case .text: return
        case .json: try output.write(line(answer).span)
        }
    }

    func line(_ answer: Acknowledgement) -> [UInt8] {
        var line: [UInt8] = []
        line.append("{\"sequence\":")
        line.append(decimal: answer.sequence)
        line.append(answer.hadSubscribers ? ",\"subscribers\":true" : ",\"subscribers\":false")
        line.append(",\"topic\":")
        line.append(jsonString: topic)
        line.append("}\n")
        return line
    }
}

/// Refusals of messages whose answer is not awaited: they come in on the client's thread, at
/// any time. The first is said at once, since standard input may keep us waiting.
final class RefusalNotes: Sendable {
    private struct State {
        var status = ExitStatus.success
        var count = 0
    }

    private let state = Lock(State())
    private let hasAny = Atomic<Bool>(false)
    private let diagnostics: Diagnostics

    init(_ diagnostics: Diagnostics) {
        self.diagnostics = diagnostics
    }

    func add(_ refusal: Refusal) {
        add(refusal.reason, refusal.explanation, count: refusal.count)
    }

    func add(_ reason: ReasonCode, _ explanation: String, count: Int) {
        let isFirst = state.withLock { state in
            state.count += count
            guard state.status == .success else { return false }
            state.status = ExitStatus(reason)
            return true
        }
        hasAny.store(true, ordering: .releasing)
        guard isFirst else { return }
        let text = explanation.isEmpty ? "" : ": \(explanation)"
        diagnostics.note("refused (\(reason))\(text)")
    }

    /// - Throws: if anything was refused, what to end with.
    func check() throws(CommandFailure) {
        guard hasAny.load(ordering: .acquiring) else { return }
        let (status, count) = state.withLock { ($0.status, $0.count) }
        throw CommandFailure(status, count > 1 ? "\(count) messages were refused" : "")
    }
}
