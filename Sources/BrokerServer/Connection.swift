import BrokerCore
import BrokerWire
import LinuxIO

/// One accepted socket and what the kernel said of its opener. Confined to the reactor thread.
final class Connection {
    /// Asked for on each connection; the kernel doubles it and caps it at `net.core.wmem_max`.
    static let sendBufferBytes = 1_048_576
    /// Packets in a row from the opener itself after which the kernel need not make a pidfd for
    /// each packet any more: the cheap check suffices.
    private static let ownPacketsUntilTrusted = 64

    let id: SessionID
    let descriptor: OwnedDescriptor
    private let process: ProcessDescriptor?
    private let opener: SenderRecord.Opener
    private let hasPidfds: Bool

    var openerUID: UInt32 { opener.uid }

    /// What epoll watches this socket for; nil: not registered.
    var interest: Epoll.Interest?
    /// The core wants no packets from it for now.
    var isPaused = false
    /// The kernel took no more; wait until it is writable.
    var isWriteBlocked = false
    /// Sending failed for good; what is left is to read until the end.
    var isPeerGone = false
    /// The kernel has said that the other end is gone: what it sent before is read to the end.
    var hasHungUp = false
    /// The socket may have more to read than was taken; cleared before it is read.
    var mayHaveInput = false
    /// Waits for its turn to be read.
    var isInputQueued = false
    /// Waits for its turn to send.
    var isOutputQueued = false
    /// Packets that were received and are not worked through yet.
    var unfinished: ReceivedBatch?
    var hasUnfinished: Bool {
        switch unfinished {
        case .some: true
        case .none: false
        }
    }

    /// How much one turn takes in.
    var turnSize = TurnSize()

    private var hasRoomForFarewell = false
    private var ownPacketsInRow = 0
    private var asksForPidfds: Bool
    /// Another process has sent on this connection: pidfds are asked for from then on.
    private var hasForeignSenders = false

    init(
        id: SessionID, descriptor: consuming OwnedDescriptor,
        process: consuming ProcessDescriptor?, opener: SenderRecord.Opener
    ) {
        self.id = id
        self.descriptor = descriptor
        self.opener = opener
        hasPidfds = process != nil
        asksForPidfds = hasPidfds
        self.process = process
    }

    /// The largest packet that the kernel lets a connection send.
    static func measurePacketBytesMax() throws(KernelError) -> Int {
        let pair = try SeqpacketPair()
        switch pair.first {
        case .some(let descriptor):
            try SocketOptions.setSendBuffer(descriptor, bytes: sendBufferBytes)
            return try SocketOptions.maximumPacketBytes(descriptor)
        case .none:
            return 0
        }
    }

    /// What the kernel recorded for a packet, and which process that was.
    ///
    /// - Parameter isOpenerAlive: whether the opener was not reaped *after* the packet had been
    ///   received: only then its pid number cannot have been given to another process meanwhile.
    func identity(
        of attestation: PacketAttestation, isOpenerAlive: Bool
    ) -> PacketIdentity {
        if attestation.controlTruncated { return .unknown(.truncated) }
        switch attestation.credentials {
        case .unrecorded:
            return .unknown(.unrecorded)
        case .missing, .malformed:
            return .unknown(.incomplete)
        case .recorded(let credentials):
            guard credentials.pid > 0 || attestation.senderProcessDelivered else {
                return .unknown(.unrecorded)
            }
            var process = attestation.senderProcessInode ?? 0
            if process == 0, credentials.pid == opener.pid, isOpenerAlive {
                process = opener.process
            }
            noteSender(
                isOpener: credentials.pid == opener.pid && process == opener.process)
            let received = attestation.receiveTimeNanoseconds
            return .attested(
                Attestation(
                    pid: credentials.pid, uid: credentials.uid, gid: credentials.gid,
                    process: process,
                    timeNanoseconds: received == 0 ? Clock.realtimeNanoseconds() : received))
        }
    }

    /// A subscriber that is ended because it does not read has a full socket: without more room
    /// it would never learn why.
    ///
    /// - Returns: whether there is more room now; true at most once.
    func makeRoomForFarewell() -> Bool {
        if hasRoomForFarewell { return false }
        hasRoomForFarewell = true
        do throws(KernelError) {
            try SocketOptions.setSendBuffer(descriptor, bytes: 2 * Self.sendBufferBytes)
            return true
        } catch {
            return false
        }
    }

    /// The cheap check: a pidfd without POLLHUP belongs to a process that still has its number.
    func isOpenerAlive() -> Bool {
        switch process {
        case .some(let process): !process.hasExitedAndBeenReaped()
        case .none: false
        }
    }

    /// A pidfd with each packet costs more than the packet. A connection that only its opener
    /// uses goes without; one that others use as well keeps them.
    private func noteSender(isOpener: Bool) {
        guard hasPidfds else { return }
        if isOpener {
            ownPacketsInRow += 1
            if asksForPidfds, !hasForeignSenders,
                ownPacketsInRow >= Self.ownPacketsUntilTrusted
            {
                asksForPidfds = !SocketOptions.setPassPidfd(descriptor, false)
            }
        } else {
            hasForeignSenders = true
            ownPacketsInRow = 0
            if !asksForPidfds { asksForPidfds = SocketOptions.setPassPidfd(descriptor, true) }
        }
    }
}
