extension UInt64 {
    /// What others state may be any number; sums of it must not trap.
    func saturatingAdd(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}

/// Text made of bytes: what renderers append to their buffers without a `String` in between.
extension [UInt8] {
    @inline(__always)
    mutating func append(_ bytes: Span<UInt8>) {
        // The standard library writes to the storage that all empty arrays share if nothing is
        // appended to one, which the thread sanitizer rightly does not like.
        if bytes.isEmpty { return }
        append(addingCapacity: bytes.count) { output in
            for index in 0..<bytes.count { output.append(bytes[index]) }
        }
    }

    mutating func append(_ text: String) {
        append(contentsOf: text.utf8)
    }

    mutating func append(decimal value: UInt64) {
        var divisor: UInt64 = 1
        while value / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            append(0x30 + UInt8(truncatingIfNeeded: value / divisor % 10))
            divisor /= 10
        }
    }

    /// With leading zeros, exactly `digits` of them; higher ones are left out.
    mutating func append(decimal value: UInt64, digits: Int) {
        var divisor: UInt64 = 1
        for _ in 1..<digits { divisor *= 10 }
        while divisor > 0 {
            append(0x30 + UInt8(truncatingIfNeeded: value / divisor % 10))
            divisor /= 10
        }
    }

    mutating func append(decimal value: Int32) {
        if value < 0 { append(UInt8(ascii: "-")) }
        append(decimal: UInt64(value.magnitude))
    }

    mutating func appendHex(_ byte: UInt8) {
        append(Self.hexDigit(byte >> 4))
        append(Self.hexDigit(byte & 0x0F))
    }

    @inline(__always)
    private static func hexDigit(_ value: UInt8) -> UInt8 {
        value < 10 ? 0x30 + value : 0x57 + value
    }

    /// RFC 4648, section 4, with padding.
    mutating func append(base64 bytes: Span<UInt8>) {
        var offset = 0
        while offset < bytes.count {
            let left = bytes.count - offset
            let first = bytes[offset]
            let second = left > 1 ? bytes[offset + 1] : 0
            let third = left > 2 ? bytes[offset + 2] : 0
            append(Self.base64Digit(first >> 2))
            append(Self.base64Digit((first & 0x03) << 4 | second >> 4))
            append(left > 1 ? Self.base64Digit((second & 0x0F) << 2 | third >> 6) : 0x3D)
            append(left > 2 ? Self.base64Digit(third & 0x3F) : 0x3D)
            offset += 3
        }
    }

    private static func base64Digit(_ value: UInt8) -> UInt8 {
        switch value {
        case 0..<26: UInt8(ascii: "A") + value
        case 26..<52: UInt8(ascii: "a") + (value - 26)
        case 52..<62: UInt8(ascii: "0") + (value - 52)
        case 62: UInt8(ascii: "+")
        default: UInt8(ascii: "/")
        }
    }
}
