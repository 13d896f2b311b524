/// How many run-time checks there are in lines of code.
struct CheckDensity {
    let checks: Int
    let lines: Int

    init(code: [String]) {
        let words = ["precondition", "preconditionFailure", "assert", "assertionFailure"]
        lines = code.count { !$0.allSatisfy(\.isWhitespace) }
        checks = code.count { line in
            words.contains { line.hasWord($0) } || line.contains("checkInvariants()")
        }
    }

    var isEnough: Bool { checks * 1_000 >= lines * 15 }
}
