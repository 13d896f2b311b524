/// The header of everything that brokers send each other. Protocol/forwarding.md, section 2.
package struct LinkRecordHeader: Equatable, Sendable {
    package enum Kind: UInt8, Sendable, CaseIterable {
        case hello = 1
        case refusal = 2
        case open = 3
        case data = 4
        case control = 5

        /// Bytes that a body of this kind may have.
        package var bodyBytes: ClosedRange<Int> {
            switch self {
            case .hello: 37...100
            case .refusal: 4...260
            case .open: 20...LinkLimits.openBytesMax
            case .data: 16...(8 + Limits.packetBytesMax)
            case .control: 8...Limits.batchBytesTarget
            }
        }

        /// Whether records of this kind are envelopes: signed.
        package var isSigned: Bool {
            switch self {
            case .hello, .refusal: false
            case .open, .data, .control: true
            }
        }
    }

    package static let byteCount = 40
    package static let tagBytes = 32
    /// `C5 00 B8 00`, read as a little-endian number.
    package static let magic: UInt32 = 0x00B8_00C5
    package static let version: UInt8 = 1

    package var kind: Kind
    package var keyID: UInt64
    package var epoch: UInt64
    package var sequence: UInt64
    package var bodyBytes: Int
    /// Both reserved fields are 0.
    package var isClean = true

    package init(kind: Kind, keyID: UInt64, epoch: UInt64, sequence: UInt64, bodyBytes: Int) {
        self.kind = kind
        self.keyID = keyID
        self.epoch = epoch
        self.sequence = sequence
        self.bodyBytes = bodyBytes
    }

    /// Reads as much of a header as must be known to tell how long the record is.
    ///
    /// - Precondition: there are `byteCount` bytes.
    package init(reading bytes: Span<UInt8>) throws(LinkFault) {
        precondition(bytes.count >= Self.byteCount)
        // The header of TLS's first record: handshake, version 3.
        guard bytes[0] != 0x16 || bytes[1] != 3 else {
            throw LinkFault(
                .malformed,
                "the other side speaks TLS, this one does not: give both the same tls")
        }
        guard bytes.loadUInt32(at: 0) == Self.magic else {
            throw LinkFault(.malformed, "a record does not begin with C5 00 B8 00")
        }
        guard bytes[4] == Self.version else {
            throw LinkFault(.versionUnsupported, "version \(bytes[4]); this broker speaks 1")
        }
        guard let kind = Kind(rawValue: bytes[5]) else {
            throw LinkFault(.malformed, "unknown kind of record \(bytes[5])")
        }
        let length = Int(bytes.loadUInt32(at: 32))
        guard kind.bodyBytes.contains(length) else {
            throw LinkFault(.tooLong, "a record states a body of \(length) bytes")
        }
        self.init(
            kind: kind, keyID: bytes.loadUInt64(at: 8), epoch: bytes.loadUInt64(at: 16),
            sequence: bytes.loadUInt64(at: 24), bodyBytes: length)
        isClean = bytes.loadUInt16(at: 6) == 0 && bytes.loadUInt32(at: 36) == 0
    }

    /// Bytes of the whole record, tag included.
    package var recordBytes: Int {
        Self.byteCount + bodyBytes + (kind.isSigned ? Self.tagBytes : 0)
    }

    package func write(to output: inout LinkOutput) {
        output.append(littleEndian: Self.magic)
        output.append(Self.version)
        output.append(kind.rawValue)
        output.append(littleEndian: UInt16(0))
        output.append(littleEndian: keyID)
        output.append(littleEndian: epoch)
        output.append(littleEndian: sequence)
        output.append(littleEndian: UInt32(bodyBytes))
        output.append(littleEndian: UInt32(0))
    }
}

/// The limits of Protocol/forwarding.md, section 10.
package enum LinkLimits {
    package static let nameBytesMax = 64
    package static let pathNamesMax = 8
    package static let pathBytesMax = 255
    package static let nonceBytes = 32
    /// Import or export filters of one link.
    package static let filtersMax = 32
    package static let announcedFiltersMax = 65_536
    package static let openBytesMax = 34_816
    package static let refusalTextBytesMax = 256
    package static let windowBytes = 4 * 1_048_576
    package static let handshakeSecondsMax = 10
    package static let pingSeconds = 5
    package static let silentSecondsMax = 15
    /// Unfinished handshakes of one broker.
    package static let handshakesMax = 64
    /// Configured links; they are bits of a number.
    package static let linksMax = 64
    /// Pairs of origin and epoch remembered for one link.
    package static let originsPerLinkMax = 256

    package static func checkRelations() {
        precondition(20 + filtersMax * (2 + Limits.topicBytesMax) <= openBytesMax)
        precondition(pathNamesMax <= 8 && linksMax <= 64)
        // A message that may be published fits into a packet of a link, path included.
        precondition(
            PacketHeader.byteCount + LinkFrame.routeBytes + pathBytesMax
                + FrameHeader.byteCount + SenderRecord.byteCount
                + FrameHeader.byteCount + FrameType.lost.fixedBytes
                + DeliverFrame.overheadBytes <= Limits.messageHeadroomBytes)
    }
}

/// Why a link ends. Protocol/forwarding.md, section 9.
package struct LinkFault: Error, Equatable, Sendable {
    package enum Reason: UInt16, Sendable, CaseIterable {
        case versionUnsupported = 1
        case nameUnknown, keyUnknown, roleWrong, nameConflict
        case tagMismatch, sequenceWrong, malformed, tooLong
        case handshakeTimeout, silent, replaced, shuttingDown, limitExceeded, reconfigured
        /// Never sent: there is no stream that it could be sent on, or it is not TLS.
        case tlsFailed
    }

    package let reason: Reason
    package let explanation: String

    package init(_ reason: Reason, _ explanation: String) {
        self.reason = reason
        self.explanation = explanation
    }

    package init(_ error: WireError) {
        self.init(.malformed, error.description)
    }
}

/// Names of brokers that are linked, and the paths that are made of them.
package enum LinkName {
    package static func isValid(_ bytes: Span<UInt8>) -> Bool {
        guard (1...LinkLimits.nameBytesMax).contains(bytes.count) else { return false }
        for offset in 0..<bytes.count where !isNameByte(bytes[offset]) { return false }
        return true
    }

    package static func isValid(_ name: String) -> Bool { isValid(Array(name.utf8).span) }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "-"):
            true
        default: false
        }
    }

    /// The names of a path, or nil if it is none.
    package static func names(ofPath path: Span<UInt8>) -> [String]? {
        guard (1...LinkLimits.pathBytesMax).contains(path.count) else { return nil }
        var names: [String] = []
        var offset = 0
        while offset <= path.count {
            let end = Topic.levelEnd(in: path, from: offset)
            let name = path.extracting(offset..<end)
            guard isValid(name), names.count < LinkLimits.pathNamesMax else { return nil }
            names.append(name.text())
            offset = end + 1
        }
        return names
    }
}
