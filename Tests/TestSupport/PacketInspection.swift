package import BrokerWire

/// What must hold for any bytes whatever that arrive as a packet. Run by tests and by the fuzz
/// target `FuzzPacket`.
package enum PacketInspection {
    /// - Returns: what is wrong with the way the packet was read, or nil. Being refused is not
    ///   wrong.
    package static func violation(in bytes: [UInt8]) -> String? {
        for way in Way.allCases {
            if let violation = violation(in: bytes, way: way) { return "\(way): \(violation)" }
        }
        return nil
    }

    /// The bytes with a packet header in place of their first eight that is right: so that a
    /// mutation gets past the header.
    package static func withRightHeader(_ bytes: [UInt8]) -> [UInt8] {
        let count = UInt32(max(bytes.count, PacketHeader.byteCount))
        let words = [PacketHeader.magic, count]
        let header = words.flatMap { word in
            (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32(8 * $0)) }
        }
        return header + bytes.dropFirst(PacketHeader.byteCount)
    }

    package static func violation(in bytes: [UInt8], way: Way) -> String? {
        let packet: InspectedPacket
        do {
            packet = try InspectedPacket(bytes.span, way: way)
        } catch {
            let isInside = error.offset == 0 || (8..<bytes.count).contains(error.offset)
            return isInside ? nil : "refused at byte \(error.offset) of \(bytes.count)"
        }
        return structureViolation(packet, byteCount: bytes.count)
            ?? encodingViolation(packet, of: bytes, way: way)
    }

    /// Frames follow each other inside the packet, and their ranges lie inside of them.
    private static func structureViolation(
        _ packet: InspectedPacket, byteCount: Int
    ) -> String? {
        var end = PacketHeader.byteCount
        for frame in packet.frames {
            let header = frame.header
            guard header.offset >= end, header.end > header.offset, header.end <= byteCount else {
                return "frame \(header.offset)..<\(header.end) of \(byteCount) bytes"
            }
            guard header.fixed + header.type.fixedBytes == header.lead.lowerBound,
                header.lead.upperBound == header.tail.lowerBound,
                header.tail.upperBound == header.end
            else { return "lead \(header.lead) and tail \(header.tail) do not fill \(header)" }
            end = header.end
        }
        return nil
    }

    /// Encoding what was read, and reading and encoding that, gives the same bytes.
    private static func encodingViolation(
        _ packet: InspectedPacket, of bytes: [UInt8], way: Way
    ) -> String? {
        guard let once = packet.encoded(from: bytes) else { return nil }
        do {
            let again = try InspectedPacket(once.span, way: way)
            if again.encoded(from: once) == once { return nil }
            return "read again as something else: \(HexText.text(once))"
        } catch {
            return "\(HexText.text(once)) is refused: \(error)"
        }
    }
}

extension InspectedPacket {
    /// The same frames, written anew.
    ///
    /// - Parameter source: the packet they were read from, with the bytes they point at.
    /// - Returns: nil if there is nothing to write, or if text in them is not what was sent:
    ///   ill-formed, or longer than the broker itself ever writes.
    package func encoded(from source: [UInt8]) -> [UInt8]? {
        guard !frames.isEmpty, source.count <= Limits.packetBytesMax,
            frames.allSatisfy({ $0.payload.hasTextAsSent })
        else { return nil }
        // What was read never takes more room when it is written.
        var buffer = PacketBuffer(capacityBytes: source.count)
        for frame in frames { buffer.append(frame.payload, from: source.span) }
        return buffer.sealedBytes()
    }
}

extension InspectedPayload {
    fileprivate var hasTextAsSent: Bool {
        let texts: [String] =
            switch self {
            case .welcome(let frame): [frame.brokerName, frame.brokerVersion]
            case .reply(let frame): [frame.explanation]
            case .disconnect(let frame): [frame.explanation]
            case .ended(let frame): [frame.explanation]
            case .hello, .publish, .subscribe, .unsubscribe, .sender, .deliver, .lost, .ping,
                .pong, .statusRequest, .status, .adminRequest, .adminReply:
                []
            }
        return texts.allSatisfy { text in
            text.utf8.count <= Limits.explanationBytesMax
                && !text.unicodeScalars.contains("\u{FFFD}")
        }
    }
}

extension PacketBuffer {
    /// The finished packet. `#expect` takes no spans and no buffers that cannot be copied.
    package mutating func sealedBytes() -> [UInt8] {
        seal()
        return span.copied()
    }

    package mutating func append(_ payload: InspectedPayload, from source: Span<UInt8>) {
        switch payload {
        case .hello(let frame):
            appendHello(
                versionMin: frame.versionMin, versionMax: frame.versionMax,
                name: source.extracting(frame.name).text())
        case .welcome(let frame): appendWelcome(frame)
        case .publish(let frame):
            appendPublish(
                token: frame.token, wantsAcknowledgement: frame.wantsAcknowledgement,
                topic: source.extracting(frame.topic), payload: source.extracting(frame.payload))
        case .reply(let frame): appendReply(frame)
        case .subscribe(let frame): appendSubscribe(frame)
        case .unsubscribe(let frame):
            appendUnsubscribe(token: frame.token, subscription: frame.subscription)
        case .sender(let frame):
            appendSender(
                frame.record, origin: source.extracting(frame.origin),
                user: source.extracting(frame.user))
        case .deliver(let frame):
            appendDeliver(
                sequence: frame.sequence, subscription: frame.subscription,
                body: source.extracting(frame.topic.lowerBound..<frame.payload.upperBound),
                topicLength: frame.topic.count)
        case .lost(let frame): appendLost(subscription: frame.subscription, count: frame.count)
        case .ping(let frame): appendPing(nonce: frame.nonce)
        case .pong(let frame): appendPong(nonce: frame.nonce)
        case .disconnect(let frame):
            appendDisconnect(reason: frame.reason, explanation: frame.explanation)
        case .statusRequest(let frame): appendStatusRequest(token: frame.token)
        case .status(let frame):
            appendStatus(
                token: frame.token, fragment: source.extracting(frame.fragment),
                hasMore: frame.hasMore)
        case .ended(let frame):
            appendEnded(
                subscription: frame.subscription, reason: frame.reason,
                explanation: frame.explanation)
        case .adminRequest(let frame):
            appendAdminRequest(
                token: frame.token, command: source.extracting(frame.command),
                arguments: source.extracting(frame.arguments))
        case .adminReply(let frame):
            appendStatus(
                .adminReply, token: frame.token, fragment: source.extracting(frame.fragment),
                hasMore: frame.hasMore)
        }
    }
}
