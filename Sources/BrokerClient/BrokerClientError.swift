public import BrokerWire
public import LinuxIO
internal import SystemPackage

/// Why the client could not do what it was asked for.
public struct BrokerClientError: Error, Equatable, Sendable {
    /// What went wrong, for programs. The message is for people.
    public enum Code: Equatable, Sendable {
        /// Nothing answers at the socket path, or we may not connect to it.
        case brokerUnavailable
        /// The socket belongs to a process of a uid that the configuration does not trust.
        case untrustedBroker(uid: UInt32)
        /// The broker said no to this one request, or ended this one subscription; the session
        /// goes on.
        case refused(ReasonCode)
        /// The session ended. What was on its way may or may not have arrived.
        case disconnected(ReasonCode)
        /// The broker sent what Protocol/README.md does not allow.
        case malformedPacket
        /// The broker did not answer within `Configuration.connectTimeout`.
        case timedOut
        /// `close()` was called, or the client was dropped.
        case closed
        /// A topic name or filter does not follow Protocol/README.md, section 4.
        case invalidTopic
        /// Another argument is out of its range.
        case invalidArgument
        /// Topic and payload together have more bytes than one packet can carry.
        case messageTooLarge(limitBytes: Int)
        /// The task was cancelled while it waited.
        case cancelled
        /// The kernel refused something that has nothing to do with the broker: descriptors or
        /// memory have run out.
        case systemFailure
    }

    public let code: Code
    /// What happened, where, and what helps.
    public let message: String
    /// The system call that failed, if one did.
    public let underlying: KernelError?
    /// What the broker is told when this is why we end the session.
    var farewell: ReasonCode?

    public init(_ code: Code, _ message: String, underlying: KernelError? = nil) {
        self.code = code
        self.message = message
        self.underlying = underlying
    }
}

extension String {
    /// A name or an explanation of the broker's as the protocol has them: of limited length, and
    /// without control characters, which would make one line two.
    var saidByBroker: String {
        let scalars = prefix(utf8Bytes: Limits.explanationBytesMax).unicodeScalars.map { scalar in
            scalar.properties.generalCategory == .control ? "\u{FFFD}" : scalar
        }
        return String(String.UnicodeScalarView(scalars))
    }
}

extension BrokerClientError: CustomStringConvertible {
    public var description: String { message }
}

extension BrokerClientError {
    static func refused(_ reason: ReasonCode, _ explanation: String, _ what: String) -> Self {
        Self(.refused(reason), "the broker refused \(what) \(why(reason, explanation))")
    }

    static func ended(_ reason: ReasonCode, _ explanation: String) -> Self {
        Self(.refused(reason), "the broker ended the subscription \(why(reason, explanation))")
    }

    static func disconnected(_ reason: ReasonCode, _ explanation: String) -> Self {
        Self(.disconnected(reason), "the broker ended the session \(why(reason, explanation))")
    }

    private static func why(_ reason: ReasonCode, _ explanation: String) -> String {
        explanation.isEmpty ? "(\(reason))" : "(\(reason)): \(explanation.saidByBroker)"
    }

    static let connectionLost = Self(
        .disconnected(.unspecifiedError),
        "the connection to the broker ended without a reason: it stopped or was killed")

    static let unreadLeft = Self(
        .disconnected(.slowSubscriber),
        "the broker hung up and left more behind than there is room for: a subscription holds "
            + "more than receiveBytesMax, and nobody consumes it")

    static func unavailable(_ path: String, _ error: KernelError) -> Self {
        let advice =
            switch error.errno {
            case .noSuchFileOrDirectory, .connectionRefused:
                "is the broker running, and is this its socket?"
            case .permissionDenied:
                "the socket's mode and group do not let this user in"
            case .notSocket:
                "a file of this name exists that is not a socket"
            case .protocolWrongTypeForSocket:
                "this is a socket of another kind"
            case .wouldBlock:
                "the broker is too busy to accept connections"
            default: "no connection is possible"
            }
        return Self(.brokerUnavailable, "\(path): \(error); \(advice)", underlying: error)
    }

    static let closed = Self(.closed, "the client is closed")
    static let cancelled = Self(.cancelled, "the task was cancelled")

    static func malformed(_ error: WireError) -> Self {
        var result = Self(.malformedPacket, "the broker sent a malformed packet: \(error)")
        result.farewell = error.reason
        return result
    }

    static func protocolViolation(_ what: String, _ farewell: ReasonCode = .protocolError) -> Self {
        var result = Self(.malformedPacket, "the broker broke the protocol: \(what)")
        result.farewell = farewell
        return result
    }

    /// Whether another attempt to connect would meet the same answer.
    var isFinal: Bool {
        switch code {
        case .disconnected(let reason):
            switch reason {
            case .malformedPacket, .protocolError, .unsupportedVersion, .frameUnknown,
                .identityUnknown, .nameInvalid:
                true
            default: false  // not an enum: reasons are open-ended
            }
        case .malformedPacket, .closed, .invalidArgument: true
        case .brokerUnavailable, .untrustedBroker, .refused, .timedOut, .invalidTopic,
            .messageTooLarge, .cancelled, .systemFailure:
            false
        }
    }
}
