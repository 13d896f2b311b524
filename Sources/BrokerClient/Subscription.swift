public import BrokerWire

/// What a subscription asks for besides its filters. Protocol/README.md, section 5.5.
public struct SubscriptionOptions: Sendable, Equatable {
    /// What the broker does when this client does not read fast enough.
    public var overflow: OverflowPolicy
    /// Only messages whose attested uid lies in one of these ranges; empty: of any uid.
    public var senderUIDs: [IDRange]
    /// Only messages whose attested gid lies in one of these ranges; empty: of any gid.
    public var senderGIDs: [IDRange]
    /// Bytes the broker may hold for it; 0: the broker's default.
    public var queueBytesMax: UInt32

    public init(
        overflow: OverflowPolicy = .disconnect, senderUIDs: [IDRange] = [],
        senderGIDs: [IDRange] = [], queueBytesMax: UInt32 = 0
    ) {
        self.overflow = overflow
        self.senderUIDs = senderUIDs
        self.senderGIDs = senderGIDs
        self.queueBytesMax = queueBytesMax
    }
}

/// A live subscription, and the messages it gets, in the order in which the broker accepted
/// them.
///
/// It has one consumer: either this sequence of messages or that of `batches`. It finishes when
/// the subscription or the client is closed, or the consuming task cancelled, and throws when
/// the session ends for good or the broker refuses to take it up again. Dropping it
/// unsubscribes.
///
/// A subscription that nobody consumes fills up to `Configuration.receiveBytesMax`; then the
/// client receives nothing at all until it is consumed or closed.
public final class Subscription: AsyncSequence, Sendable {
    public typealias Element = Message
    public typealias Failure = BrokerClientError

    public let filters: [String]
    public let options: SubscriptionOptions

    /// Keeps the client alive while messages are consumed.
    private let client: BrokerClient
    private let number: UInt32
    private let handover: Handover<MessageBatch>

    init(
        _ client: BrokerClient, number: UInt32, filters: [String], options: SubscriptionOptions,
        handover: Handover<MessageBatch>
    ) {
        self.client = client
        self.number = number
        self.filters = filters
        self.options = options
        self.handover = handover
    }

    deinit {
        cancel()
    }

    /// Ends the subscription at once: what was received and not consumed is dropped, and the
    /// sequence finishes.
    public func cancel() {
        handover.discard()
        _ = try? client.core.unsubscribe(number, nil)
    }

    /// Ends the subscription: what was received before can still be consumed, then the
    /// sequence finishes. Protocol/README.md, section 5.6.
    ///
    /// - Throws: `.closed`, `.cancelled`.
    public func unsubscribe() async throws(BrokerClientError) {
        let waiter = OneShot<Void>()
        guard try client.core.unsubscribe(number, waiter) else { return }
        try await waiter.value()
    }

    public func makeAsyncIterator() -> Iterator {
        Iterator(subscription: self, handover: handover)
    }

    /// One message after the other.
    public struct Iterator: AsyncIteratorProtocol {
        /// Dropping the subscription would end it.
        private let subscription: Subscription
        private let handover: Handover<MessageBatch>
        private var batch: MessageBatch?
        private var cursor: BatchCursor?
        private var lost: UInt64 = 0
        private var followsReconnect = false

        init(subscription: Subscription, handover: Handover<MessageBatch>) {
            self.subscription = subscription
            self.handover = handover
        }

        public mutating func next() async throws(BrokerClientError) -> Message? {
            while true {
                if let message = nextInBatch() { return message }
                guard let next = try await handover.next() else { return nil }
                batch = next
                cursor = next.storage.withPacket { BatchCursor($0) }
                followsReconnect = followsReconnect || next.followsReconnect
            }
        }

        /// What was lost behind the last message of a batch is told by the next one.
        private mutating func nextInBatch() -> Message? {
            guard let batch, var cursor else { return nil }
            let found = batch.storage.withPacket { packet in
                cursor.next(in: packet).map { Message(cursor.view(of: $0, in: packet)) }
            }
            guard var message = found else {
                lost.addSaturating(cursor.lost)
                self.batch = nil
                self.cursor = nil
                return nil
            }
            self.cursor = cursor
            message.lostBefore.addSaturating(lost)
            message.followsReconnect = followsReconnect
            lost = 0
            followsReconnect = false
            return message
        }
    }

    /// The same messages as they came, many at a time, without a copy of each.
    public var batches: Batches { Batches(subscription: self, handover: handover) }

    /// See `Subscription.batches`.
    public struct Batches: AsyncSequence, Sendable {
        public typealias Element = MessageBatch
        public typealias Failure = BrokerClientError

        let subscription: Subscription
        let handover: Handover<MessageBatch>

        public func makeAsyncIterator() -> Iterator {
            Iterator(subscription: subscription, handover: handover)
        }

        public struct Iterator: AsyncIteratorProtocol {
            let subscription: Subscription
            let handover: Handover<MessageBatch>

            public func next() async throws(BrokerClientError) -> MessageBatch? {
                try await handover.next()
            }
        }
    }
}

extension BrokerClient {
    /// Subscribes to topics. A message is delivered once, however many filters match it.
    /// Protocol/README.md, section 5.5.
    ///
    /// Subscriptions live on when the client connects again, with a gap that the first message
    /// after it tells of (`Message.followsReconnect`).
    ///
    /// - Parameter filters: 1 to 32 topic filters.
    /// - Throws: `.invalidTopic`, `.invalidArgument`; `.refused` with the broker's reason;
    ///   `.disconnected`, `.closed`, `.cancelled`.
    public func subscribe(
        to filters: [String], options: SubscriptionOptions = SubscriptionOptions()
    ) async throws(BrokerClientError) -> Subscription {
        try await subscribe(to: filters, options: options, handler: nil)
    }

    /// Messages, in place, on the client's own thread: the fastest way to consume.
    public typealias BatchHandler = @Sendable (borrowing BatchView) -> Void

    /// Subscribes to topics, and has the messages handled where they are received, without a
    /// copy and without waking a task. Protocol/README.md, section 5.5.
    ///
    /// While the handler runs the client receives nothing, acknowledgements included: that is
    /// what holds the broker back, and so it must never block or wait for this client. It may
    /// publish (`publishIfRoom`). It is held until the subscription ends; one that holds on to
    /// the client or the subscription keeps both until then. When `Subscription.cancel` returns,
    /// a call may still be under way, and no other follows.
    ///
    /// The subscription's sequences have no elements; they finish and throw as ever.
    ///
    /// - Parameters:
    ///   - filters: 1 to 32 topic filters.
    ///   - handler: gets all messages, in order.
    /// - Throws: as above.
    public func subscribe(
        to filters: [String], options: SubscriptionOptions = SubscriptionOptions(),
        handler: @escaping BatchHandler
    ) async throws(BrokerClientError) -> Subscription {
        try await subscribe(to: filters, options: options, handler: Optional(handler))
    }

    private func subscribe(
        to filters: [String], options: SubscriptionOptions, handler: BatchHandler?
    ) async throws(BrokerClientError) -> Subscription {
        let frame = try Self.frame(filters, options)
        let handover = Handover<MessageBatch>(
            bytesMax: core.configuration.receiveBytesMax, gate: core.gate)
        let confirmation = OneShot<Void>()
        let number = try core.subscribe(
            frame, Ledger.Consumer(handover: handover, handler: handler), confirmation)
        // From here on: if this throws, the subscription goes away and unsubscribes.
        let subscription = Subscription(
            self, number: number, filters: filters, options: options, handover: handover)
        try await confirmation.value()
        return subscription
    }

    private static func frame(
        _ filters: [String], _ options: SubscriptionOptions
    ) throws(BrokerClientError) -> SubscribeFrame {
        guard (1...Limits.filtersPerSubscriptionMax).contains(filters.count) else {
            throw BrokerClientError(
                .invalidArgument,
                "a subscription has 1 to \(Limits.filtersPerSubscriptionMax) filters, "
                    + "not \(filters.count)")
        }
        let rangesMax = Limits.rangesPerSubscriptionMax
        guard options.senderUIDs.count <= rangesMax, options.senderGIDs.count <= rangesMax else {
            throw BrokerClientError(
                .invalidArgument, "a subscription has at most \(rangesMax) ranges of a kind")
        }
        for filter in filters {
            do {
                try Topic.validateFilter(filter.utf8.span)
            } catch {
                throw BrokerClientError(
                    .invalidTopic, "the topic filter '\(filter)' cannot be used: \(error)")
            }
        }
        return SubscribeFrame(
            token: 0, subscription: 0, queueBytesMax: options.queueBytesMax,
            overflow: options.overflow, filters: filters.map { Array($0.utf8) },
            uidRanges: options.senderUIDs, gidRanges: options.senderGIDs)
    }
}
