import BasicContainers
import BrokerWire

/// A packet handed to the shell, and the queue it stands first in.
struct Outgoing {
    let packet: Int32
    /// Subscription whose queue it is in; none: the control queue.
    let subscription: Int32
}

/// Handing packets to the shell. The shell asks for up to four, sends them, and reports how many
/// the kernel took; nothing leaves a queue before that.
extension Broker {
    package static var outboundPacketsMax: Int { 4 }

    /// Chooses and seals the packets to send next: replies first, then the subscriptions in turn.
    ///
    /// - Returns: how many there are, 0 to 4; `outboundPacket` gives them.
    package mutating func prepareOutbound(_ id: SessionID) -> Int {
        outgoing.removeAll(keepingCapacity: true)
        guard let slot = slot(of: id) else { return 0 }
        sessions[slot].isDirty = false
        if sessions[slot].state == .closing { return 0 }
        gather(sessions[slot].control, subscription: PacketPool.none)
        let head = sessions[slot].readyHead
        if head != PacketPool.none && head == sessions[slot].readyTail {
            gather(subscriptions[Int(head)].queue, subscription: head)
        } else {
            var turn = head
            while turn != PacketPool.none && outgoing.count < Self.outboundPacketsMax {
                let packet = subscriptions[Int(turn)].queue.head
                outgoing.append(Outgoing(packet: packet, subscription: turn))
                turn = subscriptions[Int(turn)].nextReady
            }
        }
        for entry in outgoing { pool[entry.packet].buffer.seal() }
        return outgoing.count
    }

    private mutating func gather(_ queue: PacketQueue, subscription: Int32) {
        var packet = queue.head
        while packet != PacketPool.none && outgoing.count < Self.outboundPacketsMax {
            outgoing.append(Outgoing(packet: packet, subscription: subscription))
            packet = pool[packet].next
        }
    }

    /// The bytes of a prepared packet; empty if there are not that many.
    @_lifetime(borrow self)
    package borrowing func outboundPacket(_ index: Int) -> Span<UInt8> {
        guard index < outgoing.count else { return Span() }
        return pool.packets[Int(outgoing[index].packet)].buffer.span
    }

    /// The kernel took the first `count` of the prepared packets.
    ///
    /// - Returns: whether more is waiting.
    package mutating func outboundSent(
        _ id: SessionID, count: Int, into effects: inout Effects
    ) -> Bool {
        guard let slot = slot(of: id) else { return false }
        precondition(count >= 0 && count <= outgoing.count)
        for index in 0..<count { retire(outgoing[index], of: slot, into: &effects) }
        outgoing.removeAll(keepingCapacity: true)
        continueDraining(slot, into: &effects)
        return !sessions[slot].hasNothingQueued
    }

    /// The socket takes no more until it is writable again; until then the session is not dirty.
    package mutating func outboundBlocked(_ id: SessionID) {
        guard let slot = slot(of: id) else { return }
        sessions[slot].isWriteBlocked = true
    }

    package mutating func outboundWritable(_ id: SessionID) {
        guard let slot = slot(of: id) else { return }
        sessions[slot].isWriteBlocked = false
    }

    /// Takes a sent packet out of its queue and gives everything back that it held.
    private mutating func retire(
        _ entry: Outgoing, of slot: Int, into effects: inout Effects
    ) {
        let packet: Int32
        if entry.subscription == PacketPool.none {
            packet = sessions[slot].control.removeFirst(in: &pool)
        } else {
            let index = Int(entry.subscription)
            packet = subscriptions[index].queue.removeFirst(in: &pool)
            let deliveries = UInt64(pool[packet].deliveries)
            statistics.messagesDelivered &+= deliveries
            subscriptions[index].messagesDelivered &+= deliveries
            sessions[slot].messagesDelivered &+= deliveries
            takeTurn(index, of: slot)
            let isRelieved =
                subscriptions[index].queue.bytes <= subscriptions[index].queueBytesMax / 4
            if subscriptions[index].holdsPublishers && isRelieved {
                release(subscription: index, into: &effects)
            }
        }
        precondition(packet == entry.packet)
        statistics.packetsSent &+= 1
        statistics.bytesSent &+= UInt64(pool[packet].buffer.byteCount)
        quotas.releaseQueue(sessions[slot].account, bytes: pool[packet].buffer.capacityBytes)
        pool.giveBack(packet)
    }

    // MARK: Turns

    mutating func appendReady(_ subscription: Int) {
        precondition(!subscriptions[subscription].isReady)
        precondition(!subscriptions[subscription].queue.isEmpty, "a turn for nothing")
        let slot = Int(subscriptions[subscription].session)
        let last = sessions[slot].readyTail
        subscriptions[subscription].previousReady = last
        subscriptions[subscription].nextReady = PacketPool.none
        if last == PacketPool.none {
            sessions[slot].readyHead = Int32(subscription)
        } else {
            subscriptions[Int(last)].nextReady = Int32(subscription)
        }
        sessions[slot].readyTail = Int32(subscription)
        subscriptions[subscription].isReady = true
    }

    /// The first in turn has sent a packet: it goes to the end of the line, or leaves it.
    private mutating func takeTurn(_ subscription: Int, of slot: Int) {
        precondition(sessions[slot].readyHead == Int32(subscription))
        removeReady(subscription)
        if !subscriptions[subscription].queue.isEmpty { appendReady(subscription) }
    }

    /// Takes a subscription out of the line, wherever it stands.
    mutating func removeReady(_ subscription: Int) {
        precondition(subscriptions[subscription].isReady)
        let slot = Int(subscriptions[subscription].session)
        let previous = subscriptions[subscription].previousReady
        let next = subscriptions[subscription].nextReady
        if previous == PacketPool.none {
            sessions[slot].readyHead = next
        } else {
            subscriptions[Int(previous)].nextReady = next
        }
        if next == PacketPool.none {
            sessions[slot].readyTail = previous
        } else {
            subscriptions[Int(next)].previousReady = previous
        }
        subscriptions[subscription].isReady = false
        subscriptions[subscription].previousReady = PacketPool.none
        subscriptions[subscription].nextReady = PacketPool.none
    }

    /// Tells the shell, once, that a session has something to send.
    mutating func markDirty(_ slot: Int, into effects: inout Effects) {
        guard !sessions[slot].isDirty, !sessions[slot].isWriteBlocked else { return }
        sessions[slot].isDirty = true
        if sessions[slot].link >= 0 {
            let connection = linkTable.links[Int(sessions[slot].link)].connection
            if let id = connection, let connection = linkTable.slot(of: id) {
                markReady(connection, into: &effects)
            }
            return
        }
        effects.dirty.append(sessions[slot].id)
    }
}
