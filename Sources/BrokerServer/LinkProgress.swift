import BrokerCore
import BrokerSigning

/// Messages and bytes a second, both ways, over the last whole interval.
struct LinkRates: Equatable, Encodable {
    var intervalMilliseconds: UInt64 = 0
    var messagesSentPerSecond: UInt64 = 0
    var messagesReceivedPerSecond: UInt64 = 0
    var bytesSentPerSecond: UInt64 = 0
    var bytesReceivedPerSecond: UInt64 = 0

    /// - Precondition: time has passed between the two, and no counter went down.
    init(from old: LinkStatistics, to new: LinkStatistics, nanoseconds: UInt64) {
        precondition(nanoseconds > 0)
        func perSecond(_ counter: KeyPath<LinkStatistics, UInt64>) -> UInt64 {
            let count = new[keyPath: counter] &- old[keyPath: counter]
            return UInt64((Double(count) * 1e9 / Double(nanoseconds)).rounded())
        }
        intervalMilliseconds = nanoseconds / 1_000_000
        messagesSentPerSecond = perSecond(\.messagesSent)
        messagesReceivedPerSecond = perSecond(\.messagesReceived)
        bytesSentPerSecond = perSecond(\.bytesSent)
        bytesReceivedPerSecond = perSecond(\.bytesReceived)
    }

    init() {}
}

/// What an established TLS session says of itself.
struct TLSDescription {
    let cipher: String?
    /// Of the peer's certificate, in its own words.
    let peerSubject: String?
}

/// What the shell knows of a link besides the core: since when it is up, how much moves, what
/// failed last.
struct LinkProgress {
    /// When the latest connection began; nil: there was none.
    private(set) var connectedNanoseconds: UInt64?
    private(set) var rates = LinkRates()
    private(set) var lastError: Failure?
    /// Of the latest connection; nil: it was without TLS.
    private(set) var security: TLSDescription?
    private var sample = LinkStatistics()
    private var sampleNanoseconds: UInt64

    struct Failure: Equatable {
        let text: String
        /// Nanoseconds since 1970.
        let wallNanoseconds: UInt64
    }

    /// - Parameter nowNanoseconds: when the link was made, its counters 0.
    init(nowNanoseconds: UInt64) {
        sampleNanoseconds = nowNanoseconds
    }

    mutating func connected(nowNanoseconds: UInt64) {
        connectedNanoseconds = nowNanoseconds
    }

    mutating func secured(_ tls: TLSSession?) {
        security = tls.map { TLSDescription(cipher: $0.cipher, peerSubject: $0.peerSubject) }
    }

    mutating func failed(_ text: String, wallNanoseconds: UInt64) {
        lastError = Failure(text: text, wallNanoseconds: wallNanoseconds)
    }

    /// Ends an interval and begins the next one.
    mutating func take(_ statistics: LinkStatistics, nowNanoseconds: UInt64) {
        guard nowNanoseconds > sampleNanoseconds else { return }
        rates = LinkRates(
            from: sample, to: statistics, nanoseconds: nowNanoseconds - sampleNanoseconds)
        sample = statistics
        sampleNanoseconds = nowNanoseconds
    }
}
