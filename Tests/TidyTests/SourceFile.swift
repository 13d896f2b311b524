import Foundation

/// A file of the tree as the rules see it: its lines, and the same lines with comments and the
/// content of string literals blanked out.
struct SourceFile {
    /// From the top of the tree: `Sources/BrokerWire/Topic.swift`.
    let path: String
    let lines: [String]
    let code: [String]

    init(path: String, text: String) {
        self.path = path
        var lines = text.components(separatedBy: "\n")
        if lines.last == "" { lines.removeLast() }
        self.lines = lines
        var stripper = CodeStripper()
        code = lines.map { stripper.strip($0) }
    }

    /// `Sources/BrokerWire`, `Tests/TidyTests`: the folder of the target.
    var target: String { path.split(separator: "/").prefix(2).joined(separator: "/") }

    static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// All Swift files below `Sources` and `Tests`, read once.
    static func all() throws -> [SourceFile] { try tree.get() }

    private static let tree = Result {
        try ["Sources", "Tests"].flatMap { folder in
            let top = root.appending(path: folder)
            let paths = try FileManager.default.subpathsOfDirectory(atPath: top.path).sorted()
            return try paths.filter { $0.hasSuffix(".swift") }.map { path in
                let text = try String(contentsOf: top.appending(path: path), encoding: .utf8)
                return SourceFile(path: folder + "/" + path, text: text)
            }
        }
    }
}

/// Blanks comments and the content of string literals, line by line. Knows nested comments, raw
/// and multi-line strings; code in an interpolation stays.
struct CodeStripper {
    private enum Place {
        case code(parentheses: Int)
        case comment(depth: Int)
        case string(hashes: Int, isMultiLine: Bool)
    }

    private var places: [Place] = [.code(parentheses: 0)]

    mutating func strip(_ line: String) -> String {
        var rest = Substring(line)
        var output = ""
        while !rest.isEmpty {
            switch places[places.count - 1] {
            case .code(let parentheses):
                if rest.hasPrefix("//") { return output }
                readCode(&rest, &output, parentheses: parentheses)
            case .comment(let depth): readComment(&rest, depth: depth)
            case .string(let hashes, let isMultiLine):
                readString(&rest, &output, hashes: hashes, isMultiLine: isMultiLine)
            }
        }
        // An ordinary literal ends with its line at the latest.
        if case .string(_, isMultiLine: false) = places[places.count - 1] { places.removeLast() }
        return output
    }

    private mutating func readCode(
        _ rest: inout Substring, _ output: inout String, parentheses: Int
    ) {
        if rest.hasPrefix("/*") {
            places.append(.comment(depth: 1))
            rest = rest.dropFirst(2)
            return
        }
        let hashes = rest.prefix { $0 == "#" }.count
        let afterHashes = rest.dropFirst(hashes)
        if afterHashes.hasPrefix("\"") {
            let isMultiLine = afterHashes.hasPrefix("\"\"\"")
            places.append(.string(hashes: hashes, isMultiLine: isMultiLine))
            output += "\""
            rest = afterHashes.dropFirst(isMultiLine ? 3 : 1)
            return
        }
        let character = rest.removeFirst()
        output.append(character)
        guard places.count > 1 else { return }
        if character == "(" { places[places.count - 1] = .code(parentheses: parentheses + 1) }
        if character == ")" {
            if parentheses == 1 {
                places.removeLast()
            } else {
                places[places.count - 1] = .code(parentheses: parentheses - 1)
            }
        }
    }

    private mutating func readComment(_ rest: inout Substring, depth: Int) {
        if rest.hasPrefix("/*") {
            places[places.count - 1] = .comment(depth: depth + 1)
            rest = rest.dropFirst(2)
        } else if rest.hasPrefix("*/") {
            places.removeLast()
            if depth > 1 { places.append(.comment(depth: depth - 1)) }
            rest = rest.dropFirst(2)
        } else {
            rest = rest.dropFirst()
        }
    }

    private mutating func readString(
        _ rest: inout Substring, _ output: inout String, hashes: Int, isMultiLine: Bool
    ) {
        let marks = String(repeating: "#", count: hashes)
        let end = (isMultiLine ? "\"\"\"" : "\"") + marks
        if rest.hasPrefix("\\" + marks + "(") {
            places.append(.code(parentheses: 1))
            output += "("
            rest = rest.dropFirst(2 + hashes)
        } else if rest.hasPrefix("\\" + marks) {
            rest = rest.dropFirst(2 + hashes)
        } else if rest.hasPrefix(end) {
            places.removeLast()
            output += "\""
            rest = rest.dropFirst(end.count)
        } else {
            rest = rest.dropFirst()
        }
    }
}
