import BrokerCore
import BrokerWire

/// A link in the status document.
struct LinkStatus: Encodable {
    let link: String
    /// `up` or `down`.
    let state: String
    /// Sixteen digits; absent while the link is down. Never more of a key than this.
    let keyID: String?
    let roundTripMicroseconds: UInt64
    let queuedBytes: Int
    let unacknowledgedBytes: Int
    let filters: [String]
    let connections: UInt64
    let messagesSent: UInt64
    let messagesReceived: UInt64
    let messagesAccepted: UInt64
    let messagesLost: UInt64
    let messagesLostByPeer: UInt64
    let bytesSent: UInt64
    let bytesReceived: UInt64
    let batchesResent: UInt64
    /// What was not taken from the peer, by reason.
    let dropped: [String: UInt64]
    /// Connections that ended for a fault, by reason.
    let faults: [String: UInt64]

    init(_ link: BrokerSnapshot.Link) {
        self.link = link.peer
        state = link.isConnected ? "up" : "down"
        keyID = link.isConnected ? Self.digits(link.keyID) : nil
        roundTripMicroseconds = link.statistics.roundTripNanoseconds / 1_000
        queuedBytes = link.queuedBytes
        unacknowledgedBytes = link.unacknowledgedBytes
        filters = link.filters.map { String(decoding: $0, as: UTF8.self) }
        connections = link.statistics.connections
        messagesSent = link.statistics.messagesSent
        messagesReceived = link.statistics.messagesReceived
        messagesAccepted = link.statistics.messagesAccepted
        messagesLost = link.messagesLost
        messagesLostByPeer = link.statistics.messagesLostByPeer
        bytesSent = link.statistics.bytesSent
        bytesReceived = link.statistics.bytesReceived
        batchesResent = link.statistics.batchesResent
        dropped = Dictionary(
            uniqueKeysWithValues: link.statistics.dropped.map { ($0.key.rawValue, $0.value) })
        faults = Dictionary(
            uniqueKeysWithValues: link.statistics.faults.map { ("\($0.key)", $0.value) })
    }

    private static func digits(_ id: UInt64) -> String {
        let digits = String(id, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
