import BrokerWire
import Testing

/// What a client read, frame by frame, as values that tests can compare.
enum Received: Equatable {
    case welcome(WelcomeFrame)
    case reply(ReplyFrame)
    case deliver(Delivery)
    case lost(subscription: UInt32, count: UInt64)
    case pong(nonce: UInt64)
    case disconnect(ReasonCode, String)
    case status(token: UInt32, hasMore: Bool, fragment: [UInt8])
    case ended(subscription: UInt32, ReasonCode, String)
    case adminReply(token: UInt32, fragment: [UInt8])

    struct Delivery: Equatable {
        var sequence: UInt64
        var subscription: UInt32
        var topic: String
        var payload: [UInt8]
        var sender: SenderRecord
    }

    /// Decodes one packet as a client must: a SENDER never reaches beyond its packet.
    static func decode(_ packet: Span<UInt8>) throws -> [Received] {
        var received: [Received] = []
        var sender: SenderRecord?
        var cursor = try FrameCursor(packet: packet)
        while let header = try cursor.next(in: packet) {
            if header.type == .sender {
                sender = SenderFrame(header, in: packet).record
            } else {
                received.append(try decode(header, in: packet, sender: sender))
            }
        }
        return received
    }

    private static func decode(
        _ header: FrameHeader, in packet: Span<UInt8>, sender: SenderRecord?
    ) throws -> Received {
        switch header.type {
        case .welcome:
            return .welcome(WelcomeFrame(header, in: packet))
        case .reply:
            return .reply(try ReplyFrame(header, in: packet))
        case .deliver:
            let frame = DeliverFrame(header, in: packet)
            return .deliver(
                Delivery(
                    sequence: frame.sequence, subscription: frame.subscription,
                    topic: packet.extracting(frame.topic).text(),
                    payload: packet.extracting(frame.payload).copied(),
                    sender: try #require(sender, "DELIVER without SENDER in its packet")))
        case .lost:
            let frame = LostFrame(header, in: packet)
            return .lost(subscription: frame.subscription, count: frame.count)
        case .pong:
            return .pong(nonce: PingFrame(header, in: packet).nonce)
        case .disconnect:
            let frame = DisconnectFrame(header, in: packet)
            return .disconnect(frame.reason, frame.explanation)
        case .status:
            let frame = StatusFrame(header, in: packet)
            return .status(
                token: frame.token, hasMore: frame.hasMore,
                fragment: packet.extracting(frame.fragment).copied())
        case .ended:
            let frame = EndedFrame(header, in: packet)
            return .ended(subscription: frame.subscription, frame.reason, frame.explanation)
        case .adminReply:
            let frame = StatusFrame(header, in: packet)
            return .adminReply(
                token: frame.token, fragment: packet.extracting(frame.fragment).copied())
        case .hello, .publish, .subscribe, .unsubscribe, .sender, .ping, .statusRequest,
            .adminRequest:
            throw WireError(.frameType(header.type.rawValue), at: header.offset)
        }
    }
}

extension Received {
    var delivery: Delivery? {
        if case .deliver(let delivery) = self { delivery } else { nil }
    }

    var reply: ReplyFrame? {
        if case .reply(let reply) = self { reply } else { nil }
    }

    var disconnectReason: ReasonCode? {
        if case .disconnect(let reason, _) = self { reason } else { nil }
    }

    var ended: (subscription: UInt32, reason: ReasonCode, explanation: String)? {
        if case .ended(let number, let reason, let text) = self {
            (number, reason, text)
        } else {
            nil
        }
    }

    var isWelcome: Bool {
        if case .welcome = self { true } else { false }
    }
}
