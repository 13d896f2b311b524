/// Something in a configuration file that is wrong, or looks wrong, and where.
package struct ConfigurationProblem: Error, Equatable, Sendable, CustomStringConvertible {
    /// From 1; 0: the file as a whole.
    package let line: Int
    package let text: String

    package init(line: Int, _ text: String) {
        self.line = line
        self.text = Self.shortened(text)
    }

    /// A value that is repeated in the middle may be as long as the file; what to do stands at the
    /// end.
    private static func shortened(_ text: String) -> String {
        guard text.utf8.count > 1_024 else { return text }
        return text.prefix(200) + " … " + text.suffix(400)
    }

    package var description: String { line == 0 ? text : "line \(line): \(text)" }
}

/// Why a file is not used: everything that is wrong with it.
package struct ConfigurationError: Error, Equatable, Sendable, CustomStringConvertible {
    package let problems: [ConfigurationProblem]

    package init(_ problems: [ConfigurationProblem]) {
        precondition(!problems.isEmpty)
        self.problems = problems.sorted { $0.line < $1.line }
    }

    package init(line: Int = 0, _ text: String) {
        self.init([ConfigurationProblem(line: line, text)])
    }

    package var description: String { problems.report().joined(separator: "\n") }
}

extension [ConfigurationProblem] {
    /// As many as somebody reads before mending the file.
    private static var reportedMax: Int { 20 }

    /// One line for each of the first, and one that counts the others.
    ///
    /// - Parameter path: of the file, to stand before each line.
    package func report(path: String? = nil) -> [String] {
        let lines = prefix(Self.reportedMax).map { problem in
            guard let path else { return problem.description }
            return problem.line == 0
                ? "\(path): \(problem.text)" : "\(path):\(problem.line): \(problem.text)"
        }
        let rest = count - lines.count
        return rest > 0 ? lines + ["and \(rest) more"] : lines
    }
}
