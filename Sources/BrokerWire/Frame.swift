/// The header every frame begins with, and the types there are. Protocol/README.md, sections 2, 3
/// and 5. Frames are read in place: payload structs hold numbers and byte ranges of the packet,
/// never copies.
public enum FrameType: UInt8, Sendable, CaseIterable {
    case hello = 0x01
    case welcome = 0x02
    case publish = 0x03
    case reply = 0x04
    case subscribe = 0x05
    case unsubscribe = 0x06
    case sender = 0x07
    case deliver = 0x08
    case lost = 0x09
    case ping = 0x0A
    case pong = 0x0B
    case disconnect = 0x0C
    case statusRequest = 0x0D
    case status = 0x0E
    case ended = 0x0F
    case adminRequest = 0x10
    case adminReply = 0x11

    /// Bytes of the fixed fields behind the frame header.
    @inlinable
    package var fixedBytes: Int {
        switch self {
        case .hello, .publish, .disconnect, .statusRequest, .status, .adminRequest,
            .adminReply:
            4
        case .welcome: 36 + SenderRecord.byteCount
        case .reply: 20
        case .subscribe: 16
        case .unsubscribe, .ping, .pong, .ended: 8
        case .sender: SenderRecord.byteCount
        case .deliver, .lost: 12
        }
    }

    @inlinable
    package var hasLead: Bool {
        switch self {
        case .hello, .welcome, .publish, .reply, .sender, .deliver, .disconnect, .ended,
            .adminRequest:
            true
        case .subscribe, .unsubscribe, .lost, .ping, .pong, .statusRequest, .status,
            .adminReply:
            false
        }
    }

    @inlinable
    package var hasTail: Bool {
        switch self {
        case .welcome, .publish, .subscribe, .sender, .deliver, .status, .adminRequest,
            .adminReply:
            true
        case .hello, .reply, .unsubscribe, .lost, .ping, .pong, .disconnect,
            .statusRequest, .ended:
            false
        }
    }

    /// The bits of flags 0–3 that this version gives a meaning to.
    @inlinable
    package var knownFlags: UInt8 {
        switch self {
        case .publish: FrameHeader.acknowledgeFlag
        case .status, .adminReply: FrameHeader.moreFlag
        case .hello, .welcome, .reply, .subscribe, .unsubscribe, .sender, .deliver, .lost, .ping,
            .pong, .disconnect, .statusRequest, .ended, .adminRequest:
            0
        }
    }
}

public enum PacketHeader {
    @inlinable
    package static var byteCount: Int { 8 }
    /// `C5 00 B7 00`, read as a little-endian number.
    package static let magic: UInt32 = 0x00B7_00C5
}

/// One frame of a packet whose header, flags and lengths have been checked.
public struct FrameHeader: Equatable, Sendable {
    @inlinable
    package static var byteCount: Int { 8 }
    @inlinable
    package static var acknowledgeFlag: UInt8 { 1 }
    @inlinable
    package static var moreFlag: UInt8 { 1 }
    @inlinable
    static var criticalFlags: UInt8 { 0x0F }

    @usableFromInline package let type: FrameType
    @usableFromInline package let flags: UInt8
    /// Offset of the frame in the packet.
    @usableFromInline package let offset: Int
    @usableFromInline package let length: Int
    @usableFromInline package let leadLength: Int

    @inlinable @inline(__always)
    init(type: FrameType, flags: UInt8, offset: Int, length: Int, leadLength: Int) {
        self.type = type
        self.flags = flags
        self.offset = offset
        self.length = length
        self.leadLength = leadLength
    }

    /// Offset of the first fixed field.
    @inlinable @inline(__always)
    package var fixed: Int { offset &+ Self.byteCount }

    @inlinable @inline(__always)
    package var end: Int { offset &+ length }

    @inlinable @inline(__always)
    package var lead: Range<Int> {
        let start = fixed &+ type.fixedBytes
        return start..<(start &+ leadLength)
    }

    @inlinable @inline(__always)
    package var tail: Range<Int> {
        (fixed &+ type.fixedBytes &+ leadLength)..<end
    }
}

/// Walks over the frames of one packet. Invariant: `PacketHeader.byteCount ≤ offset ≤ byteCount`,
/// and `offset` is where a frame begins or the packet ends.
public struct FrameCursor: Equatable, Sendable {
    @usableFromInline var position: Int
    @usableFromInline let byteCount: Int

    package var offset: Int { position }

    /// Checks the packet header.
    package init(packet: Span<UInt8>) throws(WireError) {
        guard packet.count >= PacketHeader.byteCount,
            packet.loadUInt32(at: 0) == PacketHeader.magic
        else { throw WireError(.magic, at: 0) }
        let stated = Int(packet.loadUInt32(at: 4))
        guard stated == packet.count else {
            throw WireError(.packetLength(stated: stated), at: 0)
        }
        guard stated > PacketHeader.byteCount else { throw WireError(.noFrames, at: 0) }
        position = PacketHeader.byteCount
        byteCount = packet.count
    }

    /// Goes on in a packet whose header was checked, at the `offset` where a cursor stood.
    package init(packet: Span<UInt8>, continuingAt offset: Int) {
        precondition(offset >= PacketHeader.byteCount && offset <= packet.count)
        position = offset
        byteCount = packet.count
    }

    /// The next frame, or nil at the end of the packet. Frames of unknown types that may be
    /// ignored are stepped over.
    @inlinable @inline(__always)
    package mutating func next(in packet: Span<UInt8>) throws(WireError) -> FrameHeader? {
        precondition(packet.count == byteCount)
        while position < byteCount {
            let start = position
            let rest = byteCount &- start
            guard rest >= FrameHeader.byteCount else {
                throw WireError(.frameLength(stated: rest), at: start)
            }
            let length = Int(packet.loadUInt32(at: start))
            guard length >= FrameHeader.byteCount, length <= rest else {
                throw WireError(.frameLength(stated: length), at: start)
            }
            position = start &+ length
            let rawType = packet[start &+ 4]
            guard let type = FrameType(rawValue: rawType) else {
                if rawType & 0x80 != 0 { continue }
                throw WireError(.frameType(rawType), at: start)
            }
            let header = FrameHeader(
                type: type, flags: packet[start &+ 5], offset: start, length: length,
                leadLength: Int(packet.loadUInt16(at: start &+ 6)))
            try header.check()
            return header
        }
        return nil
    }

    /// As `next`, where a cursor has gone before, up to the end of the span: no frame is checked
    /// again. The bounds of the span are.
    @inlinable @inline(__always)
    package mutating func nextChecked(in packet: Span<UInt8>) -> FrameHeader? {
        precondition(packet.count == byteCount)
        while position < byteCount {
            let start = position
            let length = Int(packet.loadUInt32(at: start))
            precondition(length >= FrameHeader.byteCount, "the packet was checked before")
            position = start &+ length
            let kind = packet.loadUInt32(at: start &+ 4)
            guard let type = FrameType(rawValue: UInt8(truncatingIfNeeded: kind)) else { continue }
            return FrameHeader(
                type: type, flags: UInt8(truncatingIfNeeded: kind >> 8), offset: start,
                length: length, leadLength: Int(kind >> 16))
        }
        return nil
    }
}

extension FrameHeader {
    @inlinable @inline(__always)
    func check() throws(WireError) {
        if flags & Self.criticalFlags & ~type.knownFlags != 0 {
            throw WireError(.criticalFlags(flags), at: offset)
        }
        if leadLength != 0 && !type.hasLead {
            throw WireError(.unexpectedLead, at: offset)
        }
        let needed = Self.byteCount &+ type.fixedBytes &+ leadLength
        if length < needed {
            throw WireError(.frameTooShort(needed: needed), at: offset)
        }
        if length > needed && !type.hasTail {
            throw WireError(.leftOver(bytes: length - needed), at: offset)
        }
    }
}
