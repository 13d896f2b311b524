import BrokerWire

/// One received packet while its frames are being worked through.
struct PacketContext {
    let session: Int
    let record: SenderRecord
    let subject: UInt32
    let serial: UInt64
    let nowNanoseconds: UInt64
    /// The opener has a limit on how much is published.
    var isRateLimited = false
    /// Answers to PUBLISH frames that still may grow: consecutive tokens, the same reason.
    var pendingReply: PendingReply?
    /// Whether PUBLISH is taken: kept here, since the session's state is not cheap to look at.
    var isActive = false
    /// Bytes of the packet behind the message in hand: how large its receivers' packets may get.
    var bytesToCome = 0
    /// Messages accepted, not yet counted in statistics and session.
    var accepted: UInt64 = 0
    /// What has been done for the packet, in the unit of `Work`.
    var work = 0
    /// The link that the packet came over; -1: a local client sent it.
    var link: Int32 = -1
}

struct PendingReply {
    var token: UInt32
    var count: UInt32
    var sequence: UInt64
    let reason: ReasonCode
    /// Offset of the topic of the first of them, for the explanation.
    let topic: Range<Int>
}

/// What frames cost beside each other: the unit is about one delivery, a dozen nanoseconds.
enum Work {
    static let packet = 64
    static let publish = 2
    /// Of a topic that is not in the cache.
    static let route = 64
    /// Of a message, told or not.
    static let refusal = 8
    /// In words.
    static let explanation = 512
    static let filter = 256
    static let otherFrame = 128
    /// What is made anew for each who asks: documents, the broker's own topics. One fills a turn.
    static let document = 4_096
}

extension Broker {
    /// A packet has arrived: what is in it is decided, routed and queued, until `workLeft` is
    /// used up.
    ///
    /// - Parameters:
    ///   - packet: the bytes as received; nothing of them is kept.
    ///   - identity: what the kernel recorded for exactly this packet.
    ///   - offset: where to go on in a packet that was left; 0: it is a new one.
    /// - Returns: where to go on with this packet, before any other of the session; nil when all
    ///   of it is done.
    @discardableResult
    package mutating func packetReceived(
        _ id: SessionID, _ packet: Span<UInt8>, from identity: PacketIdentity,
        at offset: Int = 0, nowNanoseconds: UInt64, into effects: inout Effects
    ) -> Int? {
        guard packet.count <= configuration.packetBytesMax else {
            oversizedPacketReceived(id, nowNanoseconds: nowNanoseconds, into: &effects)
            return nil
        }
        guard let slot = readingSlot(of: id) else { return nil }
        var rest: Int?
        if offset == 0 {
            statistics.packetsReceived += 1
            statistics.bytesReceived += UInt64(packet.count)
            workLeft &-= Work.packet
        }
        switch attest(identity) {
        case .unknown(let missing):
            statistics.packetsUnattested += 1
            doom(slot, .identityUnknown, missing.explanation)
        case .attested(let attestation):
            var context = makeContext(slot, attestation, nowNanoseconds: nowNanoseconds)
            let acceptedBefore = sessions[slot].messagesPublished
            latestNanoseconds = nowNanoseconds
            if quotas.isRateLimited(sessions[slot].account) {
                context.isRateLimited = true
                quotas.fillRates(sessions[slot].account, nowNanoseconds: nowNanoseconds)
            }
            do throws(WireError) {
                rest = try receiveFrames(of: packet, at: offset, &context, into: &effects)
            } catch {
                statistics.packetsMalformed += 1
                deliverRun(packet, &context, into: &effects)
                flushReply(&context, packet, into: &effects)
                doom(slot, error.reason, error.description)
            }
            countAccepted(&context)
            workLeft &-= context.work
            if context.record.isDelegated {
                let messages = sessions[slot].messagesPublished &- acceptedBefore
                sessions[slot].othersSeen.note(
                    context.record, packets: offset == 0 ? 1 : 0, messages: messages)
            }
        }
        endDoomed(nowNanoseconds: nowNanoseconds, into: &effects)
        return rest
    }

    /// A packet without a byte: no message, no end of stream, nothing to answer.
    package mutating func emptyPacketReceived(_ id: SessionID) {
        statistics.packetsEmpty += 1
    }

    /// A packet arrived that is larger than the broker takes; it may have been cut short.
    package mutating func oversizedPacketReceived(
        _ id: SessionID, nowNanoseconds: UInt64, into effects: inout Effects
    ) {
        guard let slot = readingSlot(of: id) else { return }
        statistics.packetsMalformed += 1
        doom(
            slot, .packetTooLarge,
            "a packet was larger than \(configuration.packetBytesMax) bytes; "
                + "see packetBytesMax in WELCOME")
        endDoomed(nowNanoseconds: nowNanoseconds, into: &effects)
    }

    /// Descriptors came along with a packet; the shell has closed them.
    package mutating func descriptorsReceived(_ count: Int) {
        statistics.descriptorsClosed += UInt64(count)
    }

    /// The slot of a session that packets are still taken from; those of others are counted.
    private mutating func readingSlot(of id: SessionID) -> Int? {
        guard let slot = slot(of: id) else { return nil }
        switch sessions[slot].state {
        case .greeting, .active:
            return slot
        case .vacant, .draining, .closing:
            statistics.packetsIgnored += 1
            return nil
        }
    }

    @inline(__always)
    private func attest(_ identity: PacketIdentity) -> PacketIdentity {
        guard case .attested(let attestation) = identity else { return identity }
        if attestation.uid == SenderRecord.noID || attestation.gid == SenderRecord.noID {
            return .unknown(.noID)
        }
        return identity
    }

    @inline(__always)
    private mutating func makeContext(
        _ slot: Int, _ attestation: Attestation, nowNanoseconds: UInt64
    ) -> PacketContext {
        let record = SenderRecord(attestation: attestation, opener: sessions[slot].opener)
        let serial = nextPacketSerial
        nextPacketSerial += 1
        return PacketContext(
            session: slot, record: record, subject: subjectNumber(of: record, session: slot),
            serial: serial, nowNanoseconds: nowNanoseconds, pendingReply: nil,
            isActive: sessions[slot].isActive)
    }

    /// A small number for the subject, equal for equal subjects while the broker runs.
    @inline(__always)
    mutating func subjectNumber(of record: SenderRecord, session slot: Int) -> UInt32 {
        let sender = Session.Sender(record)
        if sessions[slot].lastSender == sender { return sessions[slot].lastSubject }
        let number = number(of: subject(of: record, session: slot))
        sessions[slot].lastSender = sender
        sessions[slot].lastSubject = number
        return number
    }

    /// Subjects are kept up to a bound; then numbering starts over and cached routes are void.
    mutating func number(of subject: Subject) -> UInt32 {
        precondition(subjectNumbers.count == subjects.count)
        if let number = subjectNumbers[subject] { return number }
        if subjects.count >= Self.subjectsMax {
            subjects.removeAll()
            subjectRights.removeAll()
            subjectNumbers.removeAll()
            routes.invalidate()
            for slot in sessions.indices { sessions[slot].lastSender = nil }
        }
        let number = UInt32(subjects.count)
        subjects.append(subject)
        subjectRights.append(RightsTable.Place())
        subjectNumbers[subject] = number
        return number
    }

    static var subjectsMax: Int { 65_536 }

    /// - Returns: where to go on, if there was too much work in the packet.
    private mutating func receiveFrames(
        of packet: Span<UInt8>, at offset: Int, _ context: inout PacketContext,
        into effects: inout Effects
    ) throws(WireError) -> Int? {
        var cursor =
            offset == 0
            ? try FrameCursor(packet: packet)
            : FrameCursor(packet: packet, continuingAt: offset)
        var rest: Int?
        while let header = try cursor.next(in: packet) {
            if case .publish = header.type, context.isActive {
                publish(PublishFrame(header, in: packet), packet, &context, into: &effects)
                // Its own message, or its unread replies, may have ended it.
                if !doomed.isEmpty && sessions[context.session].isDoomed { break }
            } else {
                deliverRun(packet, &context, into: &effects)
                flushReply(&context, packet, into: &effects)
                // What was delivered or answered just now may have ended it.
                if sessions[context.session].isDoomed { return nil }
                try receive(header, packet, &context, into: &effects)
                if sessions[context.session].isDoomed { return nil }
                context.isActive = sessions[context.session].isActive
            }
            if context.work >= workLeft, cursor.offset < packet.count {
                rest = cursor.offset
                break
            }
        }
        deliverRun(packet, &context, into: &effects)
        flushReply(&context, packet, into: &effects)
        return rest
    }

    /// Counts what has been accepted since the last time: once per packet, not per message.
    mutating func countAccepted(_ context: inout PacketContext) {
        statistics.messagesAccepted &+= context.accepted
        if context.record.isDelegated { statistics.messagesDelegated &+= context.accepted }
        sessions[context.session].messagesPublished &+= context.accepted
        context.accepted = 0
    }

    /// Frames other than PUBLISH, and PUBLISH where it is not allowed.
    private mutating func receive(
        _ header: FrameHeader, _ packet: Span<UInt8>, _ context: inout PacketContext,
        into effects: inout Effects
    ) throws(WireError) {
        let slot = context.session
        countAccepted(&context)
        context.work &+= Work.otherFrame
        guard (header.type == .hello) == (sessions[slot].state == .greeting) else {
            let text = header.type == .hello ? "HELLO came twice" : "the first frame is not HELLO"
            doom(slot, .protocolError, text)
            return
        }
        switch header.type {
        case .hello:
            greet(HelloFrame(header, in: packet), packet, context, into: &effects)
        case .subscribe:
            let frame = try SubscribeFrame(header, in: packet)
            context.work &+= frame.filters.count &* Work.filter
            if frame.wantsSystemTopics { context.work &+= Work.document }
            subscribe(frame, context, into: &effects)
        case .unsubscribe:
            unsubscribe(UnsubscribeFrame(header, in: packet), context, into: &effects)
        case .ping:
            let nonce = PingFrame(header, in: packet).nonce
            queueControl(slot, bytes: FrameHeader.byteCount + 8, into: &effects) {
                $0.appendPong(nonce: nonce)
            }
        case .pong:
            break
        case .disconnect:
            discardSubscriptions(of: slot, into: &effects)
            close(slot, into: &effects)
        case .adminRequest:
            context.work &+= Work.document
            requestAdministration(
                AdminRequestFrame(header, in: packet), packet, context, into: &effects)
        case .statusRequest:
            context.work &+= Work.document
            requestStatus(StatusRequestFrame(header, in: packet), context, into: &effects)
        case .publish, .welcome, .reply, .sender, .deliver, .lost, .status, .ended,
            .adminReply:
            doom(slot, .protocolError, "frame type \(header.type.rawValue) is the broker's to send")
        }
    }

    private mutating func greet(
        _ hello: HelloFrame, _ packet: Span<UInt8>, _ context: PacketContext,
        into effects: inout Effects
    ) {
        let slot = context.session
        guard hello.versionMin <= 1, hello.versionMax >= 1 else {
            let offered = "\(hello.versionMin) to \(hello.versionMax)"
            doom(slot, .unsupportedVersion, "this broker speaks version 1, not \(offered)")
            return
        }
        guard let name = ClientName.parse(packet.extracting(hello.name)) else {
            doom(
                slot, .nameInvalid,
                "a client name has at most \(Limits.clientNameBytesMax) bytes of UTF-8 "
                    + "and no control characters")
            return
        }
        precondition(sessions[slot].state == .greeting)
        finishGreeting(of: slot)
        sessions[slot].name = name
        sessions[slot].state = .active
        let welcome = WelcomeFrame(
            version: 1, topicBytesMax: UInt16(Limits.topicBytesMax),
            packetBytesMax: UInt32(configuration.packetBytesMax),
            messageBytesMax: UInt32(configuration.messageBytesMax),
            subscriptionsMax: UInt32(Limits.subscriptionsPerSessionMax),
            queueBytesMax: UInt32(configuration.queueBytesPerSubscriptionMax),
            session: sessions[slot].number, instance: configuration.instance,
            client: context.record, brokerName: configuration.name,
            brokerVersion: configuration.version)
        queueControl(slot, bytes: 512, into: &effects) { $0.appendWelcome(welcome) }
        effects.note(.sessionOpened, sessions[slot], .success, name)
    }

    private mutating func requestStatus(
        _ request: StatusRequestFrame, _ context: PacketContext, into effects: inout Effects
    ) {
        let slot = context.session
        guard
            permit(
                .inspect, "see the status", token: request.token, request: .statusRequest,
                context, into: &effects)
        else { return }
        effects.statusRequests.append(
            Effects.StatusRequest(session: sessions[slot].id, token: request.token))
    }
}
