internal import BasicContainers
internal import BrokerWire
internal import LinuxIO

/// Memory for the batches that subscriptions hold, used again when a batch is dropped: fresh
/// memory would cost more than the copy into it. Packets come in on the client's thread, and
/// are dropped on any.
final class BatchMemory: Sendable {
    private let spares = Lock(UniqueArray<UniqueArray<UInt8>>())
    /// 1 MiB of batches.
    private static let sparesMax = 16
    /// What is smaller comes from the allocator, which is quick with it.
    private static let bytesMin = 4_096

    /// A copy of a packet.
    func copy(of packet: Span<UInt8>) -> BatchBytes {
        guard packet.count >= Self.bytesMin, packet.count <= Limits.batchBytesTarget else {
            var bytes = UniqueArray<UInt8>(minimumCapacity: packet.count)
            bytes.append(copying: packet)
            return BatchBytes(bytes: bytes, memory: nil)
        }
        let spare = spares.withLock { $0.popLast() }
        var bytes = spare ?? UniqueArray<UInt8>(minimumCapacity: Limits.batchBytesTarget)
        bytes.append(copying: packet)
        return BatchBytes(bytes: bytes, memory: self)
    }

    func giveBack(_ bytes: consuming UniqueArray<UInt8>) {
        bytes.removeAll(keepingCapacity: true)
        // Lent and taken back, so that the lock's closure has nothing to consume.
        var returned: UniqueArray<UInt8>? = bytes
        spares.withLock { spares in
            if spares.count < Self.sparesMax, let bytes = returned.take() { spares.append(bytes) }
        }
    }
}

/// The bytes of one batch, which go back to where they came from.
struct BatchBytes: ~Copyable, Sendable {
    let bytes: UniqueArray<UInt8>
    /// Nil: nobody wants them back.
    let memory: BatchMemory?

    deinit {
        if let memory { memory.giveBack(bytes) }
    }
}
