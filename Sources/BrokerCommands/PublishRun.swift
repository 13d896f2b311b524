import BrokerClient
import LinuxIO
import Synchronization

/// Sends what `broker pub` was told to send.
struct PublishRun {
    private let command: Publish
    private let interval: Duration?
    /// Nil: answers are not awaited.
    private let answers: AnswerPrinter?
    private var publisher: Publisher
    private var progress: Progress
    private let refusals: RefusalNotes
    /// Signalled when there is no point in waiting for another line.
    private let alarm: Alarm

    private let clock = ContinuousClock()
    private var due: ContinuousClock.Instant?

    init(_ command: Publish) throws {
        self.command = command
        interval = command.interval?.duration
        answers = command.ack ? AnswerPrinter(command.format, topic: command.topic) : nil
        let diagnostics = Diagnostics(command: "pub")
        progress = Progress(diagnostics, isPaced: command.ack || interval != nil)
        alarm = try Alarm()
        refusals = RefusalNotes(diagnostics)
        publisher = try Publisher(command, diagnostics, refusals, alarm)
    }

    mutating func run() async throws {
        let source = try readSource()
        do {
            try await publisher.connect()
            defer { progress.finish(verbose: command.verbose) }
            try await send(source)
            try await publisher.finish()
        } catch let error as BrokerClientError {
            try refusals.check()
            throw command.connection.failure(error)
        }
        try refusals.check()
    }

    private func readSource() throws -> PublishSource {
        if command.lines { return .lines }
        if command.standardInput { return .single(try PublishSource.readStandardInput()) }
        if let file = command.file { return .single(try PublishSource.readFile(file)) }
        return .single(Array((command.message ?? command.messageOption ?? "").utf8))
    }

    private mutating func send(_ source: PublishSource) async throws {
        switch source {
        case .single(let payload):
            for _ in 0..<command.repeats { try await send(payload.span) }
        case .lines:
            var reader = LineReader()
            while true {
                switch reader.next() {
                case .line: try await send(reader.span)
                case .needsInput:
                    try await waitForInput()
                    try reader.fill()
                case .end: return
                }
            }
        }
    }

    /// Nobody may say anything for hours: a refusal or the end of the session ends the wait.
    private mutating func waitForInput() async throws {
        try await publisher.settle()
        while !alarm.waitForInput() {
            try refusals.check()
            try await publisher.check()
        }
    }

    /// Stops at the first refusal that is known of by now.
    private mutating func send(_ payload: Span<UInt8>) async throws {
        try refusals.check()
        if let interval { try await pause(interval) }
        if let answers {
            try answers.print(try await publisher.publishAcknowledged(payload))
        } else {
            try await publisher.publish(payload)
        }
        progress.add(bytes: payload.count)
    }

    /// Counted from the first message, so that sending does not add to the interval.
    private mutating func pause(_ interval: Duration) async throws {
        guard let due else {
            due = clock.now + interval
            return
        }
        try await publisher.settle()
        try await clock.sleep(until: due)
        self.due = max(due + interval, clock.now)
    }
}

/// Wakes who waits for standard input.
final class Alarm: Sendable {
    private let event: EventFD

    init() throws(KernelError) {
        event = try EventFD()
    }

    func ring() { event.signal() }

    /// - Returns: false if the alarm has rung.
    func waitForInput() -> Bool {
        if ByteStream.standardInput.waitUntilReadable(unless: event) { return true }
        event.drain()
        return false
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
        case .json:
            try output.write(
                String(decoding: line(answer), as: UTF8.self), after: "the message was published")
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
