/// The bytes of a configuration file as TOML.
enum ConfigurationText {
    /// - Throws: the first thing that is wrong with it, with its line.
    static func parse(
        _ bytes: [UInt8], bytesMax: Int
    ) throws(ConfigurationProblem) -> TOMLSection {
        try check(bytes, bytesMax: bytesMax)
        return try TOMLReader.read(bytes)
    }

    /// What is no text, or not all of it.
    private static func check(_ bytes: [UInt8], bytesMax: Int) throws(ConfigurationProblem) {
        let marks: [(bytes: [UInt8], name: String)] = [
            ([0xEF, 0xBB, 0xBF], "UTF-8"), ([0xFF, 0xFE], "UTF-16"), ([0xFE, 0xFF], "UTF-16"),
        ]
        for mark in marks where bytes.starts(with: mark.bytes) {
            throw ConfigurationProblem(
                line: 1,
                "the file begins with the byte order mark of \(mark.name): save it as UTF-8 "
                    + "without one")
        }
        if bytes.count > bytesMax {
            throw ConfigurationProblem(line: 0, "the file is larger than \(bytesMax) bytes")
        }
        do throws(UTF8.ValidationError) {
            _ = try UTF8Span(validating: bytes.span)
        } catch {
            throw ConfigurationProblem(
                line: line(of: error.byteOffsets.lowerBound, in: bytes),
                "bytes that are not UTF-8: save the file in that encoding")
        }
        if let nul = bytes.firstIndex(of: 0) {
            throw ConfigurationProblem(line: line(of: nul, in: bytes), "a NUL byte")
        }
        if let last = bytes.last, last != UInt8(ascii: "\n") {
            throw ConfigurationProblem(
                line: line(of: bytes.count, in: bytes),
                "the last line has no end: the file may have been cut off")
        }
    }

    private static func line(of offset: Int, in bytes: [UInt8]) -> Int {
        1 + bytes[..<offset].count { $0 == UInt8(ascii: "\n") }
    }
}
