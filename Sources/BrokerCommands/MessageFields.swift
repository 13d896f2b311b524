import BrokerClient

/// What there is to print of one delivered message, in place.
struct MessageFields: ~Escapable {
    /// UTF-8, if the broker keeps to the protocol.
    let topic: Span<UInt8>
    let payload: Span<UInt8>
    let sequence: UInt64
    let sender: SenderRecord
    /// Name of the broker that attested; empty: the one we are connected to.
    let origin: Span<UInt8>
    /// Name that the identity map gives a sender of another broker; empty: none.
    let user: Span<UInt8>

    @_lifetime(copy topic, copy payload, copy origin, copy user)
    init(
        topic: Span<UInt8>, payload: Span<UInt8>, sequence: UInt64, sender: SenderRecord,
        origin: Span<UInt8>, user: Span<UInt8> = Span()
    ) {
        self.topic = topic
        self.payload = payload
        self.sequence = sequence
        self.sender = sender
        self.origin = origin
        self.user = user
    }
}

extension SenderRecord {
    /// Whether both tell of the same process over the same connection, at whatever time.
    func isSameIdentity(as other: SenderRecord) -> Bool {
        pid == other.pid && uid == other.uid && gid == other.gid && process == other.process
            && opener == other.opener && level == other.level
            && isDelegated == other.isDelegated && domain == other.domain
    }
}

extension SenderRecord.Level {
    var name: String {
        switch self {
        case .kernel: "kernel"
        case .claimable: "claimable"
        case .remote: "remote"
        case .unknown: "unknown"
        }
    }
}

extension Span where Element == UInt8 {
    var isUTF8: Bool { (try? UTF8Span(validating: self)) != nil }
}
