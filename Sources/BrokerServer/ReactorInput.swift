import BasicContainers
import BrokerCore
import BrokerWire
import LinuxIO
import Logging

/// Input of clients: taken in batches, worked through in turns.
extension Reactor {
    /// Batches that are kept for the next one to receive.
    private static var idleBatchesMax: Int { 2 }

    mutating func queueInput(of connection: Connection) {
        guard !connection.isInputQueued else { return }
        if connection.isPaused, !connection.hasUnfinished {
            // Only the end of the connection matters to one that is paused: whoever is gone while
            // it drains is closed; a publisher that is held back keeps what it has sent.
            if connection.hasHungUp, broker.isEnding(connection.id) { close(connection) }
            return
        }
        connection.isInputQueued = true
        turns.append(.receive(connection.id), to: .input, of: connection.openerUID)
    }

    /// One turn of a connection: goes on with what it left, or takes more from the kernel.
    mutating func receive(from connection: Connection) {
        connection.isInputQueued = false
        switch connection.unfinished.take() {
        case .some(let batch):
            workThrough(batch, of: connection)
        case .none:
            if !connection.isPaused { receiveBatch(from: connection) }
        }
    }

    private mutating func receiveBatch(from connection: Connection) {
        var batch = idleBatches.popLast() ?? ReceivedBatch()
        switch batch.receive(from: connection) {
        case .packets:
            workThrough(batch, of: connection)
            return
        case .wouldBlock:
            break
        case .endOfStream:
            close(connection)
        case .failed(let error):
            logger.warning(
                "receiving failed, connection closed",
                metadata: [LogKey.error: "\(error)", LogKey.session: "\(connection.id.slot)"])
            close(connection)
        }
        giveBack(batch)
    }

    /// Hands packets to the core until they or the work of a turn are used up.
    private mutating func workThrough(
        _ received: consuming ReceivedBatch, of connection: Connection
    ) {
        var batch = received
        let start = Clock.monotonicNanoseconds()
        broker.workLeft = connection.turnSize.work
        while !batch.isDone, broker.workLeft > 0 {
            if let rest = receivePacket(of: &batch, from: connection) {
                batch.offset = rest
            } else {
                batch.advance()
            }
        }
        connection.turnSize.noteWorked(
            left: broker.workLeft, nanoseconds: Clock.monotonicNanoseconds() - start)
        guard batch.isDone else {
            connection.unfinished = .some(batch)
            connection.isInputQueued = true
            // Before all else of this user: so there is one unfinished batch of each at most.
            turns.goOn(.receive(connection.id), of: connection.openerUID)
            return
        }
        if batch.endOfStreamSeen {
            close(connection)
        } else if connection.mayHaveInput || connection.hasHungUp {
            queueInput(of: connection)
        }
        giveBack(batch)
    }

    /// - Returns: where to go on with this packet later; nil: it is done.
    private mutating func receivePacket(
        of batch: inout ReceivedBatch, from connection: Connection
    ) -> Int? {
        let attestation = batch.attestation
        if batch.offset == 0, attestation.descriptorsClosed > 0 {
            broker.descriptorsReceived(attestation.descriptorsClosed)
        }
        if attestation.dataTruncated {
            broker.oversizedPacketReceived(
                connection.id, nowNanoseconds: nowNanoseconds, into: &effects)
            return nil
        }
        if attestation.isEmpty {
            broker.emptyPacketReceived(connection.id)
            return nil
        }
        let identity =
            batch.identity
            ?? connection.identity(of: attestation, isOpenerAlive: batch.isOpenerAlive)
        let rest = broker.packetReceived(
            connection.id, batch.packet(), from: identity, at: batch.offset,
            nowNanoseconds: nowNanoseconds, into: &effects)
        if rest != nil { batch.identity = identity }
        return rest
    }

    /// What was received of a session that has ended is nobody's any more.
    mutating func forgetInput(of connection: Connection) {
        guard var batch = connection.unfinished.take() else { return }
        batch.discard()
        giveBack(batch)
    }

    private mutating func giveBack(_ batch: consuming ReceivedBatch) {
        if idleBatches.count < Self.idleBatchesMax { idleBatches.append(batch) }
    }
}
