package import BrokerWire

/// What the broker says of itself: `$SYS/broker/…`, and the snapshot that status is made of.
extension Broker {
    /// Publishes the system topics, to all who subscribed or to one new subscription.
    mutating func publishSystemTopics(
        only subscription: Int? = nil, nowNanoseconds: UInt64, wallNanoseconds: UInt64,
        into effects: inout Effects
    ) {
        let own = configuration.process
        let record = SenderRecord(
            pid: own.pid, uid: own.uid, gid: own.gid, process: own.process, opener: own,
            timeNanoseconds: wallNanoseconds, level: own.uid == 0 ? .claimable : .kernel,
            isDelegated: false, domain: .own)
        var context = PacketContext(
            session: -1, record: record, subject: 0, serial: nextPacketSerial,
            nowNanoseconds: nowNanoseconds)
        nextPacketSerial += 1
        for (name, value) in systemTopics(nowNanoseconds: nowNanoseconds) {
            publishOwn(
                topic: Array("$SYS/broker/\(name)".utf8), payload: Array(value.utf8),
                only: subscription, &context, into: &effects)
        }
        endDoomed(nowNanoseconds: nowNanoseconds, into: &effects)
    }

    func systemTopics(nowNanoseconds: UInt64) -> [(name: String, value: String)] {
        let queued = quotas.active.reduce(0) { $0 + $1.queuedBytes }
        let fixed = [
            ("version", configuration.version),
            ("uptime", String(uptimeSeconds(nowNanoseconds: nowNanoseconds))),
            ("sessions", String(sessionCount)),
            ("subscriptions", String(subscriptionCount)),
            ("queued/bytes", String(queued)),
        ]
        return fixed + statistics.named.map { ("counters/\($0.name)", String($0.value)) }
            + deniedTopics
    }

    private var deniedTopics: [(name: String, value: String)] {
        let byAction = Action.allCases.map { action in
            ("denied/\(action.name)", String(decisions.deniedByAction[Int(action.rawValue)]))
        }
        let byUID = decisions.deniedByUID.sorted { $0.key < $1.key }.map { entry in
            ("denied/uid/\(entry.key)", String(entry.value))
        }
        return byAction + byUID + [("denied/uid/others", String(decisions.deniedOthers))]
    }

    private func uptimeSeconds(nowNanoseconds: UInt64) -> UInt64 {
        (nowNanoseconds - startedNanoseconds) / 1_000_000_000
    }

    /// Puts a status document into the session's replies, in as many frames as it takes.
    package mutating func answerStatus(
        _ request: Effects.StatusRequest, document: Span<UInt8>, nowNanoseconds: UInt64,
        into effects: inout Effects
    ) {
        answer(
            .status, request.session, token: request.token, document: document,
            nowNanoseconds: nowNanoseconds, into: &effects)
    }

    /// The answer to a request of administration, likewise.
    package mutating func answerAdministration(
        _ request: Effects.AdminRequest, document: Span<UInt8>, nowNanoseconds: UInt64,
        into effects: inout Effects
    ) {
        answer(
            .adminReply, request.session, token: request.token, document: document,
            nowNanoseconds: nowNanoseconds, into: &effects)
    }

    private mutating func answer(
        _ type: FrameType, _ session: SessionID, token: UInt32, document: Span<UInt8>,
        nowNanoseconds: UInt64, into effects: inout Effects
    ) {
        // It may have been told its farewell meanwhile, which is the last frame.
        guard let slot = slot(of: session), sessions[slot].state == .active else { return }
        let fragmentBytesMax =
            pool.batchBytes - PacketHeader.byteCount - FrameHeader.byteCount - 4
        var offset = 0
        repeat {
            let end = min(offset + fragmentBytesMax, document.count)
            let fragment = document.extracting(offset..<end)
            // Whether there is room is asked once: a document is sent whole, or not at all.
            let copy = fragment.copied()
            let bytes = FrameHeader.byteCount + 4 + copy.count
            let hasMore = end < document.count
            queueControl(slot, bytes: bytes, isBounded: offset == 0, into: &effects) {
                $0.appendStatus(type, token: token, fragment: copy.span, hasMore: hasMore)
            }
            offset = end
        } while offset < document.count && !sessions[slot].isDoomed
        endDoomed(nowNanoseconds: nowNanoseconds, into: &effects)
    }

    /// The state of the broker as plain values.
    package func snapshot(nowNanoseconds: UInt64) -> BrokerSnapshot {
        BrokerSnapshot(
            name: configuration.name, version: configuration.version,
            instance: configuration.instance,
            uptimeSeconds: uptimeSeconds(nowNanoseconds: nowNanoseconds),
            statistics: statistics, users: quotas.active, quotas: quotas.settings,
            sessions: sessions.filter { $0.state != .vacant && $0.link < 0 }.map { session in
                snapshot(of: session, nowNanoseconds: nowNanoseconds)
            },
            links: linkTable.slots.values.sorted().map { slot in
                snapshot(of: linkTable.links[slot], nowNanoseconds: nowNanoseconds)
            })
    }

    private func snapshot(of link: Link, nowNanoseconds: UInt64) -> BrokerSnapshot.Link {
        let subscription = subscriptions[Int(link.subscription)]
        let slot = link.connection.flatMap { linkTable.slot(of: $0) }
        let sent = contents(of: link.unacknowledged)
        let queued = contents(of: subscription.queue)
        return BrokerSnapshot.Link(
            peer: link.configuration.peer, isConnected: slot != nil,
            keyID: slot.map { linkTable.connections[$0].sendKey } ?? 0,
            roundTripNanoseconds: slot.flatMap {
                linkTable.connections[$0].roundTripNanoseconds
            }, statistics: link.statistics, queuedMessages: queued.messages,
            queuedBytes: subscription.queue.bytes, queueBytesMax: subscription.queueBytesMax,
            unacknowledgedMessages: sent.messages, unacknowledgedBytes: link.unacknowledged.bytes,
            oldestAgeNanoseconds: (sent.acceptedNanoseconds ?? queued.acceptedNanoseconds).map {
                nowNanoseconds - min($0, nowNanoseconds)
            } ?? 0,
            messagesLost: subscription.messagesLost,
            filters: link.heard.keys.sorted { $0.lexicographicallyPrecedes($1) })
    }

    /// How many messages a queue holds, and when the oldest was accepted.
    func contents(
        of queue: PacketQueue
    ) -> (messages: Int, acceptedNanoseconds: UInt64?) {
        var messages = 0
        var accepted: UInt64?
        var packet = queue.head
        while packet != PacketPool.none {
            messages += pool[packet].deliveries
            if accepted == nil, pool[packet].acceptedNanoseconds > 0 {
                accepted = pool[packet].acceptedNanoseconds
            }
            packet = pool[packet].next
        }
        return (messages, accepted)
    }

    private func snapshot(
        of session: Session, nowNanoseconds: UInt64
    ) -> BrokerSnapshot.Session {
        BrokerSnapshot.Session(
            number: session.number, name: session.name, opener: session.opener,
            isGreeting: session.state == .greeting, isHeld: session.isHeld,
            connectedSeconds: (nowNanoseconds - session.openedNanoseconds) / 1_000_000_000,
            messagesPublished: session.messagesPublished,
            messagesDelivered: session.messagesDelivered,
            publishesRefused: session.publishesRefused,
            isPaused: session.pausedBy != PacketPool.none, othersSeen: session.othersSeen,
            subscriptions: session.subscriptions.sorted { $0.key < $1.key }.map { entry in
                let subscription = subscriptions[Int(entry.value)]
                return BrokerSnapshot.Subscription(
                    number: entry.key, filters: subscription.filters,
                    policy: subscription.policy, uidRanges: subscription.uidRanges,
                    gidRanges: subscription.gidRanges, queuedBytes: subscription.queue.bytes,
                    queueBytesMax: subscription.queueBytesMax,
                    messagesDelivered: subscription.messagesDelivered,
                    messagesLost: subscription.messagesLost)
            })
    }
}

/// The broker at one moment, for status.
package struct BrokerSnapshot: Sendable {
    package let name: String
    package let version: String
    package let instance: UInt64
    package let uptimeSeconds: UInt64
    package let statistics: Statistics
    package let users: [UserAccount]
    package let quotas: QuotaSettings
    package let sessions: [Session]
    package let links: [Link]

    package struct Link: Sendable {
        package let peer: String
        package let isConnected: Bool
        /// The key of the connection; 0: none.
        package let keyID: UInt64
        /// Nil: not known yet, or not connected.
        package let roundTripNanoseconds: UInt64?
        package let statistics: LinkStatistics
        package let queuedMessages: Int
        package let queuedBytes: Int
        package let queueBytesMax: Int
        /// Sent, and not acknowledged by the peer.
        package let unacknowledgedMessages: Int
        package let unacknowledgedBytes: Int
        /// Of the oldest message that is queued or not acknowledged; 0: there is none.
        package let oldestAgeNanoseconds: UInt64
        package let messagesLost: UInt64
        /// Filters that the peer wants.
        package let filters: [[UInt8]]
    }

    package struct Session: Sendable {
        package let number: UInt64
        package let name: String
        package let opener: Peer
        package let isGreeting: Bool
        package let isHeld: Bool
        package let connectedSeconds: UInt64
        package let messagesPublished: UInt64
        package let messagesDelivered: UInt64
        package let publishesRefused: UInt64
        package let isPaused: Bool
        package let othersSeen: SendersSeen
        package let subscriptions: [Subscription]
    }

    package struct Subscription: Sendable {
        package let number: UInt32
        package let filters: [[UInt8]]
        package let policy: OverflowPolicy
        package let uidRanges: [IDRange]
        package let gidRanges: [IDRange]
        package let queuedBytes: Int
        package let queueBytesMax: Int
        package let messagesDelivered: UInt64
        package let messagesLost: UInt64
    }
}
