/// How far a long run has come: a line on standard error that is written over again and again,
/// only on a terminal, and only once a second has passed.
struct Progress {
    private static let interval = Duration.milliseconds(500)

    private let diagnostics: Diagnostics
    /// Whether there is time to look at the clock for each message.
    private let isPaced: Bool
    private let clock = ContinuousClock()
    private let started: ContinuousClock.Instant
    private var due: ContinuousClock.Instant
    private var isShown = false
    private(set) var messages = 0
    private(set) var bytes = 0

    init(_ diagnostics: Diagnostics, isPaced: Bool) {
        self.diagnostics = diagnostics
        self.isPaced = isPaced
        started = clock.now
        due = started + .seconds(1)
    }

    mutating func add(bytes: Int) {
        messages += 1
        self.bytes += bytes
        guard isPaced || messages & 0x3FF == 0 else { return }
        show()
    }

    private mutating func show() {
        guard diagnostics.isTerminal else { return }
        let now = clock.now
        guard now >= due else { return }
        due = now + Self.interval
        isShown = true
        diagnostics.writeRaw("\r\(sentence)\u{1B}[K")
    }

    func finish(verbose: Bool) {
        if isShown { diagnostics.writeRaw("\r\u{1B}[K") }
        if verbose { diagnostics.note(sentence) }
    }

    private var sentence: String {
        let seconds = max((clock.now - started) / .seconds(1), 1e-6)
        let rate = Int(Double(messages) / seconds)
        let tenths = Int((seconds * 10).rounded())
        return
            "\(counted(messages, "message")), \(bytes) bytes in \(tenths / 10).\(tenths % 10) s: "
            + "\(rate) a second"
    }
}
