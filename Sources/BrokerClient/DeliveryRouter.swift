internal import BasicContainers
internal import BrokerWire

/// Hands the deliveries of each packet to the subscriptions they are for, during one session:
/// the first batch of the next one is behind a gap, and looked up anew. Deliveries for
/// subscriptions that are gone were on their way and are dropped.
struct DeliveryRouter {
    private let core: ClientCore
    /// The subscription that got the latest packet: usually it gets the next one, too.
    private var latest: (number: UInt32, handover: Handover<MessageBatch>)?

    /// What a batch weighs besides its bytes.
    private static let batchOverheadBytes = 128

    init(_ core: ClientCore) {
        self.core = core
    }

    /// - Parameter packet: has been checked.
    mutating func deliver(_ packet: Span<UInt8>, _ deliveries: PacketDecoder.Deliveries) {
        if deliveries.frames == 0 { return }
        if !deliveries.isMixed {
            guard let (handover, hasGap) = route(deliveries.subscription) else { return }
            let batch = BatchBuilder.whole(packet, deliveries, followsReconnect: hasGap)
            push(batch, handover)
            return
        }
        do throws(WireError) {
            var builders = try BatchBuilder.split(packet)
            while let builder = builders.popLast() {
                guard let (handover, hasGap) = route(builder.subscription) else { continue }
                push(builder.build(followsReconnect: hasGap), handover)
            }
        } catch {
            preconditionFailure("the packet was checked before: \(error)")
        }
    }

    private mutating func route(_ number: UInt32) -> (Handover<MessageBatch>, Bool)? {
        if let latest, latest.number == number { return (latest.handover, false) }
        guard let (handover, hasGap) = core.ledger.withLock({ $0.route(number) }) else {
            return nil
        }
        latest = (number, handover)
        return (handover, hasGap)
    }

    private func push(_ batch: MessageBatch, _ handover: Handover<MessageBatch>) {
        handover.push(batch, bytes: batch.storage.byteCount + Self.batchOverheadBytes)
    }
}
