internal import BasicContainers
internal import BrokerWire

/// Copies what one subscription got out of a received packet, once, into memory of its own.
///
/// A packet for a single subscription is copied as it is. Of any other each subscription gets
/// only its own frames (and the SENDER frames they need): a slow consumer of one must not keep
/// the bytes of all others alive.
struct BatchBuilder: ~Copyable {
    let subscription: UInt32
    private var bytes: UniqueArray<UInt8>
    private var count = 0
    private var lost: UInt64 = 0
    /// Where in the packet the SENDER stands that was copied last.
    private var senderOffset = 0

    private init(_ subscription: UInt32) {
        self.subscription = subscription
        bytes = UniqueArray(minimumCapacity: 1024)
        bytes.append(addingCount: PacketHeader.byteCount) { output in
            output.append(littleEndian: PacketHeader.magic)
            output.append(littleEndian: UInt32(0))
        }
    }

    static func whole(
        _ packet: Span<UInt8>, _ deliveries: PacketDecoder.Deliveries, followsReconnect: Bool,
        in memory: BatchMemory
    ) -> MessageBatch {
        MessageBatch(
            storage: BatchStorage(
                bytes: memory.copy(of: packet), count: deliveries.messages, lost: deliveries.lost,
                followsReconnect: followsReconnect))
    }

    /// One builder for each subscription in a packet that has been checked.
    static func split(_ packet: Span<UInt8>) -> UniqueArray<BatchBuilder> {
        var builders = UniqueArray<BatchBuilder>()
        var positions: [UInt32: Int] = [:]
        var sender: Range<Int>?
        var frames = FrameCursor(packet: packet, continuingAt: PacketHeader.byteCount)
        while let header = frames.nextChecked(in: packet) {
            let subscription: UInt32
            switch header.type {
            case .sender:
                sender = header.offset..<header.end
                continue
            case .deliver:
                subscription = DeliverFrame(header, in: packet).subscription
            case .lost:
                subscription = LostFrame(header, in: packet).subscription
            case .hello, .welcome, .publish, .reply, .subscribe, .unsubscribe, .ping, .pong,
                .disconnect, .statusRequest, .status, .ended, .adminRequest, .adminReply:
                continue
            }
            let position = positions[subscription] ?? builders.count
            if position == builders.count {
                positions[subscription] = position
                builders.append(BatchBuilder(subscription))
            }
            builders[position].add(header, sender: sender, in: packet)
        }
        return builders
    }

    consuming func build(followsReconnect: Bool) -> MessageBatch {
        let length = UInt32(bytes.count)
        for index in 0..<4 {
            bytes[4 + index] = UInt8(truncatingIfNeeded: length >> UInt32(8 * index))
        }
        return MessageBatch(
            storage: BatchStorage(
                bytes: BatchBytes(bytes: bytes, memory: nil), count: count, lost: lost,
                followsReconnect: followsReconnect))
    }

    private mutating func add(
        _ header: FrameHeader, sender: Range<Int>?, in packet: Span<UInt8>
    ) {
        if header.type == .lost {
            lost.addSaturating(LostFrame(header, in: packet).count)
        } else {
            guard let sender else { preconditionFailure("the packet was checked before") }
            if sender.lowerBound != senderOffset {
                bytes.append(copying: packet.extracting(sender))
                senderOffset = sender.lowerBound
            }
            count += 1
        }
        bytes.append(copying: packet.extracting(header.offset..<header.end))
    }
}
