import BrokerWire

/// What comes from a peer, once its tag has been verified. Protocol/forwarding.md, sections 5, 6
/// and 8.
extension Broker {
    // MARK: DATA

    mutating func receiveBatch(
        _ body: Span<UInt8>, on slot: Int, nowNanoseconds: UInt64, into effects: inout Effects
    ) throws(LinkFault) {
        let link = linkTable.connections[slot].link
        let batch = body.loadUInt64(at: 0)
        let last = linkTable.links[link].receivedBatch
        // The first is numbered as the peer likes; behind the highest number nothing can come.
        guard batch > last, last == 0 || batch - last == 1 else {
            throw LinkFault(.malformed, "batch \(batch) came behind batch \(last)")
        }
        let packet = body.extracting(8...)
        guard packet.loadUInt32(at: 0) == PacketHeader.magic,
            Int(packet.loadUInt32(at: 4)) == packet.count
        else { throw LinkFault(.malformed, "a batch does not hold one packet") }
        linkTable.links[link].statistics.batchesReceived += 1
        try receiveMessages(
            packet, from: link, nowNanoseconds: nowNanoseconds, into: &effects)
        precondition(batch > linkTable.links[link].receivedBatch)
        linkTable.links[link].receivedBatch = batch
        linkTable.links[link].owesAcknowledgement = true
    }

    private mutating func receiveMessages(
        _ packet: Span<UInt8>, from link: Int, nowNanoseconds: UInt64,
        into effects: inout Effects
    ) throws(LinkFault) {
        var offset = PacketHeader.byteCount
        var hasRoute = false
        while offset < packet.count {
            guard let frame = try LinkFrame.next(in: packet, at: &offset, isData: true) else {
                continue
            }
            switch frame.kind {
            case .route:
                try readRoute(
                    packet.extracting(frame.lead), epoch: packet.loadUInt64(at: frame.fixed),
                    from: link)
                hasRoute = true
            case .sender where hasRoute:
                var context = makeRemoteContext(
                    SenderRecord(reading: packet, at: frame.fixed), from: link,
                    nowNanoseconds: nowNanoseconds)
                try receiveMessages(packet, at: &offset, &context, into: &effects)
            case .lost:
                noteLost(packet.loadUInt64(at: frame.fixed + 4), from: link, into: &effects)
            case .deliver:
                throw LinkFault(.malformed, "DELIVER without ROUTE and SENDER before it")
            default:
                throw LinkFault(.malformed, "SENDER without ROUTE before it")
            }
        }
    }

    /// What one sender has sent, up to the next ROUTE or SENDER. The context is passed in place, so
    /// that it is not copied for each message.
    private mutating func receiveMessages(
        _ packet: Span<UInt8>, at offset: inout Int, _ context: inout PacketContext,
        into effects: inout Effects
    ) throws(LinkFault) {
        while offset < packet.count {
            let start = offset
            guard let frame = try LinkFrame.next(in: packet, at: &offset, isData: true) else {
                continue
            }
            switch frame.kind {
            case .deliver: publishRemote(frame, packet, &context, into: &effects)
            case .lost:
                let count = packet.loadUInt64(at: frame.fixed + 4)
                noteLost(count, from: Int(context.link), into: &effects)
            default:
                offset = start
                return
            }
        }
    }

    /// The peer has dropped messages for want of room.
    private mutating func noteLost(_ count: UInt64, from link: Int, into effects: inout Effects) {
        linkTable.links[link].statistics.messagesLostByPeer &+= count
        effects.note(
            LinkNotice(
                kind: .lostByPeer, link: linkTable.links[link].configuration.peer, reason: nil,
                explanation: "\(count) messages"))
    }

    /// Takes note of a path, and whether what comes along it may be taken.
    private mutating func readRoute(
        _ path: Span<UInt8>, epoch: UInt64, from link: Int
    ) throws(LinkFault) {
        guard let names = LinkName.names(ofPath: path), let origin = names.first else {
            throw LinkFault(.malformed, "ROUTE holds no valid path")
        }
        var route = LinkTable.InboundRoute()
        route.origin = origin
        route.epoch = epoch
        route.dropReason = linkTable.links[link].configuration.dropReason(
            path: names, ownName: configuration.name)
        if route.dropReason == nil {
            let ownPath = path.copied() + [Topic.separator] + linkTable.ownPath
            let isTooLong =
                ownPath.count > LinkLimits.pathBytesMax
                || names.count >= LinkLimits.pathNamesMax
            route.pathOut = ownPath
            for index in linkTable.links.indices {
                let isExcluded =
                    isTooLong || index == link
                    || names.contains(linkTable.links[index].configuration.peer)
                    || names.count + 1 > linkTable.links[index].hopsOutMax
                if isExcluded { route.excludedLinks |= 1 << UInt64(index) }
            }
            precondition(route.excludedLinks & 1 << UInt64(link) != 0)
            route.seenSlot = linkTable.seen.slot(
                origin: origin, epoch: epoch, link: link, limit: LinkLimits.originsPerLinkMax)
        }
        linkTable.inbound = route
    }

    /// The sender as this broker passes it on: whatever the peer says, its level is `remote`.
    private mutating func makeRemoteContext(
        _ stated: SenderRecord, from link: Int, nowNanoseconds: UInt64
    ) -> PacketContext {
        let record = SenderRecord(
            pid: stated.pid, uid: stated.uid, gid: stated.gid, process: stated.process,
            opener: stated.opener, timeNanoseconds: stated.timeNanoseconds, level: .remote,
            isDelegated: stated.isDelegated, domain: stated.domain)
        if record.uid == SenderRecord.noID || record.gid == SenderRecord.noID {
            linkTable.inbound.dropReason = linkTable.inbound.dropReason ?? .identityInvalid
        }
        let serial = nextPacketSerial
        nextPacketSerial += 1
        let subject = remoteSubject(of: record, link: link)
        linkTable.inbound.user =
            policy.map.isEmpty ? [] : access.rights(of: subject).user
        return PacketContext(
            session: Int(linkTable.links[link].session), record: record,
            subject: number(of: subject),
            serial: serial, nowNanoseconds: nowNanoseconds, pendingReply: nil,
            link: Int32(link))
    }

    /// The path of a message from another broker: as `publish`, behind the checks of a link.
    private mutating func publishRemote(
        _ frame: LinkFrame, _ packet: Span<UInt8>, _ context: inout PacketContext,
        into effects: inout Effects
    ) {
        let link = Int(context.link)
        precondition(context.record.level == .remote)
        linkTable.links[link].statistics.messagesReceived &+= 1
        if let reason = linkTable.inbound.dropReason { return drop(reason, from: link) }
        let topic = packet.extracting(frame.lead)
        let body = packet.extracting(frame.body)
        let hash = routes.hash(topic, subject: context.subject)
        let route =
            routes.find(topic, subject: context.subject, hash: hash)
            ?? findRoute(topic, &context, hash: hash)
        if route.reason == .topicNameInvalid { return drop(.topicInvalid, from: link) }
        if body.count > configuration.messageBytesMax { return drop(.tooLarge, from: link) }
        if route.reason == .notImported { return drop(.notImported, from: link) }
        let originSequence = packet.loadUInt64(at: frame.fixed)
        guard linkTable.seen.insert(originSequence, at: linkTable.inbound.seenSlot) else {
            return drop(.duplicate, from: link)
        }
        guard route.reason == .success else { return drop(.notPermitted, from: link) }
        let sequence = nextSequence
        nextSequence &+= 1
        statistics.messagesAccepted &+= 1
        statistics.messagesRemote &+= 1
        linkTable.links[link].statistics.messagesAccepted &+= 1
        context.bytesToCome = packet.count - frame.end
        for index in route.first..<(route.first + route.count) {
            let subscription = Int(routes.receivers[index])
            guard !subscriptions[subscription].isSelective || admits(subscription, context)
            else { continue }
            deliver(
                body, topicLength: topic.count,
                sequence: subscriptions[subscription].link >= 0 ? originSequence : sequence,
                to: subscription, &context, into: &effects)
        }
    }

    private mutating func drop(_ reason: LinkStatistics.DropReason, from link: Int) {
        linkTable.links[link].statistics.dropped[reason, default: 0] &+= 1
    }

    /// Whether a subscription that looks at senders takes a message of this one. A uid means
    /// something on its origin only: ranges of uids never match remote senders.
    func admits(_ subscription: Int, _ context: PacketContext) -> Bool {
        let link = subscriptions[subscription].link
        if link >= 0 {
            return context.link < 0 || linkTable.inbound.excludedLinks & 1 << UInt64(link) == 0
        }
        guard context.link < 0 else { return false }
        return subscriptions[subscription].admits(
            uid: context.record.uid, gid: context.record.gid)
    }

    // MARK: CONTROL

    mutating func receiveControl(
        _ body: Span<UInt8>, on slot: Int, nowNanoseconds: UInt64, into effects: inout Effects
    ) throws(LinkFault) {
        var offset = 0
        while offset < body.count, linkTable.connections[slot].state == .established {
            guard let frame = try LinkFrame.next(in: body, at: &offset, isData: false) else {
                continue
            }
            try receive(
                frame, body, on: slot, nowNanoseconds: nowNanoseconds, into: &effects)
        }
    }

    private mutating func receive(
        _ frame: LinkFrame, _ body: Span<UInt8>, on slot: Int, nowNanoseconds: UInt64,
        into effects: inout Effects
    ) throws(LinkFault) {
        let link = linkTable.connections[slot].link
        precondition(link >= 0, "an envelope before HELLO")
        switch frame.kind {
        case .acknowledge:
            try acknowledge(
                link, upTo: body.loadUInt64(at: frame.fixed), nowNanoseconds: nowNanoseconds,
                into: &effects)
        case .interest, .disinterest, .interestEnd:
            try receiveInterest(frame, body, from: link, into: &effects)
        case .ping:
            linkTable.connections[slot].pongOwed = body.loadUInt64(at: frame.fixed)
            markReady(slot, into: &effects)
        case .pong:
            let sent = body.loadUInt64(at: frame.fixed)
            if linkTable.connections[slot].pingNonces?.contains(sent) == true,
                nowNanoseconds >= sent
            {
                linkTable.connections[slot].roundTripNanoseconds = nowNanoseconds - sent
            }
        case .disconnect:
            let reason = LinkFault.Reason(rawValue: body.loadUInt16(at: frame.fixed))
            let text = body.extracting(frame.lead).text().debugDescription
            throw LinkFault(reason ?? .malformed, "the peer ended the connection: \(text)")
        case .rekey, .rekeyed, .rekeyEnd, .rekeyRefused:
            try receiveRotation(frame, body, on: slot, into: &effects)
        case .sender, .deliver, .lost, .route:
            preconditionFailure("not a frame of CONTROL")
        }
    }
}
