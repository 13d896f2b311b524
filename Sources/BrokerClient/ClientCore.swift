internal import BrokerWire
internal import LinuxIO

/// What the client's thread and everybody who calls the client share. The thread keeps it alive
/// as long as it runs; `BrokerClient` and `Subscription` are the handles of the outside.
///
/// Lock order: `outbox`, then `ledger`; all other locks are leaves. Waiters are resolved and
/// callbacks called with no lock held.
final class ClientCore: Sendable {
    static let protocolVersion: UInt16 = 1
    private static let refusalsMax = 256

    let configuration: BrokerClient.Configuration
    let wake: WakeSignal
    let gate: ReceiveGate
    let outbox: Lock<Outbox>
    let ledger = Lock(Ledger())
    let refusals = Handover<Refusal>(bytesMax: .max, gate: nil)
    /// Resolved with the first session, or with why there is none.
    let started = OneShot<BrokerSession>()
    /// The latest session.
    let session = Lock<BrokerSession?>(nil)
    let batchMemory = BatchMemory()
    private let refusalsLeftOut = Lock(0)

    init(_ configuration: BrokerClient.Configuration) throws(KernelError) {
        self.configuration = configuration
        let wake = WakeSignal(try EventFD())
        self.wake = wake
        gate = ReceiveGate { wake.signal() }
        outbox = Lock(Outbox(pendingBytesMax: configuration.pendingBytesMax))
    }

    /// An EventFD that closures can share.
    final class WakeSignal: Sendable {
        let event: EventFD

        init(_ event: consuming EventFD) {
            self.event = event
        }

        func signal() { event.signal() }
        func drain() { event.drain() }
    }

    // MARK: Asking

    /// - Returns: nil, or what to wait for before trying again.
    func publish(
        _ payload: Span<UInt8>, to topic: Span<UInt8>,
        acknowledgement: OneShot<Acknowledgement>?
    ) throws(BrokerClientError) -> OneShot<Void>? {
        var mustWake = false
        let room = try outbox.withLock { (outbox) throws(BrokerClientError) -> OneShot<Void>? in
            let bodyBytes = topic.count + payload.count
            if let room = try outbox.roomForPublish(bodyBytes: bodyBytes) {
                mustWake = outbox.dispatch(.hurries)
                return room
            }
            let token = outbox.takePublishToken()
            if let acknowledgement {
                ledger.withLock { $0.expectAcknowledgement(token: token, acknowledgement) }
            }
            outbox.appendPublish(
                token: token, wantsAcknowledgement: acknowledgement != nil, topic: topic,
                payload: payload)
            let urgency: Outbox.Urgency = acknowledgement == nil ? .gathers : .hurries
            mustWake = outbox.dispatch(configuration.gathers ? urgency : .immediate)
            return nil
        }
        if mustWake { wake.signal() }
        return room
    }

    /// Several messages, beginning where it went on last time.
    ///
    /// - Returns: nil, or what to wait for before trying again with the others.
    func publish(
        _ payloads: Span<UInt8>, byteCounts: Span<Int>, from position: inout PayloadPosition,
        to topic: Span<UInt8>
    ) throws(BrokerClientError) -> OneShot<Void>? {
        var mustWake = false
        let room = try outbox.withLock { (outbox) throws(BrokerClientError) -> OneShot<Void>? in
            try outbox.checkSize(bodyBytes: topic.count + position.largest)
            while position.index < byteCounts.count {
                let payload = payloads.extracting(position.range(in: byteCounts))
                let bodyBytes = topic.count + payload.count
                if let room = try outbox.roomForPublish(bodyBytes: bodyBytes) {
                    mustWake = outbox.dispatch(.hurries)
                    return room
                }
                outbox.appendPublish(
                    token: outbox.takePublishToken(), wantsAcknowledgement: false, topic: topic,
                    payload: payload)
                position.advance(in: byteCounts)
            }
            mustWake = outbox.dispatch(configuration.gathers ? .gathers : .immediate)
            return nil
        }
        if mustWake { wake.signal() }
        return room
    }

    /// - Returns: nil if the kernel has everything, or what to wait for.
    func flush() throws(BrokerClientError) -> OneShot<Void>? {
        var mustWake = false
        let waiter = try outbox.withLock { (outbox) throws(BrokerClientError) -> OneShot<Void>? in
            let waiter = try outbox.flush()
            mustWake = outbox.dispatch(.immediate)
            return waiter
        }
        if mustWake { wake.signal() }
        return waiter
    }

    func ping(_ waiter: OneShot<UInt64>) throws(BrokerClientError) {
        try request { (ledger, _) in .ping(nonce: ledger.expectPong(waiter)) }
    }

    func requestStatus(_ waiter: OneShot<[UInt8]>) throws(BrokerClientError) {
        try request { (ledger, token) in
            ledger.expect(.document(.init(answer: .status, waiter: waiter)), token: token)
            return .status(token: token)
        }
    }

    /// - Parameter waiter: gets the answer, one JSON document.
    func administer(
        _ command: String, _ arguments: [UInt8], _ waiter: OneShot<[UInt8]>
    ) throws(BrokerClientError) {
        let bytes = FrameHeader.byteCount + 4 + command.utf8.count + arguments.count
        try request(frameBytes: bytes) { (ledger, token) in
            ledger.expect(.document(.init(answer: .adminReply, waiter: waiter)), token: token)
            return .administer(token: token, command: command, arguments: arguments)
        }
    }

    /// Takes up a subscription now or, while there is no session, with the next one.
    ///
    /// - Parameter frame: token and subscription number are filled in here.
    /// - Returns: the subscription's number.
    func subscribe(
        _ frame: SubscribeFrame, _ consumer: Ledger.Consumer, _ confirmation: OneShot<Void>
    ) throws(BrokerClientError) -> UInt32 {
        var mustWake = false
        let number = try outbox.withLock { (outbox) throws(BrokerClientError) -> UInt32 in
            var frame = frame
            try outbox.roomForRequest(frameBytes: RequestFrame.subscribe(frame).byteCount)
            frame.token = outbox.takeRequestToken()
            ledger.withLock { ledger in
                frame.subscription = ledger.takeSubscriptionNumber()
                ledger.add(
                    Ledger.LiveSubscription(
                        frame: frame, consumer: consumer, confirmation: confirmation))
                if outbox.isOnline {
                    ledger.expect(.subscribe(frame.subscription), token: frame.token)
                }
            }
            if outbox.isOnline { outbox.append(.subscribe(frame)) }
            mustWake = outbox.dispatch(.immediate)
            return frame.subscription
        }
        if mustWake { wake.signal() }
        return number
    }

    /// - Parameter waiter: resolved when nothing will be delivered any more.
    /// - Returns: false if there is no such subscription (any more): nobody will resolve it.
    func unsubscribe(_ number: UInt32, _ waiter: OneShot<Void>?) throws(BrokerClientError) -> Bool {
        var mustWake = false
        let wasLive = try outbox.withLock { (outbox) throws(BrokerClientError) -> Bool in
            guard outbox.isOnline else {
                let live = ledger.withLock { $0.remove(number) }
                live?.consumer.handover.finish(nil)
                return false
            }
            guard ledger.withLock({ $0.leave(number) }) else { return false }
            let token = outbox.takeRequestToken()
            let frame = RequestFrame.unsubscribe(token: token, subscription: number)
            try outbox.roomForRequest(frameBytes: frame.byteCount)
            ledger.withLock { $0.expect(.unsubscribe(number, waiter), token: token) }
            outbox.append(frame)
            mustWake = outbox.dispatch(.immediate)
            return true
        }
        if mustWake { wake.signal() }
        return wasLive
    }

    /// - Parameter waiter: resolved when the thread is done.
    func close(_ waiter: OneShot<Void>?) {
        let isOver = outbox.withLock { outbox in
            if case .ended = outbox.link { return true }
            outbox.close(waiter)
            return false
        }
        if isOver { waiter?.resolve(.success(())) } else { wake.signal() }
    }

    private func request(
        frameBytes: Int = FrameHeader.byteCount + 8,
        _ make: (inout Ledger, UInt32) -> RequestFrame
    ) throws(BrokerClientError) {
        var mustWake = false
        try outbox.withLock { (outbox) throws(BrokerClientError) in
            try outbox.roomForRequest(frameBytes: frameBytes)
            let token = outbox.takeRequestToken()
            let frame = ledger.withLock { make(&$0, token) }
            outbox.append(frame)
            mustWake = outbox.dispatch(.immediate)
        }
        if mustWake { wake.signal() }
    }

    // MARK: The life of a session; called by the client's thread

    func sessionBegan(_ session: BrokerSession, _ socket: Socket) {
        self.session.withLock { $0 = session }
        outbox.withLock { outbox in
            let frames = ledger.withLock { ledger in
                ledger.framesToSubscribe.map { frame in
                    var frame = frame
                    frame.token = outbox.takeRequestToken()
                    ledger.expect(.subscribe(frame.subscription), token: frame.token)
                    return RequestFrame.subscribe(frame)
                }
            }
            outbox.begin(socket, session.limits, requests: frames)
        }
        configuration.onStateChange?(.connected(session))
        started.resolve(.success(session))
    }

    func sessionLost(_ error: BrokerClientError) {
        let unsent = release(error, isFinal: false)
        configuration.onStateChange?(.reconnecting(error, unsentPublishes: unsent))
    }

    func ended(_ error: BrokerClientError) {
        _ = release(error, isFinal: true)
        refusals.finish(nil)
        started.resolve(.failure(error))
        configuration.onStateChange?(.ended(error))
    }

    private func release(_ error: BrokerClientError, isFinal: Bool) -> Int {
        let (released, orphans) = outbox.withLock { outbox in
            let released = outbox.end(isFinal ? error : nil)
            let publishCount = outbox.publishCount
            let orphans = ledger.withLock {
                $0.sessionEnded(isFinal: isFinal, publishCount: publishCount)
            }
            return (released, orphans)
        }
        for publish in orphans.publishes { publish.resolve(.failure(error)) }
        for ping in orphans.pings { ping.resolve(.failure(error)) }
        for inquiry in orphans.inquiries { inquiry.resolve(.failure(error)) }
        for unsubscribe in orphans.unsubscribes { unsubscribe.resolve(.success(())) }
        for live in orphans.subscriptions {
            live.confirmation?.resolve(.failure(error))
            let isExpected = live.isLeaving || error.code == .closed
            live.consumer.handover.finish(isExpected ? nil : error)
        }
        released.flushes.resolve(.failure(error))
        released.others.resolve()
        return released.unsent
    }

    func perform(_ action: Ledger.Action) {
        switch action {
        case .none:
            break
        case .acknowledge(let answers, let refusal):
            for (waiter, outcome) in answers { waiter.resolve(outcome) }
            if let refusal { report(refusal) }
        case .confirm(let waiter):
            waiter?.resolve(.success(()))
        case .end(let live, let waiter, let error):
            live?.consumer.handover.finish(error)
            if let error { live?.confirmation?.resolve(.failure(error)) }
            waiter?.resolve(.success(()))
        case .answerInquiry(let waiter, let outcome):
            waiter.resolve(outcome)
        }
    }

    private func report(_ refusal: Refusal) {
        configuration.onRefusal?(refusal)
        var refusal = refusal
        let isKept = refusalsLeftOut.withLock { leftOut in
            guard refusals.count < Self.refusalsMax else {
                leftOut += refusal.count
                return false
            }
            refusal.leftOutBefore = leftOut
            leftOut = 0
            return true
        }
        if isKept { refusals.push(refusal, bytes: 0) }
    }
}
