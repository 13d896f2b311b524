/// The rules. Each one has a test on the tree and a test that it can fail.
extension Rule {
    static let functionLines = Rule(fix: "split it: at most 70 lines") { file in
        Function.all(in: file).filter { $0.lineCount > 70 }.map { function in
            (function.line, "\(function.name) has \(function.lineCount) lines")
        }
    }

    static let parameters = Rule(fix: "pass a value that holds them: at most 6") { file in
        Function.all(in: file).filter { $0.isNamed && $0.parameterCount > 6 }.map { function in
            (function.line, "\(function.name) has \(function.parameterCount) parameters")
        }
    }

    static let fileLines = Rule(fix: "split it: at most 600 lines, tests 800") { file in
        let most = file.path.hasPrefix("Tests/") ? 800 : 600
        return file.lines.count > most
            ? [(file.lines.count, "the file has \(file.lines.count) lines")] : []
    }

    static let columns = Rule(fix: "break it: at most 100") { file in
        file.lines.indices.filter { file.lines[$0].count > 100 }.map { index in
            (index + 1, "the line has \(file.lines[index].count) columns")
        }
    }

    /// Tests of the kernel boundary play the kernel's part.
    static let kernelBoundary = Rule.forbid(
        "'unsafe'", fix: "only the kernel boundary, LinuxIO, may say that"
    ) { line in
        line.hasWord("unsafe")
    }.except(in: ["Sources/LinuxIO", "Sources/BrokerSigning", "Tests/LinuxIOTests"])

    static let forcedTry = Rule.forbid("'try!'", fix: "throw or handle the error") {
        $0.contains("try!")
    }

    static let forcedCast = Rule.forbid("'as!'", fix: "use 'as?' and handle nil") {
        $0.contains("as!")
    }

    /// `x!`, `f()!`, `a[0]!`, and `T!` as a type; not `!x`, `x != y`, `try!`, `as!`.
    static let forcedUnwrap = Rule.forbid("'!' after a value", fix: "use 'guard let' or 'if let'") {
        line in
        let characters = Array(line)
        return characters.indices.dropFirst().contains { index in
            guard characters[index] == "!" else { return false }
            let before = characters[index - 1]
            let word = String(characters[..<index].reversed().prefix(while: \.isLetter).reversed())
            guard before.isLetter || before.isNumber || "_)]}>\"`".contains(before) else {
                return false
            }
            guard word != "try" && word != "as" else { return false }
            return index + 1 == characters.count || characters[index + 1] != "="
        }
    }

    static let unfinished = Rule(fix: "finish it, or take it out") { file in
        file.lines.indices.compactMap { index in
            let line = file.lines[index]
            let marks = ["TO" + "DO", "FIX" + "ME", "X" + "XX", "H" + "ACK"]
            return marks.first { line.hasWord($0) }.map { (index + 1, "'\($0)'") }
        }
    }

    static let uncheckedSendability = Rule(fix: "say why it is safe in a // comment beside it") {
        file in
        file.code.indices.compactMap { index in
            let marks = ["@unchecked Sendable", "nonisolated(unsafe)", "@preconcurrency"]
            guard let mark = marks.first(where: { file.code[index].contains($0) }) else {
                return nil
            }
            return hasReason(file.lines, at: index)
                ? nil : (index + 1, "'\(mark)' without a reason")
        }
    }

    /// Whether a comment stands above the line and its attributes, or an ordinary one right below.
    private static func hasReason(_ lines: [String], at index: Int) -> Bool {
        let trimmed = lines.map { $0.drop { $0 == " " } }
        let above = trimmed[..<index].last { !$0.hasPrefix("@") } ?? ""
        let below = index + 1 < lines.count ? trimmed[index + 1] : ""
        if below.hasPrefix("// ") { return true }
        return above.hasPrefix("// ")
    }

    /// The broker as a state machine: events in, effects out.
    static let pure = Rule(fix: "the core and the wire layer are pure; let the shell do it") {
        file in
        let words = ["async", "await", "Task", "Date", "ContinuousClock", "SuspendingClock"]
        return file.code.indices.compactMap { index in
            let line = file.code[index]
            if let word = words.first(where: { line.hasWord($0) }) {
                return (index + 1, "'\(word)'")
            }
            return line.contains(".random(") ? (index + 1, "'.random('") : nil
        }
    }.only(in: ["Sources/BrokerCore", "Sources/BrokerWire"])

    /// Looked for in literals too, since build settings stand there; not in comments.
    static let unchecked = Rule(
        fix: "it deletes the preconditions that guard memory; build with -O"
    ) { file in
        let comment = file.path.hasSuffix(".swift") ? "//" : "#"
        return file.lines.indices.filter { index in
            let line = file.lines[index]
            let end = line.firstRange(of: comment)?.lowerBound ?? line.endIndex
            return line[..<end].contains("-Ounchecked")
        }.map { ($0 + 1, "'-Ounchecked'") }
    }
}
