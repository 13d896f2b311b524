import BrokerWire

/// Answers, farewells and the end of sessions.
extension Broker {
    // MARK: Answers

    /// Appends a frame that is no delivery to what the session will be sent.
    ///
    /// - Parameters:
    ///   - bytes: the most that `append` will write.
    ///   - isBounded: whether it ends the session if too much waits already.
    mutating func queueControl(
        _ slot: Int, bytes: Int, isBounded: Bool = true, into effects: inout Effects,
        append: (inout PacketBuffer) -> Void
    ) {
        let tail = sessions[slot].control.tail
        if tail == PacketPool.none || pool[tail].buffer.freeBytes < bytes {
            let capacity = pool.capacity(
                needed: PacketHeader.byteCount + bytes, expected: bytes)
            let queued = sessions[slot].control.bytes + capacity
            if isBounded && queued > configuration.replyBytesPerSessionMax
                && !sessions[slot].isDoomed
            {
                doom(
                    slot, .repliesUnread,
                    "more than \(configuration.replyBytesPerSessionMax) bytes of replies "
                        + "were not read")
                return
            }
            let packet = pool.take(capacityBytes: capacity)
            quotas.chargeQueue(
                sessions[slot].account, bytes: pool[packet].buffer.capacityBytes)
            sessions[slot].control.append(packet, in: &pool)
        }
        append(&pool[sessions[slot].control.tail].buffer)
        markDirty(slot, into: &effects)
    }

    mutating func reply(_ slot: Int, _ frame: ReplyFrame, into effects: inout Effects) {
        let text = min(frame.explanation.utf8.count, Limits.explanationBytesMax)
        queueControl(slot, bytes: ReplyFrame.overheadBytes + text, into: &effects) {
            $0.appendReply(frame)
        }
    }

    /// Answers a PUBLISH, together with its neighbours if they fare alike.
    @inline(__always)
    mutating func answer(
        _ frame: PublishFrame, _ reason: ReasonCode, sequence: UInt64, _ packet: Span<UInt8>,
        _ context: inout PacketContext, into effects: inout Effects
    ) {
        if let pending = context.pendingReply, pending.reason == reason,
            frame.token == pending.token &+ pending.count,
            sequence == 0 || sequence == pending.sequence &+ UInt64(pending.count)
        {
            context.pendingReply?.count &+= 1
            return
        }
        flushReply(&context, packet, into: &effects)
        context.pendingReply = PendingReply(
            token: frame.token, count: 1, sequence: sequence, reason: reason,
            topic: frame.topic)
    }

    mutating func refusePublish(
        _ frame: PublishFrame, _ reason: ReasonCode, _ packet: Span<UInt8>,
        _ context: inout PacketContext, into effects: inout Effects
    ) {
        statistics.publishesRefused &+= 1
        sessions[context.session].publishesRefused &+= 1
        context.work &+= Work.refusal
        if reason == .notPermitted { decisions.countDenial(.publish, uid: context.record.uid) }
        answer(frame, reason, sequence: 0, packet, &context, into: &effects)
    }

    mutating func flushReply(
        _ context: inout PacketContext, _ packet: Span<UInt8>, into effects: inout Effects
    ) {
        guard let pending = context.pendingReply else { return }
        context.pendingReply = nil
        var frame = ReplyFrame(
            token: pending.token, count: pending.count, sequence: pending.sequence,
            reason: pending.reason, request: .publish)
        if !pending.reason.isSuccess {
            let (explanation, denial) = explain(pending, packet, context)
            frame.explanation = explanation
            context.work &+= Work.explanation
            effects.note(
                .publishRefused, sessions[context.session], pending.reason, frame.explanation,
                denial: denial)
        }
        reply(context.session, frame, into: &effects)
    }

    /// Says in words why publishes were refused.
    private mutating func explain(
        _ pending: PendingReply, _ packet: Span<UInt8>, _ context: PacketContext
    ) -> (String, Effects.Denial?) {
        let bytes = packet.extracting(pending.topic)
        let topic = bytes.text().prefix(utf8Bytes: 256).debugDescription
        switch pending.reason {
        case .topicNameInvalid:
            do throws(Topic.Violation) {
                try Topic.validateName(bytes)
            } catch {
                return ("topic \(topic) is invalid: \(error)", nil)
            }
            return ("topic \(topic) is invalid", nil)
        case .packetTooLarge:
            let text =
                "topic and payload together may have \(configuration.messageBytesMax) bytes; "
                + Limits.advice(packetBytesMax: configuration.packetBytesMax)
            return (text, nil)
        case .quotaExceeded:
            return (latestExceeded?.explanation ?? "", nil)
        case .notPermitted where !bytes.isEmpty && bytes[0] == Topic.dollar:
            return ("topic \(topic) is the broker's own", nil)
        default:
            // The route found it denied under the same rules.
            let subject = subject(of: context.record, session: context.session)
            let decision = access.rights(of: subject).decide(.publish, topic: bytes)
            note(decision, .publish, bytes, subject, counting: false)
            return (
                explain("publish to \(topic)", decision),
                denial(decision, .publish, bytes.copied(), subject)
            )
        }
    }

    // MARK: The end of sessions

    /// Marks a session to be ended after the packet in hand: receivers must not vanish while a
    /// message is being routed.
    mutating func doom(_ slot: Int, _ reason: ReasonCode, _ explanation: String) {
        guard !sessions[slot].isDoomed else { return }
        precondition(sessions[slot].state != .vacant, "nobody to end")
        sessions[slot].isDoomed = true
        doomed.append((Int32(slot), Session.Farewell(reason: reason, explanation: explanation)))
    }

    mutating func doomSlowSubscriber(_ subscription: Int) {
        let slot = Int(subscriptions[subscription].session)
        guard !sessions[slot].isDoomed else { return }
        statistics.subscribersTooSlow += 1
        let number = subscriptions[subscription].number
        let waiting = subscriptions[subscription].queue.bytes
        doom(
            slot, .slowSubscriber,
            "subscription \(number) did not read: \(waiting) bytes were waiting, "
                + "its limit is \(subscriptions[subscription].queueBytesMax)")
    }

    /// Ends the sessions that were doomed while an event was handled.
    mutating func endDoomed(nowNanoseconds: UInt64, into effects: inout Effects) {
        while let (slot, farewell) = doomed.popLast() {
            let index = Int(slot)
            effects.note(
                .sessionEnded, sessions[index], farewell.reason, farewell.explanation)
            for subscription in sessions[index].subscriptions.values {
                lose(queuedDeliveries(of: Int(subscription)), of: Int(subscription))
            }
            discardSubscriptions(of: index, into: &effects)
            drain(index, farewell, nowNanoseconds: nowNanoseconds, into: &effects)
        }
    }

    /// Reads nothing more; sends what is queued, then the farewell, then closes.
    mutating func drain(
        _ slot: Int, _ farewell: Session.Farewell, nowNanoseconds: UInt64,
        into effects: inout Effects
    ) {
        precondition(sessions[slot].state != .vacant && sessions[slot].state != .closing)
        finishGreeting(of: slot)
        sessions[slot].state = .draining(farewell: farewell)
        releaseHold(of: slot)
        effects.pause(sessions[slot].id)
        drainDeadlines.append(sessions[slot].id, nowNanoseconds: nowNanoseconds)
        continueDraining(slot, into: &effects)
    }

    /// The next step of a draining session, once something has been sent.
    mutating func continueDraining(_ slot: Int, into effects: inout Effects) {
        guard case .draining(let farewell) = sessions[slot].state else { return }
        if let farewell {
            guard sessions[slot].readyHead == PacketPool.none else { return }
            sessions[slot].state = .draining(farewell: nil)
            // A doomed session is never refused its farewell for lack of room.
            sessions[slot].isDoomed = true
            queueControl(
                slot, bytes: FrameHeader.byteCount + 4 + Limits.explanationBytesMax,
                into: &effects
            ) {
                $0.appendDisconnect(reason: farewell.reason, explanation: farewell.explanation)
            }
        } else if sessions[slot].hasNothingQueued {
            close(slot, into: &effects)
        }
    }

    mutating func close(_ slot: Int, into effects: inout Effects) {
        precondition(sessions[slot].state != .vacant && sessions[slot].state != .closing)
        finishGreeting(of: slot)
        sessions[slot].state = .closing
        // Until the shell has closed it, its subscriptions may be found: nothing ends it twice.
        sessions[slot].isDoomed = true
        effects.closing.append(sessions[slot].id)
    }

    /// Whether the session is being ended: nothing more is read from it.
    package func isEnding(_ id: SessionID) -> Bool {
        guard let slot = slot(of: id) else { return true }
        switch sessions[slot].state {
        case .draining, .closing: return true
        case .vacant, .greeting, .active: return false
        }
    }

    mutating func discardControl(of slot: Int) {
        while !sessions[slot].control.isEmpty {
            let packet = sessions[slot].control.removeFirst(in: &pool)
            quotas.releaseQueue(
                sessions[slot].account, bytes: pool[packet].buffer.capacityBytes)
            pool.giveBack(packet)
        }
    }
}
