/// What is wrong with a packet, and where. Protocol/README.md, sections 2, 3 and 8.
public struct WireError: Error, Equatable {
    public enum Fault: Equatable, Sendable {
        case magic
        case packetLength(stated: Int)
        case noFrames
        case frameLength(stated: Int)
        case frameTooShort(needed: Int)
        case unexpectedLead
        case leftOver(bytes: Int)
        case criticalFlags(UInt8)
        case frameType(UInt8)
        case tail(Tail)
        case senderMissing
        case replyCountZero
        case lostCountZero
    }

    /// What can be wrong with the lists in the tail of SUBSCRIBE.
    public enum Tail: Equatable, Sendable {
        case filterTruncated
        case rangeTruncated
    }

    package let fault: Fault
    /// Offset in the packet: of the frame that is wrong, or 0 for the packet header.
    package let offset: Int

    @usableFromInline
    package init(_ fault: Fault, at offset: Int) {
        self.fault = fault
        self.offset = offset
    }

    package var reason: ReasonCode {
        switch fault {
        case .frameType: .frameUnknown
        case .magic, .packetLength, .noFrames, .frameLength, .frameTooShort, .unexpectedLead,
            .leftOver, .criticalFlags, .tail, .senderMissing,
            .replyCountZero, .lostCountZero:
            .malformedPacket
        }
    }
}

extension WireError: CustomStringConvertible {
    public var description: String {
        "\(sentence), at byte \(offset) of the packet"
    }

    private var sentence: String {
        switch fault {
        case .magic: "the packet does not begin with C5 00 B7 00"
        case .packetLength(let stated): "the packet header states \(stated) bytes"
        case .noFrames: "the packet holds no frame"
        case .frameLength(let stated): "a frame states \(stated) bytes"
        case .frameTooShort(let needed): "a frame of this type needs at least \(needed) bytes"
        case .unexpectedLead: "a frame of this type has no lead"
        case .leftOver(let bytes): "\(bytes) bytes are left over in the frame"
        case .criticalFlags(let flags): "unknown critical flags \(flags)"
        case .frameType(let type): "unknown frame type \(type)"
        case .tail(.filterTruncated): "a filter reaches beyond the frame"
        case .tail(.rangeTruncated): "a range reaches beyond the frame"
        case .senderMissing: "DELIVER without SENDER before it"
        case .replyCountZero: "REPLY for no request"
        case .lostCountZero: "LOST for no message"
        }
    }
}
