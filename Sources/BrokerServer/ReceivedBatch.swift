import BrokerCore
import BrokerWire
import LinuxIO

/// Packets of one connection on their way through the core. What a turn leaves waits in here for
/// the next one, so that a packet with much work in it does not hold others up. Confined to the
/// reactor thread.
struct ReceivedBatch: ~Copyable {
    private var receiver = PacketReceiver(
        slots: TurnSize.packetsMax, packetBytesMax: Limits.packetBytesMax)
    private var packetCount = 0
    /// The packet in hand.
    private var index = 0
    /// Where the core goes on in the packet in hand; 0: it has not begun.
    var offset = 0
    /// Who sent the packet in hand, if the core has begun with it.
    var identity: PacketIdentity?
    /// Asked once, after all were received.
    private(set) var isOpenerAlive = false

    var endOfStreamSeen: Bool { receiver.endOfStreamSeen }
    var isDone: Bool { index == packetCount }

    @_lifetime(borrow self)
    borrowing func packet() -> Span<UInt8> { receiver.bytes(at: index) }

    var attestation: PacketAttestation { receiver.attestation(at: index) }

    /// Takes what is queued, as much as one turn may.
    mutating func receive(from connection: Connection) -> PacketReceiver.Outcome {
        precondition(isDone && offset == 0, "packets would be lost")
        let packetsMax = connection.turnSize.packets
        connection.mayHaveInput = false
        let start = Clock.monotonicNanoseconds()
        let outcome = receiver.receive(from: connection.descriptor, packetsMax: packetsMax)
        guard case .packets(let count) = outcome else {
            connection.turnSize.noteDrained()
            return outcome
        }
        packetCount = count
        index = 0
        isOpenerAlive = connection.isOpenerAlive()
        // If there was less than was asked for, what comes later is reported again.
        if count == packetsMax { connection.mayHaveInput = true }
        connection.turnSize.noteReceived(
            count, bytes: receiver.byteCount,
            nanoseconds: Clock.monotonicNanoseconds() - start)
        return outcome
    }

    mutating func advance() {
        precondition(!isDone)
        index += 1
        offset = 0
        identity = nil
    }

    /// Forgets packets of a session that has ended.
    mutating func discard() {
        packetCount = 0
        index = 0
        offset = 0
        identity = nil
    }
}
