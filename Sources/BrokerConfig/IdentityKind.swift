package import BrokerWire

/// What a uid or gid is written as, in files and on the command line: a number, a range or a name.
package enum IdentityKind: Sendable {
    case user
    case group

    var word: String {
        switch self {
        case .user: "uid"
        case .group: "gid"
        }
    }

    /// `1000`, `1000-1999` or a name. What consists of digits and `-` is never a name.
    ///
    /// - Parameter lookUp: the id of a name, or nil if nobody has it.
    /// - Throws: what is wrong with the text, and what is accepted.
    package func range(
        _ text: String, lookUp: (String) -> UInt32?
    ) throws(ConfigurationProblem) -> IDRange {
        if Self.isNumeric(text) { return try numericRange(text) }
        guard let found = lookUp(text) else { throw unknown(text) }
        let id = try id(Int(found))
        return IDRange(first: id, last: id)
    }

    /// Whether it is meant as a number or a range.
    static func isNumeric(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { $0 == UInt8(ascii: "-") || (0x30...0x39).contains($0) }
    }

    private func numericRange(_ text: String) throws(ConfigurationProblem) -> IDRange {
        let numbers = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        guard (1...2).contains(numbers.count), let first = numbers.first ?? nil,
            let last = numbers.last ?? nil
        else {
            throw ConfigurationProblem(
                line: 0, "'\(text)' is not a \(word) or a range FIRST-LAST")
        }
        let low = try id(first)
        let high = try id(last)
        guard low <= high else {
            throw ConfigurationProblem(
                line: 0, "the range \(text) is empty: its first is above its last")
        }
        return IDRange(first: low, last: high)
    }

    func id(_ number: Int) throws(ConfigurationProblem) -> UInt32 {
        if number == Int(UInt32.max) {
            throw ConfigurationProblem(
                line: 0, "\(number) is never a \(word): the kernel uses it for \"none\"")
        }
        guard let id = UInt32(exactly: number) else {
            throw ConfigurationProblem(
                line: 0, "\(number) is no \(word): they run from 0 to 4294967294")
        }
        return id
    }

    private func unknown(_ name: String) -> ConfigurationProblem {
        let (thing, function) =
            switch self {
            case .user: ("user", "getpwnam(3)")
            case .group: ("group", "getgrnam(3)")
            }
        return ConfigurationProblem(
            line: 0,
            "there is no \(thing) \(name.debugDescription) on this machine: "
                + "give a number, or a name that \(function) finds")
    }
}
