import BrokerWire

/// Subscribing, unsubscribing, and what a subscription leaves behind when it ends.
extension Broker {
    mutating func subscribe(
        _ frame: SubscribeFrame, _ context: PacketContext, into effects: inout Effects
    ) {
        let slot = context.session
        let refusal = refusal(of: frame, context)
        var answer = ReplyFrame(token: frame.token, reason: .success, request: .subscribe)
        if let refusal {
            answer.reason = refusal.reason
            answer.explanation = refusal.explanation
            statistics.subscribesRefused += 1
            effects.note(
                .subscribeRefused, sessions[slot], refusal.reason, refusal.explanation,
                denial: refusal.denial)
            reply(slot, answer, into: &effects)
            return
        }
        let bytes = Subscription.bytes(
            filters: frame.filters, ranges: frame.uidRanges.count + frame.gidRanges.count)
        do {
            try quotas.chargeSubscription(sessions[slot].account, bytes: bytes)
        } catch {
            answer.reason = .quotaExceeded
            answer.explanation = error.explanation
            statistics.subscribesRefused += 1
            reply(slot, answer, into: &effects)
            return
        }
        let subscription = makeSubscription(frame, bytes: bytes, context)
        localInterestChanged(frame.filters, by: 1, into: &effects)
        reply(slot, answer, into: &effects)
        if frame.wantsSystemTopics {
            publishSystemTopics(
                only: subscription, nowNanoseconds: context.nowNanoseconds,
                wallNanoseconds: context.record.timeNanoseconds, into: &effects)
        }
    }

    mutating func unsubscribe(
        _ frame: UnsubscribeFrame, _ context: PacketContext, into effects: inout Effects
    ) {
        let slot = context.session
        var answer = ReplyFrame(token: frame.token, reason: .success, request: .unsubscribe)
        if let subscription = sessions[slot].subscriptions[frame.subscription] {
            discard(Int(subscription), into: &effects)
        } else {
            answer.reason = .subscriptionUnknown
            answer.explanation = "this session has no subscription \(frame.subscription)"
        }
        reply(slot, answer, into: &effects)
    }

    /// Why a SUBSCRIBE is not granted, or nil.
    private mutating func refusal(
        of frame: SubscribeFrame, _ context: PacketContext
    ) -> (reason: ReasonCode, explanation: String, denial: Effects.Denial?)? {
        if let (reason, explanation) = invalidity(of: frame, context) {
            return (reason, explanation, nil)
        }
        guard let policy = OverflowPolicy(rawValue: frame.overflow) else { return nil }
        return denial(of: frame, policy, context)
    }

    /// What is wrong with a SUBSCRIBE, whoever sends it.
    private func invalidity(
        of frame: SubscribeFrame, _ context: PacketContext
    ) -> (reason: ReasonCode, explanation: String)? {
        let session = context.session
        if let explanation = frame.countViolation { return (.optionInvalid, explanation) }
        for filter in frame.filters {
            do throws(Topic.Violation) {
                try Topic.validateFilter(filter.span)
            } catch {
                let text = String(decoding: filter, as: UTF8.self).debugDescription
                return (.topicFilterInvalid, "filter \(text) is invalid: \(error)")
            }
        }
        guard OverflowPolicy(rawValue: frame.overflow) != nil else {
            return (.optionInvalid, "overflow \(frame.overflow) is not 0, 1 or 2")
        }
        for range in frame.uidRanges + frame.gidRanges where range.first > range.last {
            return (.optionInvalid, "range \(range.first)-\(range.last) is empty")
        }
        if Int(frame.queueBytesMax) > configuration.queueBytesPerSubscriptionMax {
            let limit = configuration.queueBytesPerSubscriptionMax
            return (.optionInvalid, "queueBytesMax is above the limit of \(limit) bytes")
        }
        if sessions[session].subscriptions[frame.subscription] != nil {
            return (.subscriptionInUse, "subscription \(frame.subscription) exists already")
        }
        if sessions[session].subscriptions.count >= Limits.subscriptionsPerSessionMax {
            let limit = Limits.subscriptionsPerSessionMax
            return (.quotaExceeded, "this session is at its limit of \(limit) subscriptions")
        }
        return nil
    }

    /// Each filter must bring something; `block` needs a right to all that it matches.
    private mutating func denial(
        of frame: SubscribeFrame, _ policy: OverflowPolicy, _ context: PacketContext
    ) -> (reason: ReasonCode, explanation: String, denial: Effects.Denial?)? {
        let subject = subject(of: context.record, session: context.session)
        let rights = access.rights(of: subject)
        for filter in frame.filters {
            let decision = rights.decideSubscription(to: filter)
            note(decision, .subscribe, filter.span, subject)
            if !decision.isAllowed {
                let text = explain("subscribe to \(Self.quoted(filter))", decision)
                return (.notPermitted, text, denial(decision, .subscribe, filter, subject))
            }
            guard policy == .block else { continue }
            let blocking = rights.decideBlocking(on: filter)
            note(blocking, .block, filter.span, subject)
            if !blocking.isAllowed {
                let text = explain("hold publishers to \(Self.quoted(filter)) back", blocking)
                return (.notPermitted, text, denial(blocking, .block, filter, subject))
            }
        }
        return nil
    }

    private mutating func makeSubscription(
        _ frame: SubscribeFrame, bytes: Int, _ context: PacketContext
    ) -> Int {
        let slot = context.session
        let index = Int(freeSubscriptions.popLast() ?? Int32(subscriptions.count))
        if index == subscriptions.count { subscriptions.append(Subscription()) }
        precondition(subscriptions[index].session < 0, "the slot is taken")
        precondition(frame.countViolation == nil, "what was not judged is not granted")
        let generation = subscriptions[index].generation &+ 1
        let limit = configuration.queueBytesPerSubscriptionMax
        var subscription = Subscription()
        subscription.session = Int32(slot)
        subscription.number = frame.subscription
        subscription.generation = generation
        subscription.policy = OverflowPolicy(rawValue: frame.overflow) ?? .disconnect
        subscription.queueBytesMax = frame.queueBytesMax == 0 ? limit : Int(frame.queueBytesMax)
        subscription.uidRanges = frame.uidRanges.map { IDRange(first: $0.first, last: $0.last) }
        subscription.gidRanges = frame.gidRanges.map { IDRange(first: $0.first, last: $0.last) }
        subscription.isSelective = !frame.uidRanges.isEmpty || !frame.gidRanges.isEmpty
        subscription.filters = frame.filters
        subscription.bytes = bytes
        subscription.subject = subject(of: context.record, session: slot)
        for filter in frame.filters {
            subscription.entries.append(
                trie.insert(filter.span, subscription: UInt32(index)))
        }
        subscriptions[index] = subscription
        sessions[slot].subscriptions[frame.subscription] = Int32(index)
        routes.invalidate()
        return index
    }

    /// Ends one subscription: filters, queue, charges, held publishers.
    mutating func discard(_ index: Int, into effects: inout Effects) {
        let slot = Int(subscriptions[index].session)
        precondition(slot >= 0, "the subscription has ended already")
        for entry in subscriptions[index].entries { trie.remove(entry) }
        localInterestChanged(subscriptions[index].filters, by: -1, into: &effects)
        routes.invalidate()
        release(subscription: index, into: &effects)
        if subscriptions[index].isReady { removeReady(index) }
        while !subscriptions[index].queue.isEmpty {
            let packet = subscriptions[index].queue.removeFirst(in: &pool)
            quotas.releaseQueue(
                sessions[slot].account, bytes: pool[packet].buffer.capacityBytes)
            pool.giveBack(packet)
        }
        quotas.releaseSubscription(sessions[slot].account, bytes: subscriptions[index].bytes)
        sessions[slot].subscriptions[subscriptions[index].number] = nil
        let generation = subscriptions[index].generation
        subscriptions[index] = Subscription()
        subscriptions[index].generation = generation
        freeSubscriptions.append(Int32(index))
    }

    mutating func discardSubscriptions(of slot: Int, into effects: inout Effects) {
        for index in Array(sessions[slot].subscriptions.values) {
            discard(Int(index), into: &effects)
        }
    }

    // MARK: Holding publishers back

    /// Stops reading from a publisher until the subscription has room again.
    mutating func hold(
        _ publisher: Int, by subscription: Int, _ nowNanoseconds: UInt64,
        into effects: inout Effects
    ) {
        if !subscriptions[subscription].holdsPublishers {
            subscriptions[subscription].holdsPublishers = true
            holdDeadlines.append(
                Hold(
                    subscription: Int32(subscription),
                    generation: subscriptions[subscription].generation),
                nowNanoseconds: nowNanoseconds)
        }
        // The broker's own messages have no session to pause.
        guard publisher >= 0, sessions[publisher].isReading else { return }
        precondition(subscriptions[subscription].policy == .block)
        sessions[publisher].pausedBy = Int32(subscription)
        statistics.publishersPaused += 1
        effects.pause(sessions[publisher].id)
    }

    /// Lets the publishers go on that this subscription held back.
    mutating func release(subscription index: Int, into effects: inout Effects) {
        guard subscriptions[index].holdsPublishers else { return }
        subscriptions[index].holdsPublishers = false
        // A new hold has a deadline of its own.
        subscriptions[index].generation &+= 1
        for slot in sessions.indices where sessions[slot].pausedBy == Int32(index) {
            sessions[slot].pausedBy = PacketPool.none
            if sessions[slot].isReading { effects.resume(sessions[slot].id) }
        }
    }

    /// A publisher goes away: nobody holds it back any more.
    mutating func releaseHold(of slot: Int) {
        sessions[slot].pausedBy = PacketPool.none
    }
}

extension SubscribeFrame {
    /// A new subscription to the broker's own topics gets them at once.
    var wantsSystemTopics: Bool {
        filters.contains { $0.starts(with: "$SYS".utf8) }
    }
}
