/// Bytes as pairs of hexadecimal digits, the way vectors and failure messages show them.
package enum HexText {
    /// The bytes that `text` spells; blanks between digits do not count. Anything else is a
    /// mistake in the test.
    package static func bytes(_ text: String) -> [UInt8] {
        let digits = text.filter { !$0.isWhitespace }.map { digit in
            guard let value = digit.hexDigitValue else {
                preconditionFailure("'\(digit)' is no hexadecimal digit")
            }
            return UInt8(value)
        }
        precondition(digits.count.isMultiple(of: 2))
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    package static func text(_ bytes: [UInt8]) -> String {
        bytes.map { byte in
            let digits = String(byte, radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined()
    }
}
