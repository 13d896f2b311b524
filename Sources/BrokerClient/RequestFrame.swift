internal import BrokerWire

/// The frames a client writes besides PUBLISH. Protocol/README.md, section 5.
enum RequestFrame {
    case subscribe(SubscribeFrame)
    case unsubscribe(token: UInt32, subscription: UInt32)
    case ping(nonce: UInt64)
    case pong(nonce: UInt64)
    case status(token: UInt32)
    case administer(token: UInt32, command: String, arguments: [UInt8])
    case disconnect(ReasonCode, String)

    /// Bytes of the whole frame.
    var byteCount: Int {
        switch self {
        case .subscribe(let frame):
            FrameHeader.byteCount + FrameType.subscribe.fixedBytes + frame.tailBytes
        case .unsubscribe, .ping, .pong:
            FrameHeader.byteCount + 8
        case .status:
            FrameHeader.byteCount + 4
        case .administer(_, let command, let arguments):
            FrameHeader.byteCount + 4 + command.utf8.count + arguments.count
        case .disconnect(_, let text):
            FrameHeader.byteCount + 4 + text.utf8.count
        }
    }

    func append(to buffer: inout PacketBuffer) {
        switch self {
        case .subscribe(let frame): buffer.appendSubscribe(frame)
        case .unsubscribe(let token, let subscription):
            buffer.appendUnsubscribe(token: token, subscription: subscription)
        case .ping(let nonce): buffer.appendPing(nonce: nonce)
        case .pong(let nonce): buffer.appendPong(nonce: nonce)
        case .status(let token): buffer.appendStatusRequest(token: token)
        case .administer(let token, let command, let arguments):
            buffer.appendAdminRequest(
                token: token, command: Array(command.utf8).span, arguments: arguments.span)
        case .disconnect(let reason, let text):
            buffer.appendDisconnect(reason: reason, explanation: text)
        }
    }
}
