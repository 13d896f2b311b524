internal import BasicContainers
public import BrokerWire

/// The messages of one subscription that came in one packet, still in the bytes they came in.
///
/// Iterating over a batch allocates nothing per message: this is the way to consume hundreds of
/// thousands a second. `Subscription` itself, with a `Message` for each, is the convenient one.
public struct MessageBatch: Sendable {
    let storage: BatchStorage

    /// How many messages there are; 0 in a batch that only tells of a loss.
    public var count: Int { storage.count }
    /// How many messages are missing before, between or behind those of this batch: the broker
    /// dropped them because this client read too slowly. Protocol/README.md, section 5.8.
    public var lost: UInt64 { storage.lost }
    /// The connection was made anew before this batch: what was published meanwhile is missing,
    /// and nobody knows how much that is.
    public var followsReconnect: Bool { storage.followsReconnect }

    /// Calls `body` with each message, in order. The view's bytes are valid during the call.
    @inlinable
    public func forEach<Failure: Error>(
        _ body: (borrowing MessageView) throws(Failure) -> Void
    ) throws(Failure) {
        try withView { (view) throws(Failure) in try view.forEach(body) }
    }

    /// Calls `body` with the batch as those see it who take messages where they were received.
    public func withView<Value, Failure: Error>(
        _ body: (borrowing BatchView) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try storage.withPacket { (packet) throws(Failure) in
            try body(
                BatchView(packet, count: count, lost: lost, followsReconnect: followsReconnect))
        }
    }

    /// Copies of all messages.
    public func messages() -> [Message] {
        var messages: [Message] = []
        messages.reserveCapacity(count)
        forEach { messages.append(Message($0)) }
        if followsReconnect, !messages.isEmpty { messages[0].followsReconnect = true }
        return messages
    }
}

/// The messages of one subscription that came in one packet, in the memory they were received
/// in: what a subscription's handler gets. Nothing is copied, and nothing can be kept.
public struct BatchView: ~Escapable {
    private let packet: Span<UInt8>
    /// As `MessageBatch.count`.
    public let count: Int
    /// As `MessageBatch.lost`.
    public let lost: UInt64
    /// As `MessageBatch.followsReconnect`.
    public let followsReconnect: Bool

    /// - Parameter packet: has been checked; its DELIVER and LOST frames are of one subscription.
    @_lifetime(copy packet)
    init(_ packet: Span<UInt8>, count: Int, lost: UInt64, followsReconnect: Bool) {
        self.packet = packet
        self.count = count
        self.lost = lost
        self.followsReconnect = followsReconnect
    }

    /// Calls `body` with each message, in order. The view's bytes are valid during the call.
    @inlinable
    public func forEach<Failure: Error>(
        _ body: (borrowing MessageView) throws(Failure) -> Void
    ) throws(Failure) {
        var failure: Failure?
        visit { message in
            do throws(Failure) {
                try body(message)
                return true
            } catch {
                failure = error
                return false
            }
        }
        if let failure { throw failure }
    }

    /// What `forEach` needs of this module: a generic one would not be specialised for callers.
    ///
    /// - Parameter body: returns whether to go on.
    @usableFromInline
    func visit(_ body: (borrowing MessageView) -> Bool) {
        var cursor = BatchCursor(packet)
        while let frame = cursor.next(in: packet) {
            if !body(cursor.view(of: frame, in: packet)) { return }
        }
    }
}

/// One message of a batch, in place.
public struct MessageView: ~Escapable {
    /// The topic's bytes, UTF-8.
    public let topic: Span<UInt8>
    public let payload: Span<UInt8>
    /// Number the broker gave the message; rises, with gaps.
    public let sequence: UInt64
    public let sender: SenderRecord
    /// Name of the broker that attested the sender, UTF-8; empty: the one we are connected to.
    public let origin: Span<UInt8>
    /// Name that the identity map of the broker we are connected to gives a sender of another
    /// broker, UTF-8; empty: none. Never the name of a local uid.
    public let user: Span<UInt8>
    /// Messages missing directly before this one, as far as this batch tells.
    public let lostBefore: UInt64

    @_lifetime(copy topic, copy payload, copy origin, copy user)
    init(
        topic: Span<UInt8>, payload: Span<UInt8>, sequence: UInt64, sender: SenderRecord,
        origin: Span<UInt8>, user: Span<UInt8>, lostBefore: UInt64
    ) {
        self.topic = topic
        self.payload = payload
        self.sequence = sequence
        self.sender = sender
        self.origin = origin
        self.user = user
        self.lostBefore = lostBefore
    }
}

/// A message, copied out.
public struct Message: Sendable, Equatable {
    public let topic: String
    public let payload: [UInt8]
    /// Number the broker gave the message when it accepted it; rises, with gaps.
    public let sequence: UInt64
    /// Who sent it, as the kernel of the origin recorded it. Protocol/README.md, section 6.
    public let sender: SenderRecord
    /// Name of the broker that attested the sender; empty: the one we are connected to.
    public let origin: String
    /// Name that the identity map of the broker we are connected to gives a sender of another
    /// broker; empty: none. Never the name of a local uid.
    public let user: String
    /// Messages missing directly before this one: dropped by the broker because this client
    /// read too slowly.
    public internal(set) var lostBefore: UInt64
    /// The connection was made anew before this message: what was published meanwhile is
    /// missing, and nobody knows how much that is.
    public internal(set) var followsReconnect = false

    init(_ view: borrowing MessageView) {
        topic = view.topic.text()
        payload = view.payload.copied()
        sequence = view.sequence
        sender = view.sender
        origin = view.origin.text()
        user = view.user.text()
        lostBefore = view.lostBefore
    }
}

/// The bytes of a batch: a well-formed packet (BatchBuilder has seen to that) whose DELIVER and
/// LOST frames are all of one subscription.
final class BatchStorage: Sendable {
    private let bytes: BatchBytes
    let byteCount: Int
    let count: Int
    let lost: UInt64
    let followsReconnect: Bool

    init(
        bytes: consuming BatchBytes, count: Int, lost: UInt64, followsReconnect: Bool
    ) {
        byteCount = bytes.bytes.count
        self.bytes = bytes
        self.count = count
        self.lost = lost
        self.followsReconnect = followsReconnect
    }

    @inline(__always)
    func withPacket<Value, Failure: Error>(
        _ body: (Span<UInt8>) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try Self.withSpan(of: bytes, body)
    }

    /// A span of a class's own storage cannot be named; that of a parameter can.
    @inline(__always)
    private static func withSpan<Value, Failure: Error>(
        of bytes: borrowing BatchBytes, _ body: (Span<UInt8>) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try body(bytes.bytes.span)
    }
}

/// Walks over the messages of a batch, with the sender that holds for them.
struct BatchCursor {
    private var frames: FrameCursor
    private var sender: SenderFrame?
    /// Messages reported lost and not yet passed on with a message.
    private(set) var lost: UInt64 = 0

    init(_ packet: Span<UInt8>) {
        frames = FrameCursor(packet: packet, continuingAt: PacketHeader.byteCount)
    }

    @inline(__always)
    mutating func next(in packet: Span<UInt8>) -> DeliverFrame? {
        while let header = frames.nextChecked(in: packet) {
            switch header.type {
            case .deliver:
                return DeliverFrame(header, in: packet)
            case .sender:
                sender = SenderFrame(header, in: packet)
            case .lost:
                lost.addSaturating(LostFrame(header, in: packet).count)
            case .hello, .welcome, .publish, .reply, .subscribe, .unsubscribe, .ping, .pong,
                .disconnect, .statusRequest, .status, .ended, .adminRequest, .adminReply:
                continue
            }
        }
        return nil
    }

    /// The message that `next` has found. What was lost is told once.
    @inline(__always)
    @_lifetime(copy packet)
    mutating func view(of frame: DeliverFrame, in packet: Span<UInt8>) -> MessageView {
        guard let sender else { preconditionFailure("a batch was checked before") }
        let lostBefore = lost
        lost = 0
        return MessageView(
            topic: packet.extracting(frame.topic), payload: packet.extracting(frame.payload),
            sequence: frame.sequence, sender: sender.record,
            origin: packet.extracting(sender.origin), user: packet.extracting(sender.user),
            lostBefore: lostBefore)
    }
}

extension UInt64 {
    /// A broker may state any count; the sum must not trap.
    mutating func addSaturating(_ other: UInt64) {
        let (sum, overflow) = addingReportingOverflow(other)
        self = overflow ? .max : sum
    }
}
