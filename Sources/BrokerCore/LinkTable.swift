package import BrokerWire

/// All links of a broker and what they share.
struct LinkTable {
    var security: (any LinkSecurity)?
    var links: [Link] = []
    var connections: [LinkConnection] = []
    var freeConnections: [Int] = []
    var nextGeneration: UInt32 = 1
    /// By peer. A link that was removed leaves a place behind that hears and wants nothing.
    var slots: [String: Int] = [:]
    var freeLinks: [Int] = []
    /// How many local subscriptions have a filter.
    var localInterest: [[UInt8]: Int] = [:]
    var seen = SeenMessages()
    var inbound = InboundRoute()
    /// The path of messages that were attested here: our own name.
    var ownPath: [UInt8] = []
    /// Handshakes of listeners that are not complete.
    var unfinishedCount = 0

    /// What the last ROUTE said of the messages in hand.
    struct InboundRoute {
        var origin = ""
        var epoch: UInt64 = 0
        /// The name that the identity map gives the sender of the messages in hand; empty: none.
        var user: [UInt8] = []
        /// Its path with our own name behind it; empty if it is not to be passed on.
        var pathOut: [UInt8] = []
        /// The links that it must not be sent to, by bit.
        var excludedLinks: UInt64 = 0
        /// Place in `seen`.
        var seenSlot = 0
        /// Why none of these messages is taken.
        var dropReason: LinkStatistics.DropReason?
    }

    /// The slot of the link of a connection; before HELLO that of the only one it can be, or -1.
    func presumedLink(of slot: Int) -> Int {
        guard connections[slot].link < 0 else { return connections[slot].link }
        guard let candidates = connections[slot].candidates, candidates.count == 1 else {
            return -1
        }
        return slots[candidates[0]] ?? -1
    }

    /// The slot of a connection that has not ended meanwhile.
    func slot(of id: LinkConnectionID) -> Int? {
        let slot = Int(id.slot)
        guard slot >= 0, slot < connections.count, connections[slot].id == id,
            connections[slot].state != .vacant
        else { return nil }
        return slot
    }
}

/// Links as the shell sees them: it moves bytes and reports what happened to the streams.
extension Broker {
    /// A stream to the link's peer is open.
    ///
    /// - Returns: nil if the link has no key to connect with, or is connected.
    package mutating func linkDialed(
        _ peer: String, nowNanoseconds: UInt64, into effects: inout Effects
    ) -> LinkConnectionID? {
        guard let link = linkTable.slots[peer], linkTable.links[link].connection == nil,
            let key = linkTable.security?.currentKey(ofLink: peer), !isShuttingDown
        else { return nil }
        let slot = makeConnection(nowNanoseconds)
        linkTable.connections[slot].state = .awaitingReply
        linkTable.connections[slot].isConnector = true
        linkTable.connections[slot].link = link
        sayHello(slot, key: key, into: &effects)
        return linkTable.connections[slot].id
    }

    /// Somebody has opened a stream to a listener of links.
    ///
    /// - Parameter candidates: the links that listen there; nil: all that do not connect.
    /// - Returns: nil if too many handshakes are unfinished.
    package mutating func linkAccepted(
        for candidates: [String]? = nil, nowNanoseconds: UInt64
    ) -> LinkConnectionID? {
        guard linkTable.unfinishedCount < LinkLimits.handshakesMax, !isShuttingDown else {
            return nil
        }
        let slot = makeConnection(nowNanoseconds)
        linkTable.connections[slot].state = .awaitingHello
        linkTable.connections[slot].candidates = candidates
        linkTable.unfinishedCount += 1
        return linkTable.connections[slot].id
    }

    /// What carries the stream has found out who the peer of a listener is: one of these.
    package mutating func linkPeerProved(_ id: LinkConnectionID, toBe candidates: [String]) {
        guard let slot = linkTable.slot(of: id) else { return }
        linkTable.connections[slot].candidates = candidates
    }

    /// What carries the stream has failed.
    package mutating func linkFailed(
        _ id: LinkConnectionID, _ fault: LinkFault, into effects: inout Effects
    ) {
        guard let slot = linkTable.slot(of: id) else { return }
        failLink(slot, fault, into: &effects)
    }

    private mutating func makeConnection(_ nowNanoseconds: UInt64) -> Int {
        let slot = linkTable.freeConnections.popLast() ?? linkTable.connections.count
        precondition(linkTable.unfinishedCount >= 0)
        let id = LinkConnectionID(slot: Int32(slot), generation: linkTable.nextGeneration)
        linkTable.nextGeneration &+= 1
        var connection = LinkConnection(id: id)
        connection.lastReceivedNanoseconds = nowNanoseconds
        connection.nextPingNanoseconds = nowNanoseconds + Self.pingInterval
        connection.deadlineNanoseconds =
            nowNanoseconds + UInt64(LinkLimits.handshakeSecondsMax) * 1_000_000_000
        if slot == linkTable.connections.count {
            linkTable.connections.append(connection)
        } else {
            linkTable.connections[slot] = connection
        }
        return slot
    }

    /// The stream is gone. What waited for the peer waits on.
    package mutating func linkClosed(_ id: LinkConnectionID, into effects: inout Effects) {
        guard let slot = linkTable.slot(of: id) else { return }
        if linkTable.connections[slot].state == .established {
            let link = linkTable.links[linkTable.connections[slot].link].configuration.peer
            effects.note(
                LinkNotice(kind: .ended, link: link, reason: nil, explanation: "the stream ended"))
        }
        detach(slot, into: &effects)
        linkTable.connections[slot] = LinkConnection(
            id: LinkConnectionID(slot: Int32(slot), generation: 0))
        linkTable.freeConnections.append(slot)
    }

    /// The connection speaks for its link no more.
    private mutating func detach(_ slot: Int, into effects: inout Effects) {
        switch linkTable.connections[slot].state {
        case .awaitingHello, .awaitingOpen, .awaitingReply:
            if !linkTable.connections[slot].isConnector { linkTable.unfinishedCount -= 1 }
        case .established:
            let link = linkTable.connections[slot].link
            if linkTable.links[link].connection == linkTable.connections[slot].id {
                linkTable.links[link].connection = nil
                sessions[Int(linkTable.links[link].session)].isWriteBlocked = true
                stopHolding(link: link, into: &effects)
            }
        case .vacant, .closing:
            break
        }
        linkTable.connections[slot].state = .closing
        precondition(linkTable.unfinishedCount >= 0)
    }

    /// From now on the oldest messages are dropped when the queue is full.
    mutating func stopHolding(link: Int, into effects: inout Effects) {
        let subscription = Int(linkTable.links[link].subscription)
        subscriptions[subscription].policy = .dropOldest
        release(subscription: subscription, into: &effects)
    }

    /// Ends a connection: what is to be said goes into `pending`, and the shell closes it.
    mutating func failLink(_ slot: Int, _ fault: LinkFault, into effects: inout Effects) {
        guard linkTable.connections[slot].state != .closing else { return }
        let wasEstablished = linkTable.connections[slot].state == .established
        let link = linkTable.presumedLink(of: slot)
        if link >= 0 { linkTable.links[link].statistics.faults[fault.reason, default: 0] += 1 }
        statistics.linkFaults += 1
        effects.note(
            LinkNotice(
                kind: wasEstablished ? .ended : .refused,
                link: link >= 0 ? linkTable.links[link].configuration.peer : "",
                reason: fault.reason, explanation: fault.explanation))
        if wasEstablished {
            sayFarewell(slot, fault)
        } else {
            refuse(slot, fault)
        }
        detach(slot, into: &effects)
        effects.linksClosing.append(linkTable.connections[slot].id)
    }

    /// Not signed: there are no keys yet, or none that the peer has proved to hold.
    private mutating func refuse(_ slot: Int, _ fault: LinkFault) {
        let text = Array(fault.explanation.prefix(utf8Bytes: LinkLimits.refusalTextBytesMax).utf8)
        var output = LinkOutput()
        let header = LinkRecordHeader(
            kind: .refusal, keyID: 0, epoch: 0, sequence: 0, bodyBytes: 4 + text.count)
        header.write(to: &output)
        output.append(littleEndian: fault.reason.rawValue)
        output.append(littleEndian: UInt16(0))
        output.append(copying: text.span)
        linkTable.connections[slot].pending += output.pending.copied()
    }

    private mutating func sayFarewell(_ slot: Int, _ fault: LinkFault) {
        let text = Array(fault.explanation.prefix(utf8Bytes: LinkLimits.refusalTextBytesMax).utf8)
        let reason = fault.reason.rawValue
        var output = LinkOutput()
        seal(.control, on: slot, into: &output) { body in
            body.appendFrame(
                .disconnect, lead: text.span,
                fixed: [UInt8(truncatingIfNeeded: reason), UInt8(reason >> 8), 0, 0])
        }
        linkTable.connections[slot].pending += output.pending.copied()
    }

    // MARK: Time

    mutating func linkTimePassed(nowNanoseconds: UInt64, into effects: inout Effects) {
        for slot in linkTable.connections.indices {
            guard nowNanoseconds >= deadlineNanoseconds(ofConnection: slot) else { continue }
            switch linkTable.connections[slot].state {
            case .vacant, .closing:
                continue
            case .awaitingHello, .awaitingReply, .awaitingOpen:
                let limit = LinkLimits.handshakeSecondsMax
                failLink(
                    slot, LinkFault(.handshakeTimeout, "no handshake within \(limit) seconds"),
                    into: &effects)
            case .established:
                let heard = linkTable.connections[slot].lastReceivedNanoseconds
                if nowNanoseconds >= heard + Self.silenceMax {
                    let limit = LinkLimits.silentSecondsMax
                    failLink(
                        slot, LinkFault(.silent, "nothing arrived for \(limit) seconds"),
                        into: &effects)
                } else {
                    linkTable.connections[slot].pingOwed = true
                    markReady(slot, into: &effects)
                }
            }
        }
    }

    static var pingInterval: UInt64 { UInt64(LinkLimits.pingSeconds) * 1_000_000_000 }

    private static var silenceMax: UInt64 {
        UInt64(LinkLimits.silentSecondsMax) * 1_000_000_000
    }

    /// When something is to be done about a connection, unless something happens before. Asked
    /// again and again: inlined, and field by field, so that nothing large is copied.
    @inline(__always)
    private func deadlineNanoseconds(ofConnection slot: Int) -> UInt64 {
        switch linkTable.connections[slot].state {
        case .vacant, .closing: return .max
        case .awaitingHello, .awaitingReply, .awaitingOpen:
            return linkTable.connections[slot].deadlineNanoseconds
        case .established:
            let silent = linkTable.connections[slot].lastReceivedNanoseconds + Self.silenceMax
            if linkTable.connections[slot].pingOwed { return silent }
            return min(silent, linkTable.connections[slot].nextPingNanoseconds)
        }
    }

    var nextLinkDeadlineNanoseconds: UInt64 {
        var next = UInt64.max
        for slot in linkTable.connections.indices {
            next = min(next, deadlineNanoseconds(ofConnection: slot))
        }
        return next
    }

    /// Ends all links: the broker stops.
    mutating func shutDownLinks(into effects: inout Effects) {
        for slot in linkTable.connections.indices {
            switch linkTable.connections[slot].state {
            case .vacant, .closing: continue
            case .awaitingHello, .awaitingReply, .awaitingOpen, .established:
                failLink(
                    slot, LinkFault(.shuttingDown, "the broker is stopping"), into: &effects)
            }
        }
    }

    /// Tells the shell, once, that a connection has something to send.
    mutating func markReady(_ slot: Int, into effects: inout Effects) {
        guard !linkTable.connections[slot].isReady else { return }
        linkTable.connections[slot].isReady = true
        effects.linksReady.append(linkTable.connections[slot].id)
    }

    /// The connection that a link's session has now, if any.
    package func linkConnection(of session: SessionID) -> LinkConnectionID? {
        guard let slot = slot(of: session), sessions[slot].link >= 0 else { return nil }
        return linkTable.links[Int(sessions[slot].link)].connection
    }

    /// The peer of a connection that has passed its handshake.
    package func linkPeer(of id: LinkConnectionID) -> String? {
        guard let slot = linkTable.slot(of: id),
            linkTable.connections[slot].state == .established
        else { return nil }
        return linkTable.links[linkTable.connections[slot].link].configuration.peer
    }

    package func isLinkConnected(_ peer: String) -> Bool {
        linkTable.slots[peer].map { linkTable.links[$0].connection != nil } ?? false
    }

    package func linkStatistics(_ peer: String) -> LinkStatistics? {
        linkTable.slots[peer].map { linkTable.links[$0].statistics }
    }
}
