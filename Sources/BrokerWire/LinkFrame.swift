import BasicContainers

/// A frame in the body of an envelope, its lengths checked. Protocol/forwarding.md, sections 5, 7
/// and 8. Whoever reads it has verified the tag of the envelope before.
package struct LinkFrame: Equatable, Sendable {
    package enum Kind: UInt8, Sendable, CaseIterable {
        case sender = 0x07
        case deliver = 0x08
        case lost = 0x09
        case ping = 0x0A
        case pong = 0x0B
        case disconnect = 0x0C
        case route = 0x0F
        case acknowledge = 0x41
        case interest = 0x42
        case disinterest = 0x43
        case interestEnd = 0x44
        case rekey = 0x45
        case rekeyed = 0x46
        case rekeyEnd = 0x47
        case rekeyRefused = 0x48

        package var fixedBytes: Int {
            switch self {
            case .sender: SenderRecord.byteCount
            case .deliver, .lost: 12
            case .ping, .pong, .route, .acknowledge, .rekeyRefused: 8
            case .disconnect, .interest: 4
            case .disinterest, .interestEnd, .rekeyEnd: 0
            case .rekey, .rekeyed: 8 + LinkLimits.nonceBytes
            }
        }

        package var hasLead: Bool {
            switch self {
            case .deliver, .disconnect, .route, .interest, .disinterest: true
            case .sender, .lost, .ping, .pong, .acknowledge, .interestEnd, .rekey, .rekeyed,
                .rekeyEnd, .rekeyRefused:
                false
            }
        }

        /// Whether it belongs into DATA; the others belong into CONTROL.
        package var isData: Bool {
            switch self {
            case .sender, .deliver, .lost, .route: true
            case .ping, .pong, .disconnect, .acknowledge, .interest, .disinterest, .interestEnd,
                .rekey, .rekeyed, .rekeyEnd, .rekeyRefused:
                false
            }
        }
    }

    /// Bytes of a ROUTE without its path.
    package static let routeBytes = FrameHeader.byteCount + 8

    package let kind: Kind
    package let offset: Int
    package let length: Int
    package let leadLength: Int

    package var fixed: Int { offset &+ FrameHeader.byteCount }
    package var end: Int { offset &+ length }
    package var lead: Range<Int> {
        let start = fixed &+ kind.fixedBytes
        return start..<(start &+ leadLength)
    }
    /// Lead and tail side by side: of DELIVER, topic and payload.
    package var body: Range<Int> { (fixed &+ kind.fixedBytes)..<end }

    /// Reads the frame at `offset`.
    ///
    /// - Returns: nil for a frame that may be ignored; either way `offset` stands behind it.
    package static func next(
        in bytes: Span<UInt8>, at offset: inout Int, isData: Bool
    ) throws(LinkFault) -> LinkFrame? {
        let start = offset
        let rest = bytes.count - start
        guard rest >= FrameHeader.byteCount else {
            throw LinkFault(.malformed, "\(rest) bytes are left over")
        }
        let length = Int(bytes.loadUInt32(at: start))
        guard length >= FrameHeader.byteCount, length <= rest else {
            throw LinkFault(.malformed, "a frame states \(length) bytes of \(rest)")
        }
        offset = start + length
        let rawType = bytes[start + 4]
        guard let kind = Kind(rawValue: rawType), kind.isData == isData else {
            if rawType & 0x80 != 0 { return nil }
            throw LinkFault(.malformed, "frame type \(rawType) is unknown here")
        }
        let frame = LinkFrame(
            kind: kind, offset: start, length: length,
            leadLength: Int(bytes.loadUInt16(at: start + 6)))
        try frame.check(flags: bytes[start + 5])
        return frame
    }

    private func check(flags: UInt8) throws(LinkFault) {
        let needed = FrameHeader.byteCount + kind.fixedBytes + leadLength
        guard flags & 0x0F == 0, leadLength == 0 || kind.hasLead, length >= needed,
            length == needed || kind == .deliver
        else { throw LinkFault(.malformed, "a frame of type \(kind.rawValue) does not fit") }
    }
}

extension PacketBuffer {
    /// Writes a ROUTE; a SENDER follows.
    package mutating func appendRoute(epoch: UInt64, path: Span<UInt8>) {
        let head = LinkFrame.routeBytes
        precondition(bytes.freeCapacity >= head + path.count)
        bytes.append(addingCount: head) { output in
            output.append(littleEndian: UInt32(head + path.count))
            output.append(LinkFrame.Kind.route.rawValue)
            output.append(0)
            output.append(littleEndian: UInt16(path.count))
            output.append(littleEndian: epoch)
        }
        bytes.append(copying: path)
        frames &+= 1
    }
}
