import BrokerClient
import SystemPackage

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
