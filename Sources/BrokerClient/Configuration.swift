internal import BrokerWire
internal import LinuxIO

extension BrokerClient {
    /// How to connect, and how much memory to spend.
    public struct Configuration: Sendable {
        /// Path of the broker's socket.
        public var socketPath: String
        /// A name for the broker's logs and status, at most 128 bytes without control
        /// characters. It is what this program says of itself, not who it is.
        public var clientName: String
        /// A broker that runs under another uid is refused: whoever owns the socket decides
        /// what this client is told about senders. Nil trusts any uid. By default root and
        /// the effective uid of this process. Protocol/README.md, section 1.
        public var trustedBrokerUIDs: Set<UInt32>?
        /// What to do when the session ends by itself: by default, try again, with back-off, and
        /// take up the subscriptions.
        public var reconnect: ReconnectPolicy
        /// Bytes of publishes that the kernel has not taken yet. `publish` waits beyond it.
        public var pendingBytesMax: Int
        /// Received bytes that one subscription holds for its consumer. Beyond it the client
        /// reads **nothing** any more, acknowledgements included, so that the overflow policy
        /// of the subscription decides at the broker.
        public var receiveBytesMax: Int
        /// For one attempt: from `connect` to the broker's WELCOME.
        public var connectTimeout: Duration
        /// How long the client's thread looks for more packets before it sleeps, while they
        /// follow each other closely. That shortens round trips to a fraction, and costs
        /// processor time only between packets that are so close. 0 to 1 ms; zero: sleep at once.
        public var pollMax: Duration
        /// Whether messages in quick succession share packets, which makes them many times
        /// cheaper and may hold one back for 50 µs, at the end of a long burst for 400. False:
        /// the call that publishes a message sends it, in a packet of its own, as TCP_NODELAY
        /// does; only what the broker does not take yet still gathers.
        public var gathers: Bool
        /// Called on the client's own thread when the connection changes. It must not block,
        /// nor hold on to the client, which would then never be released.
        public var onStateChange: (@Sendable (ConnectionState) -> Void)?
        /// Called on the client's own thread for each refusal of a publish that nobody awaits.
        /// The same holds. `BrokerClient.refusals` has them, too, for a task.
        public var onRefusal: (@Sendable (Refusal) -> Void)?

        public init(socketPath: String, clientName: String = "") {
            self.socketPath = socketPath
            self.clientName = clientName
            // The overflow id stands for everybody who is not mapped into our user namespace:
            // "runs as the same user" says nothing there.
            let own = CurrentProcess.effectiveUserID
            trustedBrokerUIDs = own == Self.overflowUID ? [0] : [0, own]
            reconnect = .backOff
            pendingBytesMax = 4 * 1_048_576
            receiveBytesMax = 4 * 1_048_576
            connectTimeout = .seconds(10)
            pollMax = .microseconds(50)
            gathers = true
        }

        /// Where the broker listens if nobody says otherwise: `$BROKER_SOCKET`, else for root
        /// `/run/broker/broker.sock`, else `$XDG_RUNTIME_DIR/broker.sock`, else that file in
        /// the directory that systemd makes for the user.
        public static func defaultSocketPath(environment: [String: String]) -> String {
            if let path = environment["BROKER_SOCKET"], !path.isEmpty { return path }
            let uid = CurrentProcess.effectiveUserID
            if uid == 0 { return "/run/broker/broker.sock" }
            if let directory = environment["XDG_RUNTIME_DIR"], !directory.isEmpty {
                return "\(directory)/broker.sock"
            }
            return "/run/user/\(uid)/broker.sock"
        }

        /// What the kernel shows for ids that are not mapped, by default.
        private static let overflowUID: UInt32 = 65_534

        func validate() throws(BrokerClientError) {
            let name = Array(clientName.utf8)
            guard ClientName.parse(name.span) != nil else {
                throw BrokerClientError(
                    .invalidArgument,
                    "the client name has \(name.count) bytes or control characters; "
                        + "at most \(Limits.clientNameBytesMax) bytes of plain text are allowed")
            }
            guard pendingBytesMax > 0, receiveBytesMax > 0, connectTimeout > .zero else {
                throw BrokerClientError(
                    .invalidArgument,
                    "pendingBytesMax, receiveBytesMax and connectTimeout must be above 0")
            }
            guard pollMax >= .zero, pollMax <= .milliseconds(1) else {
                throw BrokerClientError(.invalidArgument, "pollMax must be 0 to 1 millisecond")
            }
        }
    }

    /// What to do when the session ends by itself.
    public enum ReconnectPolicy: Sendable, Equatable {
        /// Everything fails with `.disconnected` from then on.
        case never
        /// Try again and again, waiting `initial` at first and twice as long each time, up to
        /// `max`; the real wait is a random one of at least half of that, so that the clients
        /// of a restarted broker do not all come at once.
        ///
        /// Live subscriptions are taken up again. Publishes whose acknowledgement was awaited
        /// fail with `.disconnected`; nothing is ever sent a second time.
        case backOff(initial: Duration, max: Duration)

        /// 50 ms to 5 s.
        public static let backOff = ReconnectPolicy.backOff(
            initial: .milliseconds(50), max: .seconds(5))
    }

    /// How things stand between client and broker.
    public enum ConnectionState: Sendable, Equatable {
        case connected(BrokerSession)
        /// The session ended, for this reason, and the client tries to connect again.
        /// `unsentPublishes` were still waiting in the client and are lost; what the kernel
        /// had taken may be lost too.
        case reconnecting(BrokerClientError, unsentPublishes: Int)
        /// The client is of no use any more.
        case ended(BrokerClientError)
    }
}
