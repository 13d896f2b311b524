import BasicContainers
import BrokerWire

/// Taking back what waits to be sent and may not leave any more, since the rules or the exports of
/// a link are others.
extension Broker {
    /// ROUTE. On a link it has the number, and the fields, that ENDED has with clients; ENDED is
    /// in no queue of messages.
    private static var route: FrameType { .ended }

    /// Removes what may not leave any more from the queue of a live subscription or of a link.
    ///
    /// - Returns: how many deliveries that were.
    mutating func withdrawDeliveries(of index: Int, into effects: inout Effects) -> Int {
        guard !subscriptions[index].queue.isEmpty else { return 0 }
        let slot = Int(subscriptions[index].session)
        var kept = PacketQueue()
        var withdrawn = 0
        while !subscriptions[index].queue.isEmpty {
            let packet = subscriptions[index].queue.removeFirst(in: &pool)
            withdrawn += withdrawDeliveries(from: packet, of: index)
            if pool[packet].buffer.isEmpty {
                quotas.releaseQueue(
                    sessions[slot].account, bytes: pool[packet].buffer.capacityBytes)
                pool.giveBack(packet)
            } else {
                kept.append(packet, in: &pool)
            }
        }
        subscriptions[index].queue = kept
        if kept.isEmpty && subscriptions[index].isReady { removeReady(index) }
        if subscriptions[index].holdsPublishers
            && kept.bytes <= subscriptions[index].queueBytesMax / 4
        {
            release(subscription: index, into: &effects)
        }
        return withdrawn
    }

    /// Removes what is not exported any more from batches that were sent and may be sent again.
    /// A peer that has them knows them by their numbers: those stay, also of one that is left
    /// without a message.
    mutating func withdrawFromBatches(of link: Int) {
        let index = Int(linkTable.links[link].subscription)
        var packet = linkTable.links[link].unacknowledged.head
        while packet != PacketPool.none {
            _ = withdrawDeliveries(from: packet, of: index)
            if pool[packet].buffer.isEmpty {
                // A packet has a frame at least. This one tells nothing new.
                let (epoch, path) = (configuration.instance, linkTable.ownPath)
                pool[packet].buffer.appendRoute(epoch: epoch, path: path.span)
            }
            pool[packet].buffer.seal()
            packet = pool[packet].next
        }
        linkTable.links[link].checkInvariants()
    }

    /// Writes one packet anew without the deliveries that are not allowed any more; empty if
    /// nothing is left of it.
    private mutating func withdrawDeliveries(from packet: Int32, of index: Int) -> Int {
        guard !pool[packet].isLossNotice else { return 0 }
        pool[packet].buffer.seal()
        let old = pool.packets[Int(packet)].buffer.span.copied()
        guard let frames = frames(of: old.span, for: index) else { return 0 }
        let deliveries = pool[packet].deliveries
        let left = frames.count { $0.type == .deliver }
        precondition(left < deliveries)
        pool[packet].buffer.clear()
        pool[packet].deliveries = left
        // The next message brings its SENDER along.
        pool[packet].senderSerial = 0
        // What stands before messages is written with the first of them, if one is left.
        var heading: [FrameHeader] = []
        for frame in frames {
            switch frame.type {
            case Self.route: heading = [frame]
            case .sender: heading = heading.filter { $0.type == Self.route } + [frame]
            case .deliver:
                for frame in heading + [frame] { append(frame, of: old.span, to: packet) }
                heading = []
            default: append(frame, of: old.span, to: packet)
            }
        }
        return deliveries - left
    }

    private mutating func append(
        _ frame: FrameHeader, of old: Span<UInt8>, to packet: Int32
    ) {
        pool[packet].buffer.append(frame: old.extracting(frame.offset..<frame.end))
    }

    /// The frames of a queued packet that may still be sent; nil: all of them.
    private mutating func frames(of packet: Span<UInt8>, for index: Int) -> [FrameHeader]? {
        var frames: [FrameHeader] = []
        var isWhole = true
        do throws(WireError) {
            var cursor = try FrameCursor(packet: packet)
            while let header = try cursor.next(in: packet) {
                if header.type == .deliver {
                    guard mayLeave(index, packet.extracting(header.lead)) else {
                        isWhole = false
                        continue
                    }
                }
                frames.append(header)
            }
        } catch {
            preconditionFailure("the broker's own packet is malformed: \(error)")
        }
        return isWhole ? nil : frames
    }

    /// Whether a message that waits may be sent, by its topic.
    private mutating func mayLeave(_ index: Int, _ topic: Span<UInt8>) -> Bool {
        let link = Int(subscriptions[index].link)
        if link >= 0 { return linkTable.links[link].configuration.exports(topic) }
        let stamp = nextRouteStamp
        nextRouteStamp += 1
        return mayReceive(index, topic, stamp: stamp)
    }
}
