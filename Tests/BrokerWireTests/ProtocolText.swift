import Foundation
import TestSupport

/// A table of one of the texts in Protocol, found by its header row within a section.
struct ProtocolTable {
    /// Cells of each row below the header, as they are written, without the marks of code.
    let rows: [[String]]

    struct Missing: Error, CustomStringConvertible {
        let description: String
    }

    /// - Parameters:
    ///   - file: below Protocol.
    ///   - section: how its heading begins, behind the signs: `5. `, `5.1 `.
    ///   - first: the first column of the table's header, which tells it from others there.
    init(_ file: String, section: String, first: String) throws {
        let text = try String(
            contentsOf: ProjectFiles.root.appending(path: "Protocol").appending(path: file),
            encoding: .utf8)
        var isInSection = false
        var found: [[String]] = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("#") {
                isInSection = line.drop { $0 == "#" }.dropFirst().hasPrefix(section)
            }
            let isRow = isInSection && line.hasPrefix("|")
            let cells = isRow ? Self.cells(of: line) : []
            if found.isEmpty ? cells.first == first : isRow {
                found.append(cells)
            } else if !found.isEmpty {
                break
            }
        }
        rows = Array(found.dropFirst(2))
        if rows.isEmpty {
            throw Missing(description: "no table '\(first)' in section '\(section)' of \(file)")
        }
    }

    private static func cells(of line: Substring) -> [String] {
        line.dropFirst().dropLast().split(separator: "|", omittingEmptySubsequences: false).map {
            $0.replacing("`", with: "").trimmingCharacters(in: .whitespaces)
        }
    }

    /// The cell of the row whose first one is `name`.
    func value(_ name: String, column: Int = 1) throws -> String {
        guard let row = rows.first(where: { $0.first == name }) else {
            throw Missing(description: "no row '\(name)'")
        }
        return row[column]
    }

    /// The numbers in a cell, in their order: `1,024 bytes, 64 levels` has 1024 and 64. With a
    /// unit of binary bytes behind it a number counts as that many.
    static func numbers(in cell: String) -> [Int] {
        let words = cell.split { " |–".contains($0) }.map(String.init)
        return words.indices.compactMap { index in
            let digits = words[index].filter { $0 != "," }
            guard let number = Int(digits) else { return nil }
            switch index + 1 < words.count ? words[index + 1].prefix(3) : "" {
            case "KiB": return number << 10
            case "MiB": return number << 20
            default: return number
            }
        }
    }

    func numbers(_ name: String, column: Int = 1) throws -> [Int] {
        Self.numbers(in: try value(name, column: column))
    }
}

/// Offsets of the fields of a frame or record, and the bytes that they fill.
struct ProtocolLayout {
    /// Offset behind the last field of known size.
    let end: Int
    /// Where each field begins that has a name.
    let offsets: [String: Int]

    struct Gap: Error {
        let row: [String]
    }

    /// - Throws: if the fields do not follow one another.
    init(_ table: ProtocolTable) throws {
        var offset: Int?
        var offsets: [String: Int] = [:]
        for row in table.rows {
            let start = Int(row[0])
            if offset != nil && start != offset { throw Gap(row: row) }
            guard let start else { throw Gap(row: row) }
            offsets[row[2]] = start
            guard let bytes = Self.bytes(row[1]) else {
                offset = start
                continue
            }
            offset = start + bytes
        }
        end = offset ?? 0
        self.offsets = offsets
    }

    /// Of a size such as `u32`, `i32` or `56`; nil for what is left over.
    private static func bytes(_ size: String) -> Int? {
        if let bytes = Int(size) { return bytes }
        return ["u8": 1, "u16": 2, "u32": 4, "i32": 4, "u64": 8][size]
    }
}
