/// The payload of each frame type, read from a packet in place. Protocol/README.md, section 5.

package struct HelloFrame: Equatable, Sendable {
    package let versionMin: UInt16
    package let versionMax: UInt16
    package let name: Range<Int>

    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .hello)
        versionMin = packet.loadUInt16(at: header.fixed)
        versionMax = packet.loadUInt16(at: header.fixed + 2)
        name = header.lead
    }
}

package struct WelcomeFrame: Equatable, Sendable {
    package var version: UInt16
    package var topicBytesMax: UInt16
    package var packetBytesMax: UInt32
    package var messageBytesMax: UInt32
    package var subscriptionsMax: UInt32
    package var queueBytesMax: UInt32
    package var session: UInt64
    package var instance: UInt64
    /// The client as the broker sees it.
    package var client: SenderRecord
    package var brokerName: String
    package var brokerVersion: String

    package init(
        version: UInt16, topicBytesMax: UInt16, packetBytesMax: UInt32, messageBytesMax: UInt32,
        subscriptionsMax: UInt32, queueBytesMax: UInt32, session: UInt64, instance: UInt64,
        client: SenderRecord, brokerName: String, brokerVersion: String
    ) {
        self.version = version
        self.topicBytesMax = topicBytesMax
        self.packetBytesMax = packetBytesMax
        self.messageBytesMax = messageBytesMax
        self.subscriptionsMax = subscriptionsMax
        self.queueBytesMax = queueBytesMax
        self.session = session
        self.instance = instance
        self.client = client
        self.brokerName = brokerName
        self.brokerVersion = brokerVersion
    }

    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .welcome)
        version = packet.loadUInt16(at: header.fixed)
        topicBytesMax = packet.loadUInt16(at: header.fixed + 2)
        packetBytesMax = packet.loadUInt32(at: header.fixed + 4)
        messageBytesMax = packet.loadUInt32(at: header.fixed + 8)
        subscriptionsMax = packet.loadUInt32(at: header.fixed + 12)
        queueBytesMax = packet.loadUInt32(at: header.fixed + 16)
        session = packet.loadUInt64(at: header.fixed + 20)
        instance = packet.loadUInt64(at: header.fixed + 28)
        client = SenderRecord(reading: packet, at: header.fixed + 36)
        brokerName = packet.extracting(header.lead).text()
        brokerVersion = packet.extracting(header.tail).text()
    }
}

public struct PublishFrame: Equatable, Sendable {
    /// Bytes of a PUBLISH besides topic and payload.
    @inlinable
    package static var overheadBytes: Int { FrameHeader.byteCount + 4 }

    @usableFromInline package let token: UInt32
    @usableFromInline package let wantsAcknowledgement: Bool
    @usableFromInline package let topic: Range<Int>
    @usableFromInline package let payload: Range<Int>

    @inlinable @inline(__always)
    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .publish)
        token = packet.loadUInt32(at: header.fixed)
        wantsAcknowledgement = header.flags & FrameHeader.acknowledgeFlag != 0
        topic = header.lead
        payload = header.tail
    }

    /// Topic and payload, which stand side by side, in PUBLISH as in DELIVER.
    @inlinable @inline(__always)
    package var body: Range<Int> { topic.lowerBound..<payload.upperBound }
}

package struct ReplyFrame: Equatable, Sendable {
    package static let overheadBytes = FrameHeader.byteCount + 20

    package var token: UInt32
    package var count: UInt32
    package var sequence: UInt64
    package var reason: ReasonCode
    /// Raw type of the frame that is answered.
    package var request: UInt8
    package var explanation: String

    package init(
        token: UInt32, count: UInt32 = 1, sequence: UInt64 = 0, reason: ReasonCode,
        request: FrameType, explanation: String = ""
    ) {
        self.token = token
        self.count = count
        self.sequence = sequence
        self.reason = reason
        self.request = request.rawValue
        self.explanation = explanation
    }

    package init(_ header: FrameHeader, in packet: Span<UInt8>) throws(WireError) {
        precondition(header.type == .reply)
        token = packet.loadUInt32(at: header.fixed)
        count = packet.loadUInt32(at: header.fixed + 4)
        guard count > 0 else { throw WireError(.replyCountZero, at: header.offset) }
        sequence = packet.loadUInt64(at: header.fixed + 8)
        reason = ReasonCode(rawValue: packet.loadUInt16(at: header.fixed + 16))
        request = packet[header.fixed + 18]
        explanation = packet.extracting(header.lead).text()
    }
}

package struct UnsubscribeFrame: Equatable, Sendable {
    package let token: UInt32
    package let subscription: UInt32

    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .unsubscribe)
        token = packet.loadUInt32(at: header.fixed)
        subscription = packet.loadUInt32(at: header.fixed + 4)
    }
}

package struct SenderFrame: Equatable, Sendable {
    package let record: SenderRecord
    /// Name of the broker that attested; empty: the one that speaks.
    package let origin: Range<Int>
    /// Name under which the broker that speaks knows the sender of another; empty: none.
    package let user: Range<Int>

    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .sender)
        record = SenderRecord(reading: packet, at: header.fixed)
        origin = header.lead
        user = header.tail
    }
}

public struct DeliverFrame: Equatable, Sendable {
    /// Bytes of a DELIVER besides topic and payload.
    @inlinable
    package static var overheadBytes: Int { FrameHeader.byteCount + 12 }

    @usableFromInline package let sequence: UInt64
    @usableFromInline package let subscription: UInt32
    @usableFromInline package let topic: Range<Int>
    @usableFromInline package let payload: Range<Int>

    @inlinable @inline(__always)
    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .deliver)
        sequence = packet.loadUInt64(at: header.fixed)
        subscription = packet.loadUInt32(at: header.fixed + 8)
        topic = header.lead
        payload = header.tail
    }
}

package struct LostFrame: Equatable, Sendable {
    package let subscription: UInt32
    package let count: UInt64

    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .lost)
        subscription = packet.loadUInt32(at: header.fixed)
        count = packet.loadUInt64(at: header.fixed + 4)
    }

    /// For the first to read the packet; who reads it again need not ask.
    package init(checking header: FrameHeader, in packet: Span<UInt8>) throws(WireError) {
        self.init(header, in: packet)
        guard count > 0 else { throw WireError(.lostCountZero, at: header.offset) }
    }
}

/// PING and PONG.
package struct PingFrame: Equatable, Sendable {
    package let nonce: UInt64

    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .ping || header.type == .pong)
        nonce = packet.loadUInt64(at: header.fixed)
    }
}

package struct DisconnectFrame: Equatable, Sendable {
    package let reason: ReasonCode
    package let explanation: String

    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .disconnect)
        reason = ReasonCode(rawValue: packet.loadUInt16(at: header.fixed))
        explanation = packet.extracting(header.lead).text()
    }
}

package struct StatusRequestFrame: Equatable, Sendable {
    package let token: UInt32

    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .statusRequest)
        token = packet.loadUInt32(at: header.fixed)
    }
}

/// STATUS and ADMINREPLY.
package struct StatusFrame: Equatable, Sendable {
    package let token: UInt32
    package let hasMore: Bool
    package let fragment: Range<Int>

    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .status || header.type == .adminReply)
        token = packet.loadUInt32(at: header.fixed)
        hasMore = header.flags & FrameHeader.moreFlag != 0
        fragment = header.tail
    }
}

package struct EndedFrame: Equatable, Sendable {
    package let subscription: UInt32
    package let reason: ReasonCode
    package let explanation: String

    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .ended)
        subscription = packet.loadUInt32(at: header.fixed)
        reason = ReasonCode(rawValue: packet.loadUInt16(at: header.fixed + 4))
        explanation = packet.extracting(header.lead).text()
    }
}

package struct AdminRequestFrame: Equatable, Sendable {
    package let token: UInt32
    package let command: Range<Int>
    /// JSON.
    package let arguments: Range<Int>

    package init(_ header: FrameHeader, in packet: Span<UInt8>) {
        precondition(header.type == .adminRequest)
        token = packet.loadUInt32(at: header.fixed)
        command = header.lead
        arguments = header.tail
    }
}
