public import BasicContainers

/// A packet while it is being written: the packet header, then whole frames. Owned by whoever
/// fills it and reused after `clear()`. Invariant: `bytes.count` is 0 or at least a packet header,
/// and never more than the capacity given at the start.
public struct PacketBuffer: ~Copyable {
    @usableFromInline var bytes: RigidArray<UInt8>
    @usableFromInline var frames = 0

    /// - Parameter capacityBytes: largest packet this buffer can hold, header included.
    package init(capacityBytes: Int) {
        precondition(capacityBytes > PacketHeader.byteCount)
        precondition(capacityBytes <= Limits.packetBytesMax)
        bytes = RigidArray(capacity: capacityBytes)
        writePacketHeader()
    }

    @inlinable
    package var byteCount: Int { bytes.count }
    @inlinable
    package var capacityBytes: Int { bytes.capacity }
    /// Frames written since the last `clear()`.
    @inlinable
    package var frameCount: Int { frames }
    @inlinable
    package var isEmpty: Bool { frames == 0 }

    @inlinable @inline(__always)
    package var freeBytes: Int { bytes.freeCapacity }

    /// Forgets all frames and begins anew, in the same memory.
    package mutating func clear() {
        bytes.removeAll()
        frames = 0
        writePacketHeader()
    }

    /// The finished packet, its length filled in, ready to be sent.
    package mutating func seal() {
        precondition(frames > 0)
        let length = UInt32(bytes.count)
        for index in 0..<4 {
            bytes[4 + index] = UInt8(truncatingIfNeeded: length >> UInt32(8 * index))
        }
    }

    package var span: Span<UInt8> {
        @_lifetime(borrow self)
        borrowing get { bytes.span }
    }

    private mutating func writePacketHeader() {
        bytes.append(addingCount: PacketHeader.byteCount) { output in
            output.append(littleEndian: UInt64(PacketHeader.magic))
        }
    }

    /// Writes header and fixed fields of one frame; lead and tail are appended by the caller.
    @inline(__always)
    private mutating func beginFrame(
        _ type: FrameType, flags: UInt8 = 0, leadLength: Int, tailLength: Int = 0,
        fixed: (inout OutputSpan<UInt8>) -> Void
    ) {
        precondition(leadLength <= Int(UInt16.max))
        precondition(leadLength >= 0 && tailLength >= 0)
        let head = FrameHeader.byteCount &+ type.fixedBytes
        precondition(bytes.freeCapacity >= head &+ leadLength &+ tailLength)
        bytes.append(addingCount: head) { output in
            output.append(
                littleEndian: Self.frameHead(
                    type, flags: flags, length: head &+ leadLength &+ tailLength,
                    leadLength: leadLength))
            fixed(&output)
        }
        frames &+= 1
    }

    /// A frame header as a little-endian number.
    @inlinable @inline(__always)
    static func frameHead(
        _ type: FrameType, flags: UInt8, length: Int, leadLength: Int
    ) -> UInt64 {
        UInt64(UInt32(truncatingIfNeeded: length)) | UInt64(type.rawValue) << 32
            | UInt64(flags) << 40 | UInt64(UInt16(truncatingIfNeeded: leadLength)) << 48
    }

    private mutating func append(text: String) {
        for byte in text.utf8 { bytes.append(byte) }
    }
}

extension PacketBuffer {
    /// - Parameters:
    ///   - topic: bytes of the topic name, not checked here.
    ///   - payload: any bytes.
    ///
    /// Once per message: the header is put together in registers and appended as a whole, not
    /// byte by byte.
    @inlinable @inline(__always)
    package mutating func appendPublish(
        token: UInt32, wantsAcknowledgement: Bool, topic: Span<UInt8>, payload: Span<UInt8>
    ) {
        precondition(topic.count <= Int(UInt16.max))
        let length = PublishFrame.overheadBytes &+ topic.count &+ payload.count
        let head = Self.frameHead(
            .publish, flags: wantsAcknowledgement ? FrameHeader.acknowledgeFlag : 0,
            length: length, leadLength: topic.count)
        let header: InlineArray<12, UInt8> = [
            UInt8(truncatingIfNeeded: head), UInt8(truncatingIfNeeded: head >> 8),
            UInt8(truncatingIfNeeded: head >> 16), UInt8(truncatingIfNeeded: head >> 24),
            UInt8(truncatingIfNeeded: head >> 32), UInt8(truncatingIfNeeded: head >> 40),
            UInt8(truncatingIfNeeded: head >> 48), UInt8(truncatingIfNeeded: head >> 56),
            UInt8(truncatingIfNeeded: token), UInt8(truncatingIfNeeded: token >> 8),
            UInt8(truncatingIfNeeded: token >> 16), UInt8(truncatingIfNeeded: token >> 24),
        ]
        precondition(bytes.freeCapacity >= length)
        bytes.append(copying: header.span)
        bytes.append(copying: topic)
        bytes.append(copying: payload)
        frames &+= 1
    }

    /// - Parameter body: topic and payload side by side, as they stand in the PUBLISH frame.
    ///
    /// Once per message and receiver, and made like PUBLISH.
    @inlinable @inline(__always)
    package mutating func appendDeliver(
        sequence: UInt64, subscription: UInt32, body: Span<UInt8>, topicLength: Int
    ) {
        precondition(topicLength >= 0 && topicLength <= body.count)
        precondition(topicLength <= Int(UInt16.max))
        let head = Self.frameHead(
            .deliver, flags: 0, length: DeliverFrame.overheadBytes &+ body.count,
            leadLength: topicLength)
        let header: InlineArray<20, UInt8> = [
            UInt8(truncatingIfNeeded: head), UInt8(truncatingIfNeeded: head >> 8),
            UInt8(truncatingIfNeeded: head >> 16), UInt8(truncatingIfNeeded: head >> 24),
            UInt8(truncatingIfNeeded: head >> 32), UInt8(truncatingIfNeeded: head >> 40),
            UInt8(truncatingIfNeeded: head >> 48), UInt8(truncatingIfNeeded: head >> 56),
            UInt8(truncatingIfNeeded: sequence), UInt8(truncatingIfNeeded: sequence >> 8),
            UInt8(truncatingIfNeeded: sequence >> 16), UInt8(truncatingIfNeeded: sequence >> 24),
            UInt8(truncatingIfNeeded: sequence >> 32), UInt8(truncatingIfNeeded: sequence >> 40),
            UInt8(truncatingIfNeeded: sequence >> 48), UInt8(truncatingIfNeeded: sequence >> 56),
            UInt8(truncatingIfNeeded: subscription), UInt8(truncatingIfNeeded: subscription >> 8),
            UInt8(truncatingIfNeeded: subscription >> 16),
            UInt8(truncatingIfNeeded: subscription >> 24),
        ]
        bytes.append(copying: header.span)
        bytes.append(copying: body)
        frames &+= 1
    }

    /// Once per packet and receiver: put together from words and appended as a whole.
    package mutating func appendSender(
        _ record: SenderRecord, origin: Span<UInt8>, user: Span<UInt8> = Span()
    ) {
        precondition(origin.count <= Int(UInt16.max))
        let length =
            FrameHeader.byteCount &+ SenderRecord.byteCount &+ origin.count &+ user.count
        precondition(bytes.freeCapacity >= length)
        let head = Self.frameHead(.sender, flags: 0, length: length, leadLength: origin.count)
        let fields = record.words
        var frame = InlineArray<64, UInt8>(repeating: 0)
        for index in 0..<8 {
            frame[index] = UInt8(truncatingIfNeeded: head >> UInt64(8 &* index))
        }
        for word in 0..<7 {
            let value = fields[word]
            for index in 0..<8 {
                frame[8 &+ 8 &* word &+ index] =
                    UInt8(truncatingIfNeeded: value >> UInt64(8 &* index))
            }
        }
        bytes.append(copying: frame.span)
        // Most have neither.
        if !origin.isEmpty { bytes.append(copying: origin) }
        if !user.isEmpty { bytes.append(copying: user) }
        frames &+= 1
    }

    package mutating func appendHello(versionMin: UInt16, versionMax: UInt16, name: String) {
        beginFrame(.hello, leadLength: name.utf8.count) { output in
            output.append(littleEndian: versionMin)
            output.append(littleEndian: versionMax)
        }
        append(text: name)
    }

    package mutating func appendWelcome(_ frame: WelcomeFrame) {
        beginFrame(
            .welcome, leadLength: frame.brokerName.utf8.count,
            tailLength: frame.brokerVersion.utf8.count
        ) { output in
            output.append(littleEndian: frame.version)
            output.append(littleEndian: frame.topicBytesMax)
            output.append(littleEndian: frame.packetBytesMax)
            output.append(littleEndian: frame.messageBytesMax)
            output.append(littleEndian: frame.subscriptionsMax)
            output.append(littleEndian: frame.queueBytesMax)
            output.append(littleEndian: frame.session)
            output.append(littleEndian: frame.instance)
            frame.client.write(to: &output)
        }
        append(text: frame.brokerName)
        append(text: frame.brokerVersion)
    }

    package mutating func appendReply(_ frame: ReplyFrame) {
        let explanation = frame.explanation.prefix(utf8Bytes: Limits.explanationBytesMax)
        beginFrame(.reply, leadLength: explanation.utf8.count) { output in
            output.append(littleEndian: frame.token)
            output.append(littleEndian: frame.count)
            output.append(littleEndian: frame.sequence)
            output.append(littleEndian: frame.reason.rawValue)
            output.append(frame.request)
            output.append(0)
        }
        append(text: explanation)
    }

    package mutating func appendSubscribe(_ frame: SubscribeFrame) {
        beginFrame(.subscribe, leadLength: 0, tailLength: frame.tailBytes) { output in
            output.append(littleEndian: frame.token)
            output.append(littleEndian: frame.subscription)
            output.append(littleEndian: frame.queueBytesMax)
            output.append(frame.overflow)
            output.append(UInt8(frame.filters.count))
            output.append(UInt8(frame.uidRanges.count))
            output.append(UInt8(frame.gidRanges.count))
        }
        for filter in frame.filters {
            bytes.append(addingCount: 2) { $0.append(littleEndian: UInt16(filter.count)) }
            bytes.append(copying: filter.span)
        }
        for range in frame.uidRanges + frame.gidRanges {
            bytes.append(addingCount: 8) { output in
                output.append(littleEndian: range.first)
                output.append(littleEndian: range.last)
            }
        }
    }

    package mutating func appendUnsubscribe(token: UInt32, subscription: UInt32) {
        beginFrame(.unsubscribe, leadLength: 0) { output in
            output.append(littleEndian: token)
            output.append(littleEndian: subscription)
        }
    }

    package mutating func appendLost(subscription: UInt32, count: UInt64) {
        beginFrame(.lost, leadLength: 0) { output in
            output.append(littleEndian: subscription)
            output.append(littleEndian: count)
        }
    }

    package mutating func appendPing(nonce: UInt64) {
        beginFrame(.ping, leadLength: 0) { $0.append(littleEndian: nonce) }
    }

    package mutating func appendPong(nonce: UInt64) {
        beginFrame(.pong, leadLength: 0) { $0.append(littleEndian: nonce) }
    }

    package mutating func appendDisconnect(reason: ReasonCode, explanation: String) {
        let text = explanation.prefix(utf8Bytes: Limits.explanationBytesMax)
        beginFrame(.disconnect, leadLength: text.utf8.count) { output in
            output.append(littleEndian: reason.rawValue)
            output.append(littleEndian: UInt16(0))
        }
        append(text: text)
    }

    package mutating func appendStatusRequest(token: UInt32) {
        beginFrame(.statusRequest, leadLength: 0) { $0.append(littleEndian: token) }
    }

    package mutating func appendEnded(
        subscription: UInt32, reason: ReasonCode, explanation: String
    ) {
        let text = explanation.prefix(utf8Bytes: Limits.explanationBytesMax)
        beginFrame(.ended, leadLength: text.utf8.count) { output in
            output.append(littleEndian: subscription)
            output.append(littleEndian: reason.rawValue)
            output.append(littleEndian: UInt16(0))
        }
        append(text: text)
    }

    package mutating func appendAdminRequest(
        token: UInt32, command: Span<UInt8>, arguments: Span<UInt8>
    ) {
        beginFrame(
            .adminRequest, leadLength: command.count, tailLength: arguments.count
        ) { $0.append(littleEndian: token) }
        bytes.append(copying: command)
        bytes.append(copying: arguments)
    }

    /// Appends a whole frame as it stands in another packet.
    package mutating func append(frame: Span<UInt8>) {
        precondition(frame.count >= FrameHeader.byteCount)
        bytes.append(copying: frame)
        frames &+= 1
    }

    /// - Parameter type: STATUS or ADMINREPLY, which look alike.
    package mutating func appendStatus(
        _ type: FrameType = .status, token: UInt32, fragment: Span<UInt8>, hasMore: Bool
    ) {
        precondition(type == .status || type == .adminReply)
        beginFrame(
            type, flags: hasMore ? FrameHeader.moreFlag : 0, leadLength: 0,
            tailLength: fragment.count
        ) { $0.append(littleEndian: token) }
        bytes.append(copying: fragment)
    }
}

extension String {
    /// The longest prefix that has at most `limit` bytes of UTF-8 and cuts no character.
    package func prefix(utf8Bytes limit: Int) -> String {
        guard utf8.count > limit else { return self }
        var end = utf8.index(utf8.startIndex, offsetBy: limit)
        while end > utf8.startIndex, end.samePosition(in: unicodeScalars) == nil {
            end = utf8.index(before: end)
        }
        return String(self[..<end])
    }
}
