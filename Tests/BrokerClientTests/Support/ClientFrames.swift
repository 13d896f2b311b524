import BrokerClient
import BrokerWire
import LinuxIO
import Synchronization

struct TestFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// Asks again and again until there is an answer. Twenty seconds without one are a failure on
/// any machine; no test asserts how long something takes.
func eventually<Value>(
    _ what: String, _ body: () throws -> Value?
) async throws -> Value {
    let end = Clock.monotonicNanoseconds() + 20_000_000_000
    while Clock.monotonicNanoseconds() < end {
        if let value = try body() { return value }
        try await Task.sleep(for: .milliseconds(1))
    }
    throw TestFailure("waited in vain for \(what)")
}

func eventually(_ what: String, _ condition: () throws -> Bool) async throws {
    try await eventually(what) { try condition() ? () : nil }
}

/// A frame of the client, copied out.
enum ClientFrame: Equatable {
    case hello(name: String)
    case publish(token: UInt32, acknowledge: Bool, topic: String, payload: [UInt8])
    case subscribe(SubscribeFrame)
    case unsubscribe(token: UInt32, subscription: UInt32)
    case ping(UInt64)
    case pong(UInt64)
    case statusRequest(token: UInt32)
    case adminRequest(token: UInt32)
    case disconnect(ReasonCode)

    var token: UInt32? {
        switch self {
        case .publish(let token, _, _, _), .unsubscribe(let token, _), .statusRequest(let token),
            .adminRequest(let token):
            token
        case .subscribe(let frame): frame.token
        case .hello, .ping, .pong, .disconnect: nil
        }
    }

    var payload: [UInt8]? {
        if case .publish(_, _, _, let payload) = self { payload } else { nil }
    }
}

struct ClientPacket: Equatable {
    var frames: [ClientFrame]
    /// The client has hung up.
    var isEnd = false
}

extension ClientPacket {
    init(_ packet: Span<UInt8>) throws {
        frames = []
        var cursor = try FrameCursor(packet: packet)
        while let header = try cursor.next(in: packet) {
            frames.append(try Self.frame(header, packet))
        }
    }

    private static func frame(
        _ header: FrameHeader, _ packet: Span<UInt8>
    ) throws -> ClientFrame {
        switch header.type {
        case .hello:
            let name = HelloFrame(header, in: packet).name
            return .hello(name: packet.extracting(name).text())
        case .publish:
            let frame = PublishFrame(header, in: packet)
            return .publish(
                token: frame.token, acknowledge: frame.wantsAcknowledgement,
                topic: packet.extracting(frame.topic).text(),
                payload: packet.extracting(frame.payload).copied())
        case .subscribe:
            return .subscribe(try SubscribeFrame(header, in: packet))
        case .unsubscribe:
            let frame = UnsubscribeFrame(header, in: packet)
            return .unsubscribe(token: frame.token, subscription: frame.subscription)
        case .ping:
            return .ping(PingFrame(header, in: packet).nonce)
        case .pong:
            return .pong(PingFrame(header, in: packet).nonce)
        case .statusRequest:
            return .statusRequest(token: StatusRequestFrame(header, in: packet).token)
        case .adminRequest:
            return .adminRequest(token: AdminRequestFrame(header, in: packet).token)
        case .disconnect:
            return .disconnect(DisconnectFrame(header, in: packet).reason)
        case .welcome, .reply, .sender, .deliver, .lost, .status, .ended, .adminReply:
            throw TestFailure("\(header.type) from a client")
        }
    }
}

extension SenderRecord {
    static func example(uid: UInt32 = 1000) -> SenderRecord {
        SenderRecord(
            pid: 4711, uid: uid, gid: 100, process: 77,
            opener: Opener(pid: 4711, uid: uid, gid: 100, process: 77),
            timeNanoseconds: 1_735_689_600_123_456_789, level: .kernel, isDelegated: false,
            domain: .own)
    }
}

extension WelcomeFrame {
    static var example: WelcomeFrame {
        WelcomeFrame(
            version: 1, topicBytesMax: 1_024, packetBytesMax: 262_144, messageBytesMax: 261_632,
            subscriptionsMax: 16_384, queueBytesMax: 16_777_216, session: 12, instance: 99,
            client: .example(uid: 1001), brokerName: "harbour", brokerVersion: "1.2.3")
    }
}

extension PacketBuffer {
    mutating func appendDeliver(
        _ sequence: UInt64, to subscription: UInt32, topic: String, payload: [UInt8]
    ) {
        let body = Array(topic.utf8) + payload
        appendDeliver(
            sequence: sequence, subscription: subscription, body: body.span,
            topicLength: topic.utf8.count)
    }

    mutating func appendSender(uid: UInt32, origin: String = "") {
        appendSender(.example(uid: uid), origin: Array(origin.utf8).span)
    }
}

/// The code of the error that `body` throws.
func codeOfFailure<Value>(
    _ body: () async throws(BrokerClientError) -> Value
) async -> BrokerClientError.Code? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error.code
    }
}

/// Set by one task, seen by another.
final class Flag: Sendable {
    private let value = Atomic(false)

    var isSet: Bool { value.load(ordering: .acquiring) }

    func set() { value.store(true, ordering: .releasing) }
}
