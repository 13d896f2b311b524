internal import BasicContainers
internal import BrokerWire

/// Hands the deliveries of each packet to the subscriptions they are for, during one session:
/// the first batch of the next one is behind a gap, and looked up anew. Deliveries for
/// subscriptions that are gone were on their way and are dropped.
struct DeliveryRouter {
    private let core: ClientCore
    /// The subscription that got the latest packet: usually it gets the next one, too.
    private var latest: (number: UInt32, consumer: Ledger.Consumer)?

    /// What a batch weighs besides its bytes.
    private static let batchOverheadBytes = 128

    init(_ core: ClientCore) {
        self.core = core
    }

    /// A subscription may have ended: let go of its handler.
    mutating func forget() { latest = nil }

    /// - Parameter packet: as far as it has been checked.
    mutating func deliver(_ packet: Span<UInt8>, _ deliveries: PacketDecoder.Deliveries) {
        if deliveries.frames == 0 { return }
        if !deliveries.isMixed {
            guard let (consumer, hasGap) = route(deliveries.subscription) else { return }
            if let handler = consumer.handler {
                if consumer.handover.hasEnded { return }
                handler(
                    BatchView(
                        packet, count: deliveries.messages, lost: deliveries.lost,
                        followsReconnect: hasGap))
            } else {
                let batch = BatchBuilder.whole(
                    packet, deliveries, followsReconnect: hasGap, in: core.batchMemory)
                push(batch, consumer)
            }
            return
        }
        var builders = BatchBuilder.split(packet)
        while let builder = builders.popLast() {
            guard let (consumer, hasGap) = route(builder.subscription) else { continue }
            push(builder.build(followsReconnect: hasGap), consumer)
        }
    }

    private mutating func route(_ number: UInt32) -> (Ledger.Consumer, Bool)? {
        if let latest, latest.number == number { return (latest.consumer, false) }
        guard let (consumer, hasGap) = core.ledger.withLock({ $0.route(number) }) else {
            return nil
        }
        latest = (number, consumer)
        return (consumer, hasGap)
    }

    private func push(_ batch: MessageBatch, _ consumer: Ledger.Consumer) {
        guard let handler = consumer.handler else {
            let bytes = batch.storage.byteCount + Self.batchOverheadBytes
            return consumer.handover.push(batch, bytes: bytes)
        }
        if !consumer.handover.hasEnded { batch.withView { handler($0) } }
    }
}
