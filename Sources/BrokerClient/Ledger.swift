internal import BrokerWire
internal import DequeModule

/// Everything that waits for an answer of the broker, and the live subscriptions. Pure: waiters
/// that are to be resolved are returned, and resolved outside of the lock.
struct Ledger {
    struct LiveSubscription {
        let frame: SubscribeFrame
        let consumer: Consumer
        /// Until the broker has said yes for the first time.
        var confirmation: OneShot<Void>?
        /// The session ended since the last batch.
        var hasGap = false
        /// UNSUBSCRIBE has been sent.
        var isLeaving = false
    }

    /// Who gets the messages of a subscription.
    struct Consumer {
        /// Batches for a task; of a subscription with a handler only the end.
        let handover: Handover<MessageBatch>
        /// Called on the client's thread.
        let handler: BrokerClient.BatchHandler?
    }

    enum Request {
        case subscribe(UInt32)
        case unsubscribe(UInt32, OneShot<Void>?)
        case document(Inquiry)

        /// Type of the frame that asks.
        var type: FrameType {
            switch self {
            case .subscribe: .subscribe
            case .unsubscribe: .unsubscribe
            case .document(let inquiry): inquiry.answer == .status ? .statusRequest : .adminRequest
            }
        }
    }

    /// What is answered with a document, in fragments.
    struct Inquiry {
        /// Type of the frames that bring it.
        let answer: FrameType
        let waiter: OneShot<[UInt8]>
        var received: [UInt8] = []
    }

    /// What is to be done when the lock is released.
    enum Action {
        case none
        case acknowledge([(OneShot<Acknowledgement>, OneShot<Acknowledgement>.Outcome)], Refusal?)
        case confirm(OneShot<Void>?)
        case end(LiveSubscription?, OneShot<Void>?, BrokerClientError?)
        case answerInquiry(OneShot<[UInt8]>, OneShot<[UInt8]>.Outcome)
    }

    /// Waiters that a session leaves behind.
    struct Orphans {
        var publishes: [OneShot<Acknowledgement>] = []
        var pings: [OneShot<UInt64>] = []
        var inquiries: [OneShot<[UInt8]>] = []
        var unsubscribes: [OneShot<Void>] = []
        /// These will not come back.
        var subscriptions: [LiveSubscription] = []
    }

    /// A document has a size that people can read.
    static let documentBytesMax = 64 * 1_048_576

    /// In the order of their tokens, as the answers will come.
    private var publishes: Deque<(token: UInt32, waiter: OneShot<Acknowledgement>)> = []
    /// The number of the latest publish that was answered, or that no answer can come to.
    private var answeredPublish: UInt64 = 0
    private var requests: [UInt32: Request] = [:]
    private var pings: [UInt64: OneShot<UInt64>] = [:]
    private var subscriptions: [UInt32: LiveSubscription] = [:]
    private var nextSubscription: UInt32 = 1
    private var nextNonce: UInt64 = 1

    // MARK: Asking

    mutating func expectAcknowledgement(token: UInt32, _ waiter: OneShot<Acknowledgement>) {
        publishes.append((token, waiter))
    }

    mutating func expectPong(_ waiter: OneShot<UInt64>) -> UInt64 {
        defer { nextNonce &+= 1 }
        pings[nextNonce] = waiter
        return nextNonce
    }

    mutating func expect(_ request: Request, token: UInt32) {
        requests[token] = request
    }

    /// Numbers are not used again, so that what is on its way to an old one cannot reach a new.
    mutating func takeSubscriptionNumber() -> UInt32 {
        defer { nextSubscription &+= 1 }
        return nextSubscription
    }

    mutating func add(_ subscription: LiveSubscription) {
        subscriptions[subscription.frame.subscription] = subscription
    }

    /// - Returns: false if the broker knows nothing of it (any more).
    mutating func leave(_ number: UInt32) -> Bool {
        guard let live = subscriptions[number], !live.isLeaving else { return false }
        subscriptions[number]?.isLeaving = true
        return true
    }

    mutating func remove(_ number: UInt32) -> LiveSubscription? {
        subscriptions.removeValue(forKey: number)
    }

    /// Live subscriptions in the order in which they were made.
    var framesToSubscribe: [SubscribeFrame] {
        subscriptions.values.map(\.frame).sorted { $0.subscription < $1.subscription }
    }

    // MARK: Answers

    /// Where a delivery goes, and whether it is the first of a new session.
    mutating func route(
        _ number: UInt32
    ) -> (consumer: Consumer, followsReconnect: Bool)? {
        guard let live = subscriptions[number] else { return nil }
        if live.hasGap { subscriptions[number]?.hasGap = false }
        return (live.consumer, live.hasGap)
    }

    mutating func pongReceived(nonce: UInt64) throws(BrokerClientError) -> OneShot<UInt64> {
        guard let waiter = pings.removeValue(forKey: nonce) else {
            throw .protocolViolation("PONG to a PING that was not sent")
        }
        return waiter
    }

    /// The broker has ended one subscription; an unknown one has just been left by us.
    mutating func subscriptionEnded(_ frame: EndedFrame) -> Action {
        guard let live = subscriptions.removeValue(forKey: frame.subscription) else {
            return .none
        }
        let error = BrokerClientError.ended(frame.reason, frame.explanation)
        return .end(live, nil, live.isLeaving ? nil : error)
    }

    /// - Parameter type: STATUS or ADMINREPLY.
    mutating func fragmentReceived(
        _ type: FrameType, token: UInt32, fragment: [UInt8], hasMore: Bool
    ) throws(BrokerClientError) -> Action {
        guard case .document(var inquiry)? = requests[token], inquiry.answer == type else {
            throw .protocolViolation("\(type) that nobody asked for")
        }
        if hasMore, fragment.isEmpty { throw .protocolViolation("\(type) without a fragment") }
        guard inquiry.received.count + fragment.count <= Self.documentBytesMax else {
            throw .protocolViolation("\(type) of more than \(Self.documentBytesMax) bytes")
        }
        // There is one copy of what was received.
        requests[token] = nil
        inquiry.received += fragment
        if hasMore {
            requests[token] = .document(inquiry)
            return .none
        }
        return .answerInquiry(inquiry.waiter, .success(inquiry.received))
    }

    /// - Parameter publishCount: how many publishes were made until now.
    mutating func replyReceived(
        _ reply: ReplyFrame, publishCount: UInt64
    ) throws(BrokerClientError) -> Action {
        if reply.request == FrameType.publish.rawValue {
            try checkPublishes(reply, publishCount: publishCount)
            return try publishAnswered(reply)
        }
        // Who waits is found by the end of the session, if this is it.
        guard let request = requests[reply.token], request.type.rawValue == reply.request,
            reply.count == 1
        else { throw .protocolViolation("REPLY to a request that was not made") }
        if case .document = request, reply.reason.isSuccess {
            throw .protocolViolation("REPLY in place of a document")
        }
        requests[reply.token] = nil
        switch request {
        case .subscribe(let number):
            return subscribeAnswered(number, reply)
        case .unsubscribe(let number, let waiter):
            // Unknown to the broker: then it is gone, which is what was wanted.
            return .end(subscriptions.removeValue(forKey: number), waiter, nil)
        case .document(let inquiry):
            return .answerInquiry(
                inquiry.waiter,
                .failure(.refused(reply.reason, reply.explanation, "the request")))
        }
    }

    private mutating func subscribeAnswered(_ number: UInt32, _ reply: ReplyFrame) -> Action {
        if reply.reason.isSuccess {
            let confirmation = subscriptions[number]?.confirmation
            subscriptions[number]?.confirmation = nil
            return .confirm(confirmation)
        }
        let live = subscriptions.removeValue(forKey: number)
        let error = BrokerClientError.refused(
            reply.reason, reply.explanation, "the subscription")
        return .end(live, nil, error)
    }

    /// Publishes are answered in their order, once, and none that were not made.
    private mutating func checkPublishes(
        _ reply: ReplyFrame, publishCount: UInt64
    ) throws(BrokerClientError) {
        let madeSince = UInt64(UInt32(truncatingIfNeeded: publishCount) &- reply.token)
        guard madeSince < publishCount - answeredPublish, reply.count <= madeSince + 1 else {
            throw .protocolViolation("REPLY to publishes that were not made, or answered before")
        }
        answeredPublish = publishCount - madeSince + UInt64(reply.count) - 1
    }

    /// One REPLY may answer many publishes, awaited ones and others. Those awaited are in the
    /// order of the answers, so only the front has to be looked at.
    private mutating func publishAnswered(
        _ reply: ReplyFrame
    ) throws(BrokerClientError) -> Action {
        var answers: [(OneShot<Acknowledgement>, OneShot<Acknowledgement>.Outcome)] = []
        while let first = publishes.first {
            let distance = first.token &- reply.token
            if distance > UInt32.max / 2 {
                throw .protocolViolation("a publish was left without its answer")
            }
            if distance >= reply.count { break }
            publishes.removeFirst()
            answers.append((first.waiter, outcome(of: reply, distance: distance)))
        }
        let others = Int(reply.count) - answers.count
        if reply.reason.isSuccess || others == 0 { return .acknowledge(answers, nil) }
        let refusal = Refusal(
            reason: reply.reason, explanation: reply.explanation.saidByBroker, count: others)
        return .acknowledge(answers, refusal)
    }

    private func outcome(
        of reply: ReplyFrame, distance: UInt32
    ) -> OneShot<Acknowledgement>.Outcome {
        guard reply.reason.isSuccess else {
            return .failure(.refused(reply.reason, reply.explanation, "the message"))
        }
        return .success(
            Acknowledgement(
                sequence: reply.sequence &+ UInt64(distance),
                hadSubscribers: reply.reason != .noMatchingSubscribers))
    }

    // MARK: The end of a session

    /// - Parameters:
    ///   - isFinal: no other session will follow: subscriptions end, too.
    ///   - publishCount: how many publishes were made until now.
    mutating func sessionEnded(isFinal: Bool, publishCount: UInt64) -> Orphans {
        answeredPublish = publishCount
        var orphans = Orphans(publishes: publishes.map(\.waiter), pings: Array(pings.values))
        publishes = []
        pings = [:]
        for request in requests.values {
            switch request {
            case .subscribe: continue
            case .unsubscribe(_, let waiter): if let waiter { orphans.unsubscribes.append(waiter) }
            case .document(let inquiry): orphans.inquiries.append(inquiry.waiter)
            }
        }
        requests = [:]
        for (number, live) in subscriptions {
            if isFinal || live.isLeaving {
                orphans.subscriptions.append(live)
                subscriptions[number] = nil
            } else {
                subscriptions[number]?.hasGap = live.confirmation == nil || live.hasGap
            }
        }
        return orphans
    }
}
