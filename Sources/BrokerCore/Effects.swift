package import BrokerWire

/// What the shell has to do after the core has taken an event. One buffer is reused for ever; the
/// shell works through it and calls `clear()`.
package struct Effects {
    /// Sessions with packets to send, each once.
    package internal(set) var dirty: [SessionID] = []
    /// Sessions to stop reading from, because they end or because a full queue holds them back.
    package internal(set) var pausing: [SessionID] = []
    /// Sessions to read from again.
    package internal(set) var resuming: [SessionID] = []
    /// Sessions whose descriptor is to be closed now.
    package internal(set) var closing: [SessionID] = []
    /// Status documents asked for, and allowed.
    package internal(set) var statusRequests: [StatusRequest] = []
    /// Administration that was asked for, and allowed.
    package internal(set) var adminRequests: [AdminRequest] = []
    /// What a log reader should know. Bounded; `noticesDropped` counts the rest.
    package internal(set) var notices: [Notice] = []
    package internal(set) var noticesDropped = 0
    /// Connections of links with bytes to send, each once.
    package internal(set) var linksReady: [LinkConnectionID] = []
    /// Connections of links that end: what they still have to say is in their output.
    package internal(set) var linksClosing: [LinkConnectionID] = []
    /// Connections of links that have passed the handshake.
    package internal(set) var linksEstablished: [LinkConnectionID] = []
    /// What a log reader should know of links; bounded as `notices` are.
    package internal(set) var linkNotices: [LinkNotice] = []
    /// Memory that the core has let go of and the shell may give back to the system, in bytes:
    /// what a burst had taken and nobody has needed for a while.
    package internal(set) var bytesFreed = 0

    package struct StatusRequest: Equatable, Sendable {
        package let session: SessionID
        package let token: UInt32
    }

    package struct AdminRequest: Equatable, Sendable {
        package let session: SessionID
        package let token: UInt32
        package let command: [UInt8]
        /// JSON.
        package let arguments: [UInt8]
    }

    /// What was denied to whom, and by which rule.
    package struct Denial: Equatable, Sendable {
        package let action: Action
        /// The attested uid.
        package let uid: UInt32
        /// Topic or filter; empty where none is needed.
        package let topic: [UInt8]
        /// Nil: no rule allows it.
        package let rule: RuleReference?
    }

    /// Something that happened to a session, as data: rendering is the shell's work.
    package struct Notice: Equatable, Sendable {
        package enum Kind: String, Sendable {
            case connectionRefused = "connection refused"
            case sessionOpened = "session opened"
            case sessionEnded = "session ended by the broker"
            case publishRefused = "publish refused"
            case subscribeRefused = "subscribe refused"
            case requestRefused = "request refused"
            case messagesLost = "messages lost"
            case subscriptionEnded = "subscription ended by the broker"
        }

        package let kind: Kind
        package let session: UInt64
        package let opener: SenderRecord.Opener
        package let reason: ReasonCode
        package let explanation: String
        /// Nil: nothing was denied by the rules.
        package let denial: Denial?
    }

    static let noticesMax = 64

    package init() {}

    package var isEmpty: Bool {
        dirty.isEmpty && pausing.isEmpty && resuming.isEmpty && closing.isEmpty
            && statusRequests.isEmpty && adminRequests.isEmpty && notices.isEmpty
            && noticesDropped == 0 && linksReady.isEmpty && linksClosing.isEmpty
            && linksEstablished.isEmpty && linkNotices.isEmpty && bytesFreed == 0
    }

    package mutating func clear() {
        // Most are empty most of the time, and even then `removeAll` has work to do.
        if !dirty.isEmpty { dirty.removeAll(keepingCapacity: true) }
        if !pausing.isEmpty { pausing.removeAll(keepingCapacity: true) }
        if !resuming.isEmpty { resuming.removeAll(keepingCapacity: true) }
        if !closing.isEmpty { closing.removeAll(keepingCapacity: true) }
        if !statusRequests.isEmpty { statusRequests.removeAll(keepingCapacity: true) }
        if !adminRequests.isEmpty { adminRequests.removeAll(keepingCapacity: true) }
        if !notices.isEmpty { notices.removeAll(keepingCapacity: true) }
        noticesDropped = 0
        if !linksReady.isEmpty { linksReady.removeAll(keepingCapacity: true) }
        if !linksClosing.isEmpty { linksClosing.removeAll(keepingCapacity: true) }
        if !linksEstablished.isEmpty { linksEstablished.removeAll(keepingCapacity: true) }
        if !linkNotices.isEmpty { linkNotices.removeAll(keepingCapacity: true) }
        bytesFreed = 0
    }

    /// A session is never in both `pausing` and `resuming`: what was asked for last counts,
    /// however many events the shell gathers.
    mutating func pause(_ id: SessionID) {
        if !resuming.isEmpty { resuming.removeAll { $0 == id } }
        pausing.append(id)
    }

    mutating func resume(_ id: SessionID) {
        if !pausing.isEmpty { pausing.removeAll { $0 == id } }
        resuming.append(id)
    }

    mutating func note(_ notice: @autoclosure () -> LinkNotice) {
        guard linkNotices.count < Self.noticesMax else {
            noticesDropped += 1
            return
        }
        linkNotices.append(notice())
    }

    /// The explanation is only made if there is room: a flood of refusals formats nothing.
    mutating func note(
        _ kind: Notice.Kind, _ session: borrowing Session, _ reason: ReasonCode,
        _ explanation: @autoclosure () -> String,
        denial: @autoclosure () -> Denial? = nil
    ) {
        guard notices.count < Self.noticesMax else {
            noticesDropped += 1
            return
        }
        notices.append(
            Notice(
                kind: kind, session: session.number, opener: session.opener.record,
                reason: reason, explanation: explanation(), denial: denial()))
    }
}

/// Something that happened to a link, as data.
package struct LinkNotice: Equatable, Sendable {
    package enum Kind: String, Sendable {
        case established = "link established"
        case refused = "link refused"
        case ended = "link ended"
        case rotated = "link key rotated"
        case rotationRefused = "link key rotation refused"
        case lostByPeer = "the peer lost messages"
    }

    package let kind: Kind
    /// Name of the peer; empty while it is not known.
    package let link: String
    package let reason: LinkFault.Reason?
    package let explanation: String
}
