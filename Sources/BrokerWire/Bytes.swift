/// Little-endian numbers in byte spans. Each load checks once that all of its bytes are there;
/// the compiler turns the rest into a single move.
extension Span where Element == UInt8 {
    @inlinable @inline(__always)
    package func loadUInt16(at offset: Int) -> UInt16 {
        precondition(offset >= 0 && offset <= count &- 2)
        return UInt16(self[offset]) | UInt16(self[offset &+ 1]) << 8
    }

    @inlinable @inline(__always)
    package func loadUInt32(at offset: Int) -> UInt32 {
        precondition(offset >= 0 && offset <= count &- 4)
        return UInt32(self[offset]) | UInt32(self[offset &+ 1]) << 8
            | UInt32(self[offset &+ 2]) << 16 | UInt32(self[offset &+ 3]) << 24
    }

    @inlinable @inline(__always)
    package func loadUInt64(at offset: Int) -> UInt64 {
        UInt64(loadUInt32(at: offset)) | UInt64(loadUInt32(at: offset &+ 4)) << 32
    }

    /// Whether both spans hold the same bytes. Eight at a time, the last eight overlapping those
    /// before them: topics are compared per message.
    @inlinable @inline(__always)
    package func equals(_ other: Span<UInt8>) -> Bool {
        guard count == other.count else { return false }
        var offset = 0
        if count >= 8 {
            while offset &+ 8 < count {
                if loadUInt64(at: offset) != other.loadUInt64(at: offset) { return false }
                offset &+= 8
            }
            return loadUInt64(at: count &- 8) == other.loadUInt64(at: count &- 8)
        }
        while offset < count {
            if self[offset] != other[offset] { return false }
            offset &+= 1
        }
        return true
    }

    /// A copy of the bytes, for the slow paths that keep them.
    package func copied() -> [UInt8] {
        [UInt8](capacity: count) { output in
            for offset in 0..<count { output.append(self[offset]) }
        }
    }

    /// The bytes as text; what is not UTF-8 shows as U+FFFD.
    package func text() -> String {
        String(decoding: copied(), as: UTF8.self)
    }
}

extension OutputSpan where Element == UInt8 {
    @inlinable @inline(__always) @_lifetime(self: copy self)
    package mutating func append(littleEndian value: UInt16) {
        append(UInt8(truncatingIfNeeded: value))
        append(UInt8(truncatingIfNeeded: value >> 8))
    }

    @inlinable @inline(__always) @_lifetime(self: copy self)
    package mutating func append(littleEndian value: UInt32) {
        append(littleEndian: UInt16(truncatingIfNeeded: value))
        append(littleEndian: UInt16(truncatingIfNeeded: value >> 16))
    }

    @inlinable @inline(__always) @_lifetime(self: copy self)
    package mutating func append(littleEndian value: UInt64) {
        append(littleEndian: UInt32(truncatingIfNeeded: value))
        append(littleEndian: UInt32(truncatingIfNeeded: value >> 32))
    }
}
