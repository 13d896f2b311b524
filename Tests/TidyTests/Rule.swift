/// Something a rule objects to.
struct Finding: CustomStringConvertible {
    let path: String
    /// Counted from 1.
    let line: Int
    let message: String

    var description: String { "\(path):\(line): \(message)" }
}

/// One rule of the house, checked file by file.
struct Rule: Sendable {
    /// What to do instead.
    let fix: String
    private let check: @Sendable (SourceFile) -> [(line: Int, what: String)]

    init(fix: String, check: @escaping @Sendable (SourceFile) -> [(line: Int, what: String)]) {
        self.fix = fix
        self.check = check
    }

    func findings(in file: SourceFile) -> [Finding] {
        check(file).map { line, what in
            Finding(path: file.path, line: line, message: "\(what); \(fix)")
        }
    }

    /// The rule with the files whose path begins with one of `folders` left out.
    func except(in folders: [String]) -> Rule {
        filtered { path in !folders.contains { path.hasPrefix($0 + "/") } }
    }

    /// The rule for the files whose path begins with one of `folders`.
    func only(in folders: [String]) -> Rule {
        filtered { path in folders.contains { path.hasPrefix($0 + "/") } }
    }

    private func filtered(_ isWanted: @escaping @Sendable (String) -> Bool) -> Rule {
        Rule(fix: fix) { [check] file in isWanted(file.path) ? check(file) : [] }
    }

    /// Objects to lines of code in which `pattern` is found.
    static func forbid(
        _ what: String, fix: String, where isForbidden: @escaping @Sendable (String) -> Bool
    ) -> Rule {
        Rule(fix: fix) { file in
            file.code.indices.filter { isForbidden(file.code[$0]) }.map { ($0 + 1, what) }
        }
    }
}

extension String {
    /// Whether `word` stands in the line with no letter, digit or underscore beside it.
    func hasWord(_ word: String) -> Bool {
        var rest = self[...]
        while let found = rest.firstRange(of: word) {
            let before = self[..<found.lowerBound].last
            let after = self[found.upperBound...].first
            if !(before.map(isPart) ?? false) && !(after.map(isPart) ?? false) { return true }
            rest = self[found.upperBound...]
        }
        return false
    }

    private func isPart(_ character: Character) -> Bool {
        character.isLetter || character.isNumber || character == "_"
    }
}
