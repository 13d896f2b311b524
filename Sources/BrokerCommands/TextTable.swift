/// Columns for people, aligned by the longest cell. Numbers stand to the right.
struct TextTable {
    private let titles: [String]
    private var rows: [[String]] = []

    init(_ titles: [String]) {
        self.titles = titles
    }

    mutating func append(_ row: [String]) {
        precondition(row.count == titles.count)
        rows.append(row.map { Printable.escaped($0) })
    }

    var isEmpty: Bool { rows.isEmpty }

    var text: String {
        let widths = titles.indices.map { column in
            ([titles] + rows).map { $0[column].count }.max() ?? 0
        }
        let isNumeric = titles.indices.map { column in
            rows.allSatisfy { $0[column].utf8.allSatisfy { (0x30...0x39).contains($0) } }
        }
        return ([titles] + rows).map { row in
            let cells = row.indices.map { column in
                let space = String(repeating: " ", count: widths[column] - row[column].count)
                return isNumeric[column] ? space + row[column] : row[column] + space
            }
            let line = cells.joined(separator: "  ")
            let spaces = line.reversed().prefix { $0 == " " }.count
            return line.dropLast(spaces) + "\n"
        }.joined()
    }
}
