import BrokerClient
import LinuxIO
import SystemPackage

/// What the exit status of every command means. The numbers are those of sysexits(3).
enum ExitStatus: Int32, Sendable, CaseIterable {
    case success = 0
    case failure = 1
    case usage = 64
    case brokerUnavailable = 69
    case tryAgain = 75
    case notPermitted = 77

    static let documentation = """
        EXIT STATUS:
          0   done
          1   failed; also: `sub -C` stopped by -W, `doctor` found a guarantee broken,
              `compare` a row that is not as documented
          64  wrong usage: option, topic, filter, range
          69  broker unavailable: nobody listens, it stopped, it runs as another user
          75  try again: a quota is used up, or a subscription's queue overflowed
          77  not permitted: by the broker's rules, or by the mode of its socket
        """

    /// - Parameter reason: what the broker refused a request or ended the session with.
    init(_ reason: ReasonCode) {
        switch reason {
        case .notPermitted, .identityUnknown: self = .notPermitted
        case .quotaExceeded, .slowSubscriber, .repliesUnread: self = .tryAgain
        case .serverShuttingDown: self = .brokerUnavailable
        case .topicNameInvalid, .topicFilterInvalid, .optionInvalid: self = .usage
        default: self = .failure  // not an enum: reasons are open-ended
        }
    }

    init(_ error: BrokerClientError) {
        switch error.code {
        case .brokerUnavailable:
            self = error.isAccessDenied ? .notPermitted : .brokerUnavailable
        case .untrustedBroker, .timedOut, .closed: self = .brokerUnavailable
        case .refused(let reason): self = ExitStatus(reason)
        case .disconnected(let reason):
            let status = ExitStatus(reason)
            // Without a reason it was killed.
            self = reason == .unspecifiedError ? .brokerUnavailable : status
        case .invalidTopic, .invalidArgument: self = .usage
        case .malformedPacket, .messageTooLarge, .cancelled, .systemFailure: self = .failure
        }
    }
}

extension BrokerClientError {
    /// The mode of the socket, or of a directory above it, does not let us in.
    var isAccessDenied: Bool {
        guard let errno = underlying?.errno else { return false }
        return errno == .permissionDenied || errno == .notPermitted
    }
}

/// Why a command ends, said to a person, and the status it ends with.
struct CommandFailure: Error, Equatable, CustomStringConvertible {
    let status: ExitStatus
    /// Empty: everything has been said.
    let message: String

    init(_ status: ExitStatus, _ message: String) {
        self.status = status
        self.message = message
    }

    var description: String { message }
}
