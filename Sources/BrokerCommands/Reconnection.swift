import BrokerClient
import SystemPackage

/// With `--reconnect`: one session after the other. Says when there is no broker, and when there is
/// one again.
struct Attachment {
    private let diagnostics: Diagnostics
    private let clock = ContinuousClock()
    private var reconnection = Reconnection()
    /// When the session that lasts began.
    private var began: ContinuousClock.Instant?
    private var hadSession = false
    /// Whether it was said that there is no broker.
    private var isAway = false

    init(_ diagnostics: Diagnostics) {
        self.diagnostics = diagnostics
    }

    /// Waits until it is time to try again.
    ///
    /// - Parameters:
    ///   - error: why there is no session.
    ///   - failure: the same for people.
    /// - Throws: the failure, if another attempt would meet it again.
    mutating func wait(
        after error: BrokerClientError, _ failure: CommandFailure
    ) async throws(CommandFailure) {
        let session = began.map { clock.now - $0 }
        began = nil
        guard let delay = reconnection.delay(after: error, session: session) else { throw failure }
        if !isAway {
            isAway = true
            let what = hadSession ? "disconnected" : "not connected"
            diagnostics.note("\(what), waiting for the broker: \(failure.message)")
        }
        // Whoever was cancelled looks for that.
        try? await Task.sleep(for: delay)
    }

    /// A session has begun.
    ///
    /// - Parameter consequence: what that means after a session that has ended.
    /// - Returns: whether one has ended before.
    mutating func begin(again consequence: String) -> Bool {
        defer {
            isAway = false
            hadSession = true
            began = clock.now
        }
        guard isAway else { return false }
        diagnostics.note(hadSession ? "connected again: \(consequence)" : "connected")
        return hadSession
    }
}

/// When `--reconnect` tries again, and what ends it all the same.
struct Reconnection {
    /// A session that lasted so long was a good one: waiting begins at the shortest time again.
    private static let steady = Duration.seconds(5)

    private var backOff = BackOff(.backOff)
    /// Whether the socket's mode is known not to be that of a broker that is just starting.
    private var wasDenied = true

    /// - Parameter session: how long the session lasted that has ended; nil if none began.
    /// - Returns: how long to wait before the next attempt; nil if there is to be none.
    mutating func delay(after error: BrokerClientError, session: Duration?) -> Duration? {
        if let session, session >= Self.steady { backOff.reset() }
        // A broker that starts makes its socket first, and gives it its mode then.
        let isStarting = error.isAccessDenied && !wasDenied
        wasDenied = error.isAccessDenied
        guard error.isBrokerAway || isStarting else { return nil }
        return backOff.next().map { .nanoseconds(Int64(clamping: $0)) }
    }
}

extension BrokerClientError {
    /// Whether there is no broker at the moment: it stopped, or does not listen yet. Whatever one
    /// that is there has refused, it would refuse again.
    var isBrokerAway: Bool {
        switch code {
        case .brokerUnavailable:
            switch underlying?.errno {
            case .noSuchFileOrDirectory, .connectionRefused, .wouldBlock: true
            default: false  // not an enum: every number of errno
            }
        case .timedOut: true
        case .refused, .disconnected: ExitStatus(self) == .brokerUnavailable
        case .untrustedBroker, .malformedPacket, .closed, .invalidTopic, .invalidArgument,
            .messageTooLarge, .cancelled, .systemFailure:
            false
        }
    }
}
