internal import BasicContainers
internal import BrokerWire

/// What a broker says to the session as a whole.
enum SessionEvent: Equatable {
    case welcome(WelcomeFrame)
    case reply(ReplyFrame)
    case pingReceived(nonce: UInt64)
    case pongReceived(nonce: UInt64)
    case disconnect(DisconnectFrame)
    /// Of a status (STATUS), or of an answer to a request of administration (ADMINREPLY).
    case document(FrameType, token: UInt32, fragment: [UInt8], hasMore: Bool)
    case ended(EndedFrame)
}

/// Reads the packets of one session, pure and strict. A packet is checked whole before anything
/// of it counts; the events and deliveries are those of the latest packet.
struct PacketDecoder {
    /// The frames of a packet that belong to subscriptions.
    struct Deliveries: Equatable {
        /// The subscription of the first of them; meaningless if there are none.
        var subscription: UInt32 = 0
        /// Not all are of that one.
        var isMixed = false
        var messages = 0
        var lost: UInt64 = 0
        /// DELIVER and LOST frames.
        var frames = 0

        mutating func add(_ subscription: UInt32) {
            if frames == 0 { self.subscription = subscription }
            isMixed = isMixed || subscription != self.subscription
            frames += 1
        }
    }

    private(set) var events: [SessionEvent] = []
    private(set) var deliveries = Deliveries()
    /// Bytes of the latest packet that were looked at: all of them, or those up to DISCONNECT.
    private(set) var checkedBytes = 0
    /// WELCOME has come.
    private(set) var isGreeted = false
    /// DISCONNECT has come: what follows is not looked at.
    private var isEnded = false
    /// A SENDER stands before, in this packet.
    private var senderSeen = false

    /// - Throws: `.malformedPacket`; nothing of the packet counts then.
    mutating func decode(_ packet: Span<UInt8>) throws(BrokerClientError) {
        events.removeAll(keepingCapacity: true)
        deliveries = Deliveries()
        senderSeen = false
        let violation: BrokerClientError?
        do throws(WireError) {
            violation = try readFrames(packet)
        } catch {
            throw .malformed(error)
        }
        if let violation { throw violation }
    }

    /// - Returns: what is wrong with a well-formed frame, if something is.
    private mutating func readFrames(
        _ packet: Span<UInt8>
    ) throws(WireError) -> BrokerClientError? {
        var cursor = try FrameCursor(packet: packet)
        while !isEnded, let header = try cursor.next(in: packet) {
            // Most frames are that.
            if header.type == .deliver, senderSeen {
                deliveries.add(DeliverFrame(header, in: packet).subscription)
                deliveries.messages += 1
            } else if let violation = try read(header, in: packet) {
                return violation
            }
        }
        checkedBytes = cursor.offset
        return nil
    }

    private mutating func read(
        _ header: FrameHeader, in packet: Span<UInt8>
    ) throws(WireError) -> BrokerClientError? {
        guard isGreeted else { return try readGreeting(header, in: packet) }
        switch header.type {
        case .deliver:
            throw WireError(.senderMissing, at: header.offset)
        case .sender:
            senderSeen = true
        case .lost:
            let frame = LostFrame(header, in: packet)
            if frame.count == 0 { return .protocolViolation("LOST of nothing", .malformedPacket) }
            deliveries.add(frame.subscription)
            deliveries.lost.addSaturating(frame.count)
        case .hello, .welcome, .publish, .reply, .subscribe, .unsubscribe, .ping, .pong,
            .disconnect, .statusRequest, .status, .ended, .adminRequest, .adminReply:
            return try readEvent(header, in: packet)
        }
        return nil
    }

    private mutating func readEvent(
        _ header: FrameHeader, in packet: Span<UInt8>
    ) throws(WireError) -> BrokerClientError? {
        switch header.type {
        case .reply:
            events.append(.reply(try ReplyFrame(header, in: packet)))
        case .ping:
            events.append(.pingReceived(nonce: PingFrame(header, in: packet).nonce))
        case .pong:
            events.append(.pongReceived(nonce: PingFrame(header, in: packet).nonce))
        case .disconnect:
            isEnded = true
            events.append(.disconnect(DisconnectFrame(header, in: packet)))
        case .ended:
            events.append(.ended(EndedFrame(header, in: packet)))
        case .status, .adminReply:
            let frame = StatusFrame(header, in: packet)
            let fragment = packet.extracting(frame.fragment).copied()
            events.append(
                .document(
                    header.type, token: frame.token, fragment: fragment, hasMore: frame.hasMore))
        case .hello, .welcome, .publish, .subscribe, .unsubscribe, .statusRequest, .sender,
            .deliver, .lost, .adminRequest:
            return .protocolViolation("\(header.type) in the middle of a session")
        }
        return nil
    }

    /// Before WELCOME the broker may only greet, ping or refuse.
    private mutating func readGreeting(
        _ header: FrameHeader, in packet: Span<UInt8>
    ) throws(WireError) -> BrokerClientError? {
        switch header.type {
        case .welcome:
            isGreeted = true
            events.append(.welcome(WelcomeFrame(header, in: packet)))
            return nil
        case .ping, .disconnect:
            return try readEvent(header, in: packet)
        case .hello, .publish, .reply, .subscribe, .unsubscribe, .sender, .deliver, .lost, .pong,
            .statusRequest, .status, .ended, .adminRequest, .adminReply:
            return .protocolViolation("\(header.type) before WELCOME")
        }
    }
}
