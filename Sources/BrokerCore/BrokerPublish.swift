import BrokerWire

/// The path of a published message: decide, route, append to the queue of each receiver. In
/// steady state it allocates nothing and copies the message once per receiver.
extension Broker {
    @inline(__always)
    mutating func publish(
        _ frame: PublishFrame, _ packet: Span<UInt8>, _ context: inout PacketContext,
        into effects: inout Effects
    ) {
        // Refused messages count as well: saying no has its cost, too.
        if context.isRateLimited, exceedsRate(frame.body.count, context) {
            refusePublish(frame, .quotaExceeded, packet, &context, into: &effects)
            return
        }
        let topic = packet.extracting(frame.topic)
        let hash = routes.hash(topic, subject: context.subject)
        let known = routes.find(topic, subject: context.subject, hash: hash)
        if known == nil { deliverRun(packet, &context, into: &effects) }
        let route = known ?? findRoute(topic, &context, hash: hash)
        guard route.reason == .success, frame.body.count <= messageBytesMax else {
            let reason = route.reason == .success ? ReasonCode.packetTooLarge : route.reason
            refusePublish(frame, reason, packet, &context, into: &effects)
            return
        }
        let sequence = nextSequence
        nextSequence &+= 1
        context.accepted &+= 1
        context.work &+= Work.publish &+ route.count
        if !run.isEmpty && (frame.wantsAcknowledgement || !run.takes(route)) {
            deliverRun(packet, &context, into: &effects)
        }
        if route.count >= DeliveryRun.receiversMin && !frame.wantsAcknowledgement {
            run.append(frame, sequence: sequence, route)
            return
        }
        let body = packet.extracting(frame.body)
        context.bytesToCome = packet.count &- frame.payload.upperBound
        var receivers = 0
        var index = route.first
        let end = route.first &+ route.count
        while index < end {
            let subscription = Int(routes.receivers[index])
            index &+= 1
            if subscriptions[subscription].isSelective, !admits(subscription, context) {
                continue
            }
            deliver(
                body, topicLength: frame.topic.count, sequence: sequence, to: subscription,
                &context, into: &effects)
            receivers &+= 1
        }
        if frame.wantsAcknowledgement {
            answer(
                frame, receivers > 0 ? .success : .noMatchingSubscribers, sequence: sequence,
                packet, &context, into: &effects)
        }
    }

    /// Appends one message to the queue of one subscription. The context is passed in place only
    /// so that it is not copied for each receiver.
    @inline(__always)
    mutating func deliver(
        _ body: Span<UInt8>, topicLength: Int, sequence: UInt64, to subscription: Int,
        _ context: inout PacketContext, into effects: inout Effects
    ) {
        let tail = subscriptions[subscription].queue.tail
        let number = subscriptions[subscription].number
        if tail != PacketPool.none,
            pool[tail].append(
                sequence: sequence, subscription: number, body: body, topicLength: topicLength,
                serial: context.serial)
        {
            return
        }
        let needed = DeliverFrame.overheadBytes &+ body.count
        guard
            makeRoom(for: needed, in: subscription, &context, into: &effects)
        else { return }
        let packet = subscriptions[subscription].queue.tail
        let isAppended = pool[packet].append(
            sequence: sequence, subscription: number, body: body, topicLength: topicLength,
            serial: context.serial)
        precondition(isAppended)
    }

    /// Makes the tail of the queue a packet that has `needed` bytes free and holds the sender of
    /// the packet in hand.
    ///
    /// - Returns: false if the message is not to be queued: the session is about to end.
    @inline(never)
    private mutating func makeRoom(
        for needed: Int, in subscription: Int, _ context: inout PacketContext,
        into effects: inout Effects
    ) -> Bool {
        let session = Int(subscriptions[subscription].session)
        if sessions[session].isDoomed {
            lose(1, of: subscription)
            return false
        }
        let lostBytes = FrameHeader.byteCount + FrameType.lost.fixedBytes
        let senderBytes =
            FrameHeader.byteCount + SenderRecord.byteCount + lostBytes
            + routeBytes(for: subscription, isRemote: context.link >= 0)
        let tail = subscriptions[subscription].queue.tail
        let fits =
            tail != PacketPool.none && !pool[tail].isLossNotice
            && pool[tail].buffer.freeBytes >= senderBytes + needed
        if !fits {
            let toCome = senderBytes + needed + context.bytesToCome
            let expected = tail == PacketPool.none ? toCome : pool.batchBytes
            let capacity = pool.capacity(
                needed: PacketHeader.byteCount + senderBytes + needed, expected: expected,
                limit: subscriptions[subscription].queueBytesMax)
            guard makeRoom(capacity, in: subscription, &context, into: &effects) else {
                lose(1, of: subscription)
                subscriptions[subscription].unreportedLosses += 1
                return false
            }
            let packet = pool.take(capacityBytes: capacity)
            pool[packet].acceptedNanoseconds = context.nowNanoseconds
            enqueue(packet, for: subscription, into: &effects)
        }
        let packet = subscriptions[subscription].queue.tail
        if subscriptions[subscription].unreportedLosses > 0 {
            pool[packet].buffer.appendLost(
                subscription: subscriptions[subscription].number,
                count: subscriptions[subscription].unreportedLosses)
            pool[packet].losses &+= subscriptions[subscription].unreportedLosses
            subscriptions[subscription].unreportedLosses = 0
        }
        appendSender(to: packet, for: subscription, &context)
        pool[packet].senderSerial = context.serial
        return true
    }

    // Inlined, all three: the compiler calls a function that does not mutate with a copy of the
    // whole broker.

    /// Bytes that tell where a message is from, beside its sender record.
    @inline(__always)
    private func routeBytes(for subscription: Int, isRemote: Bool) -> Int {
        if subscriptions[subscription].link >= 0 {
            return LinkFrame.routeBytes + LinkLimits.pathBytesMax
        }
        return isRemote ? LinkLimits.nameBytesMax + Limits.mappedNameBytesMax : 0
    }

    /// To a client, who sent it and the broker that attested it; to a peer, the path as well.
    private mutating func appendSender(
        to packet: Int32, for subscription: Int, _ context: inout PacketContext
    ) {
        let isRemote = context.link >= 0
        guard subscriptions[subscription].link >= 0 else {
            guard isRemote else {
                pool[packet].buffer.appendSender(context.record, origin: Span())
                return
            }
            let (origin, user) = (Array(linkTable.inbound.origin.utf8), linkTable.inbound.user)
            pool[packet].buffer.appendSender(
                context.record, origin: origin.span, user: user.span)
            return
        }
        let path = isRemote ? linkTable.inbound.pathOut : linkTable.ownPath
        precondition(!path.isEmpty && path.count <= LinkLimits.pathBytesMax)
        let epoch = isRemote ? linkTable.inbound.epoch : configuration.instance
        pool[packet].buffer.appendRoute(epoch: epoch, path: path.span)
        pool[packet].buffer.appendSender(context.record, origin: Span())
    }

    /// Applies the overflow policy until the queue may grow by `bytes`, or gives up.
    private mutating func makeRoom(
        _ bytes: Int, in subscription: Int, _ context: inout PacketContext,
        into effects: inout Effects
    ) -> Bool {
        let account = sessions[Int(subscriptions[subscription].session)].account
        while !mayGrow(subscription, by: bytes, account: account) {
            switch subscriptions[subscription].policy {
            case .block where quotas.mayQueue(account, bytes: bytes):
                // What its publishers had sent before they were held back cannot be unread. They
                // are held now, and `holdDeadlines` ends a subscriber that stays full.
                hold(context.session, by: subscription, context.nowNanoseconds, into: &effects)
                return true
            case .dropOldest where !hasDeliveriesQueued(subscription):
                // Nothing left to drop: the user's quota is used up by other subscriptions.
                return false
            case .dropOldest:
                dropOldest(of: subscription)
            case .block
            where subscriptions[subscription].link >= 0 && hasDeliveriesQueued(subscription):
                // A link is not ended for it: its peer would come back to the same queue.
                dropOldest(of: subscription)
            case .disconnect, .block:
                doomSlowSubscriber(subscription)
                return false
            }
        }
        let isFilling =
            subscriptions[subscription].queue.bytes + bytes
            > subscriptions[subscription].queueBytesMax / 2
        if subscriptions[subscription].policy == .block && isFilling {
            hold(context.session, by: subscription, context.nowNanoseconds, into: &effects)
        }
        return true
    }

    @inline(__always)
    private func hasDeliveriesQueued(_ subscription: Int) -> Bool {
        let queue = subscriptions[subscription].queue
        return !queue.isEmpty && (queue.head != queue.tail || !pool[queue.head].isLossNotice)
    }

    /// A queue always takes one message, also behind a LOST notice: the newest is never dropped
    /// for want of room in its own queue.
    @inline(__always)
    private func mayGrow(_ subscription: Int, by bytes: Int, account: Int) -> Bool {
        let fits =
            !hasDeliveriesQueued(subscription)
            || subscriptions[subscription].queue.bytes + bytes
                <= subscriptions[subscription].queueBytesMax
        return fits && quotas.mayQueue(account, bytes: bytes)
    }

    /// Chains a packet to the queue of a subscription and gives it its turn.
    private mutating func enqueue(
        _ packet: Int32, for subscription: Int, into effects: inout Effects
    ) {
        let session = Int(subscriptions[subscription].session)
        precondition(sessions[session].state != .vacant, "a message for nobody")
        subscriptions[subscription].queue.append(packet, in: &pool)
        quotas.chargeQueue(
            sessions[session].account, bytes: pool[packet].buffer.capacityBytes)
        if !subscriptions[subscription].isReady { appendReady(subscription) }
        markDirty(session, into: &effects)
    }

    /// Drops the oldest packet of a queue and says so at its place: a LOST notice stands first in
    /// the queue and grows.
    private mutating func dropOldest(of subscription: Int) {
        precondition(hasDeliveriesQueued(subscription))
        let account = sessions[Int(subscriptions[subscription].session)].account
        var lost: UInt64 = 0
        var notice = PacketPool.none
        if pool[subscriptions[subscription].queue.head].isLossNotice {
            notice = subscriptions[subscription].queue.removeFirst(in: &pool)
            lost = pool[notice].losses
            pool[notice].buffer.clear()
        } else {
            notice = pool.take(capacityBytes: PacketPool.smallBytes)
            quotas.chargeQueue(account, bytes: pool[notice].buffer.capacityBytes)
        }
        if !subscriptions[subscription].queue.isEmpty {
            let oldest = subscriptions[subscription].queue.removeFirst(in: &pool)
            let deliveries = pool[oldest].deliveries
            // What it would have reported is still to be reported.
            lost += UInt64(deliveries) + pool[oldest].losses
            lose(deliveries, of: subscription)
            quotas.releaseQueue(account, bytes: pool[oldest].buffer.capacityBytes)
            pool.giveBack(oldest)
        }
        pool[notice].isLossNotice = true
        pool[notice].losses = lost
        pool[notice].buffer.appendLost(
            subscription: subscriptions[subscription].number, count: lost)
        subscriptions[subscription].queue.prepend(notice, in: &pool)
    }

    mutating func lose(_ count: Int, of subscription: Int) {
        statistics.messagesLost += UInt64(count)
        subscriptions[subscription].messagesLost += UInt64(count)
    }

    // MARK: Routes

    /// Decides and routes a topic that is not in the cache.
    @inline(never)
    mutating func findRoute(
        _ topic: Span<UInt8>, _ context: inout PacketContext, hash: UInt64
    ) -> RouteCache.Route {
        let subject = context.subject
        context.work &+= Work.route
        routes.makeRoom()
        statistics.routeCacheMisses += 1
        do {
            try Topic.validateName(topic)
        } catch {
            return RouteCache.Route(reason: .topicNameInvalid, first: 0, count: 0)
        }
        if let reason = refusal(of: topic, context) {
            let denied = RouteCache.Route(
                reason: reason, first: routes.receivers.count, count: 0)
            routes.insert(denied, topic: topic, subject: subject, hash: hash)
            return denied
        }
        let route = routes.shareReceivers(of: collectReceivers(of: topic))
        routes.insert(route, topic: topic, subject: context.subject, hash: hash)
        return route
    }

    @inline(never)
    private mutating func exceedsRate(_ bytes: Int, _ context: PacketContext) -> Bool {
        let account = sessions[context.session].account
        guard let exceeded = quotas.chargeMessage(account, bytes: bytes) else { return false }
        latestExceeded = exceeded
        return true
    }

    /// Why a message with this topic goes nowhere, or nil.
    private mutating func refusal(
        of topic: Span<UInt8>, _ context: PacketContext
    ) -> ReasonCode? {
        let isDollar = topic[0] == Topic.dollar
        let isRemote = context.link >= 0
        if isRemote {
            let link = linkTable.links[Int(context.link)].configuration
            if isDollar { return .topicNameInvalid }
            if !link.imports(topic) { return .notImported }
        }
        if isDollar { return .notPermitted }
        let number = Int(context.subject)
        if !access.isCurrent(subjectRights[number]) {
            subjectRights[number] = access.place(of: subjects[number])
        }
        let decision = access.decide(.publish, topic: topic, at: subjectRights[number])
        // Denials of clients are noted when they are answered: each time, not once per route.
        // Nobody answers another broker's.
        if decision.isAllowed || isRemote {
            // As `note` does, but without a copy of the subject on the way.
            decisions.record(
                .publish, topic, subjects[number], decision,
                decision.rule.map { access.references[$0] })
        }
        return decision.isAllowed ? nil : .notPermitted
    }

    /// Appends the subscriptions that match, and whose subscribers may receive the topic, to the
    /// cache's receivers, each once. Every message that reaches anyone passes through here.
    mutating func collectReceivers(of topic: Span<UInt8>) -> RouteCache.Route {
        collected.removeAll(keepingCapacity: true)
        trie.collect(topic, into: &collected)
        let stamp = nextRouteStamp
        nextRouteStamp += 1
        let first = routes.receivers.count
        for index in collected.indices {
            let subscription = Int(collected[index])
            guard subscriptions[subscription].routeStamp != stamp else { continue }
            subscriptions[subscription].routeStamp = stamp
            guard mayReceive(subscription, topic, stamp: stamp) else { continue }
            routes.receivers.append(collected[index])
        }
        return RouteCache.Route(
            reason: .success, first: first, count: routes.receivers.count - first)
    }

    // MARK: The broker's own messages

    /// Delivers a message of the broker itself, to all who match or to one subscription.
    mutating func publishOwn(
        topic: [UInt8], payload: [UInt8], only subscription: Int?,
        _ context: inout PacketContext, into effects: inout Effects
    ) {
        let body = topic + payload
        let sequence = nextSequence
        nextSequence += 1
        routes.makeRoom()
        let route = collectReceivers(of: topic.span)
        for index in route.first..<(route.first + route.count) {
            let receiver = Int(routes.receivers[index])
            guard subscription == nil || subscription == receiver,
                subscriptions[receiver].admits(uid: context.record.uid, gid: context.record.gid)
            else { continue }
            deliver(
                body.span, topicLength: topic.count, sequence: sequence, to: receiver,
                &context, into: &effects)
        }
        routes.receivers.removeLast(route.count)
    }
}
