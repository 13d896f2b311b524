/// A function, initialiser or computed property, from the line it begins on to the brace that
/// ends it. Found by words and braces: good enough for formatted code.
struct Function {
    let name: String
    /// Counted from 1.
    let line: Int
    let lineCount: Int
    let parameterCount: Int

    /// Initialisers that fill in a record take as many parameters as it has fields.
    var isNamed: Bool { name.hasPrefix("func") }

    static func all(in file: SourceFile) -> [Function] {
        file.code.indices.compactMap { begin(at: $0, in: file.code) }
    }

    private static func begin(at index: Int, in code: [String]) -> Function? {
        guard let name = name(in: code[index]) else { return nil }
        var braces = 0
        var parentheses = 0
        var brackets = 0
        var parameters = 0
        var hasSignature = false
        for end in index..<code.count {
            for character in code[end] {
                switch character {
                case "(": parentheses += 1
                case ")":
                    parentheses -= 1
                    if parentheses == 0 { hasSignature = true }
                case "[": brackets += 1
                case "]": brackets -= 1
                case ":" where parentheses == 1 && brackets == 0 && !hasSignature: parameters += 1
                case "{": braces += 1
                case "}":
                    braces -= 1
                    if braces == 0 {
                        return Function(
                            name: name, line: index + 1, lineCount: end - index + 1,
                            parameterCount: parameters)
                    }
                    // A requirement of a protocol has no body.
                    if braces < 0 { return nil }
                default: break
                }
            }
        }
        return nil
    }

    /// `func name`, `init`, `var name`, if the line declares something that can have a body.
    private static func name(in line: String) -> String? {
        let words = line.split { $0 == " " || $0 == "(" || $0 == "<" || $0 == ":" }
        guard let keyword = words.first(where: { !isModifier($0) }) else { return nil }
        switch keyword {
        case "func":
            let index = words.firstIndex(of: "func") ?? 0
            return index + 1 < words.count ? "func " + words[index + 1] : nil
        case "init", "init?", "deinit", "subscript": return String(keyword)
        case "var" where line.hasSuffix("{") && !line.contains("="):
            let index = words.firstIndex(of: "var") ?? 0
            return index + 1 < words.count ? "var " + words[index + 1] : nil
        default: return nil
        }
    }

    private static func isModifier(_ word: Substring) -> Bool {
        let modifiers: Set<Substring> = [
            "public", "package", "internal", "fileprivate", "private", "static", "final",
            "mutating", "nonmutating", "consuming", "borrowing", "override", "convenience",
            "required", "nonisolated", "private(set)", "self", "copy", "__always)",
        ]
        return modifiers.contains(word) || word.hasPrefix("@") || word.hasSuffix(")")
    }
}
