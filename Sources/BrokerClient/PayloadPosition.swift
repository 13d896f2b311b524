/// How many of several payloads, which stand one behind the other, have been taken.
struct PayloadPosition {
    private(set) var index = 0
    private var offset = 0
    /// Bytes of the largest.
    let largest: Int

    init(byteCounts: Span<Int>, in payloads: Span<UInt8>) {
        var largest = 0
        var left = payloads.count
        for index in byteCounts.indices {
            let count = byteCounts[index]
            precondition(count >= 0 && count <= left, "payloads have as many bytes as is said")
            left -= count
            largest = max(largest, count)
        }
        precondition(left == 0, "payloads have as many bytes as is said")
        self.largest = largest
    }

    /// Where the next one stands.
    func range(in byteCounts: Span<Int>) -> Range<Int> { offset..<(offset + byteCounts[index]) }

    mutating func advance(in byteCounts: Span<Int>) {
        offset += byteCounts[index]
        index += 1
    }
}
