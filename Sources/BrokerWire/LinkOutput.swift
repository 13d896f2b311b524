import BasicContainers

/// Bytes on their way to a peer broker: records are appended behind, the shell takes from the
/// front what the stream has accepted. Its memory is kept.
package struct LinkOutput: ~Copyable {
    private var bytes: UniqueArray<UInt8>
    /// Bytes at the front that have been sent.
    private var sentBytes = 0

    package init(capacityBytes: Int = 0) {
        bytes = UniqueArray(minimumCapacity: capacityBytes)
    }

    package var pendingBytes: Int { bytes.count - sentBytes }
    package var isEmpty: Bool { pendingBytes == 0 }
    /// Where the next byte will stand, as an offset for `span(from:)`.
    package var end: Int { bytes.count }

    /// What is to be sent.
    package var pending: Span<UInt8> {
        @_lifetime(borrow self)
        borrowing get { bytes.span.extracting(sentBytes...) }
    }

    /// What was appended from an offset on.
    @_lifetime(borrow self)
    package borrowing func span(from start: Int) -> Span<UInt8> {
        bytes.span.extracting(start...)
    }

    /// The stream took `count` bytes.
    package mutating func sent(_ count: Int) {
        precondition(count <= pendingBytes)
        sentBytes += count
        if sentBytes == bytes.count { clear() }
    }

    package mutating func clear() {
        bytes.removeAll(keepingCapacity: true)
        sentBytes = 0
    }

    package mutating func append(_ byte: UInt8) { bytes.append(byte) }

    package mutating func append(copying source: Span<UInt8>) { bytes.append(copying: source) }

    package mutating func append(littleEndian value: UInt16) {
        for shift in [0, 8] as [UInt16] { append(UInt8(truncatingIfNeeded: value >> shift)) }
    }

    package mutating func append(littleEndian value: UInt32) {
        append(littleEndian: UInt16(truncatingIfNeeded: value))
        append(littleEndian: UInt16(truncatingIfNeeded: value >> 16))
    }

    package mutating func append(littleEndian value: UInt64) {
        append(littleEndian: UInt32(truncatingIfNeeded: value))
        append(littleEndian: UInt32(truncatingIfNeeded: value >> 32))
    }

    /// Replaces four bytes: a length that is known afterwards.
    package mutating func replace(at offset: Int, littleEndian value: UInt32) {
        for index in 0..<4 {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(8 * index))
        }
    }

    /// A frame as README.md, section 3, has it.
    package mutating func appendFrame(
        _ type: LinkFrame.Kind, lead: Span<UInt8>, fixed: [UInt8] = []
    ) {
        append(littleEndian: UInt32(FrameHeader.byteCount + fixed.count + lead.count))
        append(type.rawValue)
        append(0)
        append(littleEndian: UInt16(lead.count))
        append(copying: fixed.span)
        append(copying: lead)
    }

    package mutating func appendFrame(_ type: LinkFrame.Kind, number: UInt64, nonce: [UInt8] = []) {
        let fixed = (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(8 * $0)) }
        appendFrame(type, lead: Span(), fixed: fixed + nonce)
    }
}
