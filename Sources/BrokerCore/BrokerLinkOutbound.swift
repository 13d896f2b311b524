import BasicContainers
package import BrokerWire

/// What goes to a peer: control first, then batches, each kept until it is acknowledged.
/// Protocol/forwarding.md, sections 5, 7 and 8.
extension Broker {
    /// Bytes that the shell is given at a time, a last envelope more or less.
    private static var outputBytesTarget: Int { 4 * Limits.batchBytesTarget }
    /// Filters are announced in envelopes of this size.
    private static var controlBytesTarget: Int { Limits.batchBytesTarget / 2 }

    /// Appends what is ready to be sent on a connection, as much as is good to send at a time.
    /// The shell asks again when it has sent that.
    package mutating func linkOutput(
        _ id: LinkConnectionID, into output: inout LinkOutput, nowNanoseconds: UInt64,
        effects: inout Effects
    ) {
        guard let slot = linkTable.slot(of: id) else { return }
        let bytesBefore = output.pendingBytes
        linkTable.connections[slot].isReady = false
        let handshake = linkTable.connections[slot].pending
        output.append(copying: handshake.span)
        linkTable.connections[slot].pending.removeAll(keepingCapacity: true)
        if linkTable.connections[slot].state == .established {
            let link = linkTable.connections[slot].link
            sessions[Int(linkTable.links[link].session)].isDirty = false
            while output.pendingBytes < Self.outputBytesTarget {
                if isControlDue(slot) {
                    appendControl(
                        slot, into: &output, nowNanoseconds: nowNanoseconds,
                        effects: &effects)
                } else if !appendBatch(slot, link, into: &output, effects: &effects) {
                    break
                }
            }
            let sent = UInt64(output.pendingBytes - bytesBefore)
            linkTable.links[link].statistics.bytesSent &+= sent
        }
    }

    // MARK: Control

    private func isControlDue(_ slot: Int) -> Bool {
        let link = linkTable.connections[slot].link
        return linkTable.links[link].owesAcknowledgement
            || linkTable.connections[slot].pongOwed != nil
            || linkTable.connections[slot].pingOwed || isRotationDue(slot)
            || !linkTable.links[link].toAnnounce.isEmpty
            || linkTable.links[link].owesInterestEnd
    }

    private mutating func appendControl(
        _ slot: Int, into output: inout LinkOutput, nowNanoseconds: UInt64,
        effects: inout Effects
    ) {
        let link = linkTable.connections[slot].link
        precondition(linkTable.connections[slot].state == .established)
        var body = LinkOutput()
        if linkTable.links[link].owesAcknowledgement {
            linkTable.links[link].owesAcknowledgement = false
            body.appendFrame(.acknowledge, number: linkTable.links[link].receivedBatch)
        }
        if let nonce = linkTable.connections[slot].pongOwed {
            linkTable.connections[slot].pongOwed = nil
            body.appendFrame(.pong, number: nonce)
        }
        if linkTable.connections[slot].pingOwed {
            linkTable.connections[slot].pingOwed = false
            linkTable.connections[slot].nextPingNanoseconds = nowNanoseconds + Self.pingInterval
            let first = linkTable.connections[slot].pingNonces?.lowerBound ?? nowNanoseconds
            linkTable.connections[slot].pingNonces = first...nowNanoseconds
            body.appendFrame(.ping, number: nowNanoseconds)
        }
        appendInterest(link, into: &body, bytesMax: Self.controlBytesTarget)
        appendRotation(slot, into: &body)
        guard !body.isEmpty else { return }
        let bytes = body.pending.copied()
        seal(.control, on: slot, into: &output) { $0.append(copying: bytes.span) }
        finishRotation(slot, into: &effects)
    }

    // MARK: Batches

    /// Appends the batch that is next, if the window allows another one.
    private mutating func appendBatch(
        _ slot: Int, _ link: Int, into output: inout LinkOutput, effects: inout Effects
    ) -> Bool {
        var packet = linkTable.links[link].resend
        let number: UInt64
        if packet != PacketPool.none {
            number = linkTable.links[link].resendBatch
            linkTable.links[link].resend = pool[packet].next
            linkTable.links[link].resendBatch += 1
            linkTable.links[link].statistics.batchesResent += 1
        } else {
            packet = takePacket(link, into: &effects)
            if packet == PacketPool.none { return false }
            number = linkTable.links[link].nextBatch
            linkTable.links[link].nextBatch += 1
            linkTable.links[link].statistics.batchesSent += 1
        }
        linkTable.links[link].checkInvariants()
        appendBatch(number, packet, on: slot, into: &output)
        return true
    }

    private mutating func appendBatch(
        _ number: UInt64, _ packet: Int32, on slot: Int, into output: inout LinkOutput
    ) {
        // The pool is read while the envelope is written: taken out, so that both may be used.
        var pool = PacketPool(packetBytesMax: configuration.packetBytesMax)
        swap(&pool, &self.pool)
        seal(.data, on: slot, into: &output) { body in
            body.append(littleEndian: number)
            body.append(copying: pool.packets[Int(packet)].buffer.span)
        }
        swap(&pool, &self.pool)
    }

    /// Moves the first packet of the queue among those that wait for an acknowledgement.
    private mutating func takePacket(_ link: Int, into effects: inout Effects) -> Int32 {
        let index = Int(linkTable.links[link].subscription)
        let head = subscriptions[index].queue.head
        guard head != PacketPool.none else { return head }
        let waiting = linkTable.links[link].unacknowledged.bytes
        let bytes = pool[head].buffer.capacityBytes
        guard waiting == 0 || waiting + bytes <= LinkLimits.windowBytes else {
            return PacketPool.none
        }
        precondition(subscriptions[index].isReady, "a queue that nobody was told of")
        let packet = subscriptions[index].queue.removeFirst(in: &pool)
        if subscriptions[index].queue.isEmpty { removeReady(index) }
        let isRelieved =
            subscriptions[index].queue.bytes <= subscriptions[index].queueBytesMax / 4
        if subscriptions[index].holdsPublishers && isRelieved {
            release(subscription: index, into: &effects)
        }
        pool[packet].buffer.seal()
        linkTable.links[link].unacknowledged.append(packet, in: &pool)
        let messages = UInt64(pool[packet].deliveries)
        linkTable.links[link].statistics.messagesSent &+= messages
        subscriptions[index].messagesDelivered &+= messages
        return packet
    }

    /// The peer has accepted all batches up to this one.
    mutating func acknowledge(
        _ link: Int, upTo batch: UInt64, nowNanoseconds: UInt64, into effects: inout Effects
    ) throws(LinkFault) {
        let next =
            linkTable.links[link].resend == PacketPool.none
            ? linkTable.links[link].nextBatch : linkTable.links[link].resendBatch
        guard batch < next else {
            throw LinkFault(.malformed, "batch \(batch) is acknowledged and was never sent")
        }
        release(link, upTo: batch, nowNanoseconds: nowNanoseconds)
        linkTable.links[link].checkInvariants()
        if let id = linkTable.links[link].connection, let slot = linkTable.slot(of: id),
            !subscriptions[Int(linkTable.links[link].subscription)].queue.isEmpty
        {
            markReady(slot, into: &effects)
        }
    }

    /// - Parameter nowNanoseconds: when the peer said so; nil: it did not.
    mutating func release(_ link: Int, upTo batch: UInt64, nowNanoseconds: UInt64?) {
        let account = sessions[Int(linkTable.links[link].session)].account
        while linkTable.links[link].firstBatch <= batch,
            !linkTable.links[link].unacknowledged.isEmpty
        {
            let packet = linkTable.links[link].unacknowledged.removeFirst(in: &pool)
            let accepted = pool[packet].acceptedNanoseconds
            if let nowNanoseconds, accepted > 0, nowNanoseconds >= accepted {
                linkTable.links[link].statistics.acknowledgedAfterNanoseconds =
                    nowNanoseconds - accepted
            }
            quotas.releaseQueue(account, bytes: pool[packet].buffer.capacityBytes)
            pool.giveBack(packet)
            linkTable.links[link].firstBatch += 1
        }
        precondition(
            !linkTable.links[link].unacknowledged.isEmpty
                || linkTable.links[link].firstBatch == linkTable.links[link].nextBatch)
    }

    /// A new connection begins behind what the peer has.
    mutating func resume(_ link: Int, behind batch: UInt64) throws(LinkFault) {
        guard batch < linkTable.links[link].nextBatch else {
            throw LinkFault(.malformed, "OPEN speaks of batch \(batch), which was never sent")
        }
        release(link, upTo: batch, nowNanoseconds: nil)
        linkTable.links[link].resend = linkTable.links[link].unacknowledged.head
        linkTable.links[link].resendBatch = linkTable.links[link].firstBatch
        linkTable.links[link].owesAcknowledgement = false
        linkTable.links[link].checkInvariants()
    }
}
