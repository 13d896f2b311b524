import BrokerWire

/// Messages of one packet that go to the same receivers, many of them, in the order in which they
/// were accepted. They are delivered receiver by receiver: the queues of a hundred receivers are
/// larger than the processor's cache, and to go through all of them for each message would cost
/// a miss or more for each delivery.
struct DeliveryRun {
    struct Message {
        /// Topic and payload in the packet.
        let body: Range<Int>
        let topicLength: Int
        let sequence: UInt64
    }

    /// Fewer receivers get each message at once.
    static let receiversMin = 16
    /// Messages that wait for each other.
    static let messagesMax = 64

    private(set) var messages: [Message] = []
    private(set) var route = RouteCache.Route(reason: .success, first: 0, count: 0)

    var isEmpty: Bool { messages.isEmpty }

    /// Whether a message with this route may wait with those that are waiting already.
    func takes(_ other: RouteCache.Route) -> Bool {
        isEmpty || (other == route && messages.count < Self.messagesMax)
    }

    mutating func append(_ frame: PublishFrame, sequence: UInt64, _ route: RouteCache.Route) {
        precondition(takes(route), "other receivers")
        precondition(sequence > messages.last?.sequence ?? 0, "out of order")
        self.route = route
        messages.append(
            Message(body: frame.body, topicLength: frame.topic.count, sequence: sequence))
    }

    mutating func clear() {
        messages.removeAll(keepingCapacity: true)
    }
}

extension Broker {
    /// Delivers what waits in the run. Called before anything else happens that its receivers or
    /// the route could notice.
    @inline(never)
    mutating func deliverRun(
        _ packet: Span<UInt8>, _ context: inout PacketContext, into effects: inout Effects
    ) {
        guard !run.isEmpty else { return }
        let end = run.route.first + run.route.count
        precondition(end <= routes.receivers.count, "the route has changed under the run")
        for index in run.route.first..<end {
            let subscription = Int(routes.receivers[index])
            if subscriptions[subscription].isSelective, !admits(subscription, context) {
                continue
            }
            for number in run.messages.indices {
                let message = run.messages[number]
                context.bytesToCome = packet.count &- message.body.upperBound
                deliver(
                    packet.extracting(message.body), topicLength: message.topicLength,
                    sequence: message.sequence, to: subscription, &context, into: &effects)
            }
        }
        run.clear()
    }
}
