/// Publishing comes in two kinds. `publish` hands the message over and goes on: it waits only
/// while more than `Configuration.pendingBytesMax` is pending, and a refusal shows up in
/// `refusals`. `publishAcknowledged` waits for the broker's answer.
///
/// Messages are sent at once while little is going on, and many to a packet under load.
/// While the client is between two sessions, messages are kept for the next one.
extension BrokerClient {
    /// Publishes a message. Protocol/README.md, section 5.3.
    ///
    /// - Throws: `.invalidTopic`, `.messageTooLarge`; `.disconnected` or `.closed` once the
    ///   client has ended; `.cancelled` while waiting for room.
    public func publish(
        _ payload: Span<UInt8>, to topic: some TopicName
    ) async throws(BrokerClientError) {
        let topic = try topic.checkedBytes()
        while let room = try core.publish(payload, to: topic, acknowledgement: nil) {
            try await room.value()
        }
    }

    public func publish(
        _ payload: [UInt8], to topic: some TopicName
    ) async throws(BrokerClientError) {
        try await publish(payload.span, to: topic)
    }

    public func publish(
        _ payload: String, to topic: some TopicName
    ) async throws(BrokerClientError) {
        try await publish(payload.utf8.span, to: topic)
    }

    /// Publishes a message if there is room for it, without ever waiting.
    ///
    /// - Returns: false if more than `Configuration.pendingBytesMax` is pending.
    /// - Throws: `.invalidTopic`, `.messageTooLarge`; `.disconnected` or `.closed` once the
    ///   client has ended.
    public func publishIfRoom(
        _ payload: Span<UInt8>, to topic: some TopicName
    ) throws(BrokerClientError) -> Bool {
        try core.publish(payload, to: try topic.checkedBytes(), acknowledgement: nil) == nil
    }

    // MARK: Several at once

    /// Publishes messages of one topic, in order, for a fraction of what they cost one by one.
    /// They may share packets whatever `Configuration.gathers` says.
    ///
    /// - Parameters:
    ///   - payloads: of all messages, one behind the other.
    ///   - byteCounts: how many bytes of them each message has. Their sum is `payloads.count`.
    /// - Throws: as `publish` of one. `.invalidTopic` and `.messageTooLarge` before any of them is
    ///   taken.
    public func publish(
        _ payloads: Span<UInt8>, byteCounts: Span<Int>, to topic: some TopicName
    ) async throws(BrokerClientError) {
        let topic = try topic.checkedBytes()
        var taken = PayloadPosition(byteCounts: byteCounts, in: payloads)
        while let room = try core.publish(
            payloads, byteCounts: byteCounts, from: &taken, to: topic)
        {
            try await room.value()
        }
    }

    /// As above, as many as there is room for, without ever waiting.
    ///
    /// - Returns: how many were taken: the first ones.
    public func publishIfRoom(
        _ payloads: Span<UInt8>, byteCounts: Span<Int>, to topic: some TopicName
    ) throws(BrokerClientError) -> Int {
        var taken = PayloadPosition(byteCounts: byteCounts, in: payloads)
        _ = try core.publish(
            payloads, byteCounts: byteCounts, from: &taken, to: try topic.checkedBytes())
        return taken.index
    }

    // MARK: Acknowledged

    /// Publishes a message and waits until the broker has accepted it.
    /// Protocol/README.md, sections 5.3 and 5.4.
    ///
    /// - Throws: `.refused` with the broker's reason; `.disconnected` if the session ended
    ///   first: then nobody knows whether the message arrived; `.invalidTopic`,
    ///   `.messageTooLarge`, `.closed`, `.cancelled`.
    @discardableResult
    public func publishAcknowledged(
        _ payload: Span<UInt8>, to topic: some TopicName
    ) async throws(BrokerClientError) -> Acknowledgement {
        let topic = try topic.checkedBytes()
        let acknowledgement = OneShot<Acknowledgement>()
        while let room = try core.publish(payload, to: topic, acknowledgement: acknowledgement) {
            try await room.value()
        }
        return try await acknowledgement.value()
    }

    @discardableResult
    public func publishAcknowledged(
        _ payload: [UInt8], to topic: some TopicName
    ) async throws(BrokerClientError) -> Acknowledgement {
        try await publishAcknowledged(payload.span, to: topic)
    }

    @discardableResult
    public func publishAcknowledged(
        _ payload: String, to topic: some TopicName
    ) async throws(BrokerClientError) -> Acknowledgement {
        try await publishAcknowledged(payload.utf8.span, to: topic)
    }

    /// Refusals of publishes that were not awaited. It has one consumer; the first 256 that
    /// nobody reads are kept, `Refusal.leftOutBefore` counts the others. It finishes with the
    /// client.
    public var refusals: Refusals { Refusals(handover: core.refusals) }

    /// See `BrokerClient.refusals`.
    public struct Refusals: AsyncSequence, Sendable {
        public typealias Element = Refusal
        public typealias Failure = BrokerClientError

        let handover: Handover<Refusal>

        public func makeAsyncIterator() -> Iterator { Iterator(handover: handover) }

        public struct Iterator: AsyncIteratorProtocol {
            let handover: Handover<Refusal>

            public func next() async throws(BrokerClientError) -> Refusal? {
                try await handover.next()
            }
        }
    }
}
