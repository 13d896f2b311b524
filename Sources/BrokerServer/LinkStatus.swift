import BrokerConfig
import BrokerCore
import BrokerSigning
import BrokerWire

/// A link in the status document. Protocol/forwarding.md, section 13, is the text.
struct LinkStatus: Encodable {
    let link: String
    /// `connects` or `listens`.
    let role: String
    let address: String
    /// `up` or `down`.
    let state: String
    /// Absent for a link without TLS.
    let tls: TLSStatus?
    /// Absent while the link is down.
    let connectedSeconds: UInt64?
    /// Absent while the link is up, being dialed, or listening.
    let nextDialMilliseconds: UInt64?
    let lastError: String?
    /// Since 1970.
    let lastErrorSeconds: UInt64?
    /// Sixteen digits; absent while the link is down. Never more of a key than this.
    let keyID: String?
    /// Absent while the link is down, and until the peer has answered a PING.
    let roundTripMicroseconds: UInt64?
    let rates: LinkRates
    let queuedMessages: Int
    let queuedBytes: Int
    let queueBytesMax: Int
    let unacknowledgedMessages: Int
    let unacknowledgedBytes: Int
    /// Messages that the peer has not acknowledged, and how old the oldest of them is.
    let lagMessages: Int
    let lagMilliseconds: UInt64
    let acknowledgedAfterMicroseconds: UInt64
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
    let duplicates: UInt64
    /// What was not taken from the peer, by reason.
    let dropped: [String: UInt64]
    /// Connections that ended for a fault, by reason.
    let faults: [String: UInt64]

    init(_ link: BrokerSnapshot.Link, _ shell: LinkShellStatus) {
        self.link = link.peer
        role = shell.isConnector ? "connects" : "listens"
        address = shell.address
        state = link.isConnected ? "up" : "down"
        tls = shell.tlsForm.map { form in
            let now = link.isConnected ? shell.security : nil
            return TLSStatus(form: form, cipher: now?.cipher, peer: now?.peerSubject)
        }
        connectedSeconds = link.isConnected ? shell.connectedSeconds : nil
        nextDialMilliseconds = link.isConnected ? nil : shell.nextDialMilliseconds
        lastError = shell.lastError?.text
        lastErrorSeconds = shell.lastError.map { $0.wallNanoseconds / 1_000_000_000 }
        keyID = link.isConnected ? LinkKeyFile.hexadecimal(link.keyID) : nil
        roundTripMicroseconds = link.roundTripNanoseconds.map { $0 / 1_000 }
        rates = shell.rates
        queuedMessages = link.queuedMessages
        queuedBytes = link.queuedBytes
        queueBytesMax = link.queueBytesMax
        unacknowledgedMessages = link.unacknowledgedMessages
        unacknowledgedBytes = link.unacknowledgedBytes
        lagMessages = link.queuedMessages + link.unacknowledgedMessages
        lagMilliseconds = link.oldestAgeNanoseconds / 1_000_000
        acknowledgedAfterMicroseconds = link.statistics.acknowledgedAfterNanoseconds / 1_000
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
        duplicates = link.statistics.dropped[.duplicate] ?? 0
        dropped = Dictionary(
            uniqueKeysWithValues: link.statistics.dropped.map { ($0.key.rawValue, $0.value) })
        faults = Dictionary(
            uniqueKeysWithValues: link.statistics.faults.map { ("\($0.key)", $0.value) })
    }
}

/// How a link is protected; what was agreed on is absent while it is down.
struct TLSStatus: Encodable {
    /// `psk` or `certificate`.
    let form: String
    let cipher: String?
    /// Subject of the peer's certificate.
    let peer: String?
}

/// What the shell adds to the status of a link.
struct LinkShellStatus {
    let isConnector: Bool
    let address: String
    let connectedSeconds: UInt64?
    let nextDialMilliseconds: UInt64?
    let lastError: LinkProgress.Failure?
    let rates: LinkRates
    let tlsForm: String?
    let security: TLSDescription?
}

extension LinkStreams {
    /// By peer, everything that the core does not know.
    func shellStatus(nowNanoseconds: UInt64) -> [String: LinkShellStatus] {
        var statuses: [String: LinkShellStatus] = [:]
        for link in settings {
            let known = progress[link.peer]
            let next = dialing.contains(link.peer) ? nil : backOffs[link.peer]?.nextNanoseconds
            statuses[link.peer] = LinkShellStatus(
                isConnector: link.link.isConnector, address: "\(link.address)",
                connectedSeconds: known?.connectedNanoseconds.map {
                    (nowNanoseconds - min($0, nowNanoseconds)) / 1_000_000_000
                },
                nextDialMilliseconds: next.map {
                    ($0 - min($0, nowNanoseconds)) / 1_000_000
                }, lastError: known?.lastError, rates: known?.rates ?? LinkRates(),
                tlsForm: link.tls?.form, security: known?.security)
        }
        return statuses
    }
}
