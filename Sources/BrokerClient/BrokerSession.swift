public import BrokerWire
public import LinuxIO

/// One session with a broker: what it said in WELCOME, and what the kernel says of it.
/// Protocol/README.md, section 5.2.
public struct BrokerSession: Sendable, Equatable {
    /// Who we are in the eyes of the broker, by the packet that opened the session.
    public let identity: SenderRecord
    /// Number of the session, unique while the broker runs.
    public let number: UInt64
    /// Random number of the broker process: another one means that it was restarted.
    public let instance: UInt64
    public let brokerName: String
    public let brokerVersion: String
    /// Version of the protocol that both speak.
    public let protocolVersion: UInt16
    /// Who listens on the socket, as the kernel recorded it.
    public let broker: PeerCredentials
    public let limits: Limits

    /// What this broker and the socket to it can carry.
    public struct Limits: Sendable, Equatable {
        /// Largest packet, in bytes.
        public let packetBytesMax: Int
        /// Largest sum of topic and payload of one message, in bytes.
        public let messageBytesMax: Int
        public let subscriptionsMax: Int
        /// Upper limit and default of `SubscriptionOptions.queueBytesMax`.
        public let queueBytesMax: Int

        init(packetBytesMax: Int, messageBytesMax: Int, subscriptionsMax: Int, queueBytesMax: Int) {
            self.packetBytesMax = packetBytesMax
            self.messageBytesMax = messageBytesMax
            self.subscriptionsMax = subscriptionsMax
            self.queueBytesMax = queueBytesMax
        }
    }
}

extension BrokerSession {
    /// - Parameter socketPacketBytesMax: what our own send buffer lets through in one packet.
    /// - Throws: `.malformedPacket` if the broker speaks a version nobody offered, or states
    ///   limits that the protocol does not allow.
    init(
        _ welcome: WelcomeFrame, broker: PeerCredentials, socketPacketBytesMax: Int
    ) throws(BrokerClientError) {
        let packetBytesMax = Int(welcome.packetBytesMax)
        let packetRange = BrokerWire.Limits.packetBytesMin...BrokerWire.Limits.packetBytesMax
        guard welcome.version == ClientCore.protocolVersion else {
            throw .protocolViolation("WELCOME with version \(welcome.version)")
        }
        guard packetRange.contains(packetBytesMax), welcome.messageBytesMax > 0 else {
            throw .protocolViolation("WELCOME with packets of \(packetBytesMax) bytes")
        }
        identity = welcome.client
        number = welcome.session
        instance = welcome.instance
        brokerName = welcome.brokerName.saidByBroker
        brokerVersion = welcome.brokerVersion.saidByBroker
        protocolVersion = welcome.version
        self.broker = broker
        let packet = min(packetBytesMax, socketPacketBytesMax)
        let overhead = PacketHeader.byteCount + PublishFrame.overheadBytes
        limits = Limits(
            packetBytesMax: packet,
            messageBytesMax: min(Int(welcome.messageBytesMax), packet - overhead),
            subscriptionsMax: Int(welcome.subscriptionsMax),
            queueBytesMax: Int(welcome.queueBytesMax))
    }
}
