package import BrokerCore

/// A rule as a person writes it: names stay names.
package struct RuleDraft: Equatable, Sendable {
    package var name: String
    package var uids: [String] = []
    package var gids: [String] = []
    package var openerGroups: [String] = []
    package var trustDomains: [String] = []
    package var levels: [String] = []
    package var origins: [String] = []
    package var users: [String] = []
    package var isDelegated = false
    package var allows: [Action] = []
    package var denies: [Action] = []
    package var topics: [String] = []

    package init(name: String) {
        self.name = name
    }

    /// The rule as a block of TOML, from its header to the end of its last line.
    package var text: String {
        var lines = ["[[rule]]", "name = \(Self.quoted(name))"]
        func add(_ key: String, _ values: [String], numbers: Bool = false) {
            guard !values.isEmpty else { return }
            let items = values.map { value in
                numbers && UInt32(value) != nil ? value : Self.quoted(value)
            }
            lines.append("\(key) = [\(items.joined(separator: ", "))]")
        }
        add("uid", uids, numbers: true)
        add("gid", gids, numbers: true)
        add("opener_groups", openerGroups, numbers: true)
        add("trust_domain", trustDomains, numbers: true)
        add("level", levels)
        add("origin", origins)
        add("user", users)
        if isDelegated { lines.append("delegated = true") }
        add("allow", allows.map(\.name))
        add("deny", denies.map(\.name))
        add("topics", topics)
        return lines.joined(separator: "\n") + "\n"
    }

    /// A basic string of TOML. What cannot be seen is escaped: who reviews a rule, one learned from
    /// a stranger's topic for example, sees all that it says, in the order in which it says it.
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case _ where isUnseen(scalar):
                let digits = String(scalar.value, radix: 16, uppercase: true)
                let (escape, width) = digits.count > 4 ? ("\\U", 8) : ("\\u", 4)
                result += escape + String(repeating: "0", count: width - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    /// Control characters, ends of lines, marks that turn the direction of writing or join letters.
    private static func isUnseen(_ scalar: Unicode.Scalar) -> Bool {
        let category = scalar.properties.generalCategory
        return [.control, .format, .lineSeparator, .paragraphSeparator].contains(category)
    }
}

/// Changes of an access file that touch nothing else in it: comments, order and formatting of
/// everything that is not added or removed stay as they are.
package enum AccessFileEdit {
    /// Appends a rule, after making sure that the file says its version.
    package static func appending(_ draft: RuleDraft, to text: [UInt8]) -> [UInt8] {
        var result = text
        if !result.isEmpty && result.last != UInt8(ascii: "\n") {
            result.append(UInt8(ascii: "\n"))
        }
        // What is broken before will be so afterwards, and is reported then.
        let isBare = (try? TOMLReader.read(text))?.isEmpty ?? false
        if isBare { result += Array("version = 1\n".utf8) }
        result += Array(("\n" + draft.text).utf8)
        return result
    }

    /// Removes the rule of that index (from 0), with the blank lines before it. Comments stay.
    package static func removing(
        ruleAt index: Int, from text: [UInt8]
    ) throws(ConfigurationError) -> [UInt8] {
        let rules = Self.rules(of: text)
        guard index >= 0, index < rules.count else {
            throw ConfigurationError("there is no rule \(index + 1) written as [[rule]]")
        }
        var lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        var first = rules[index].line - 1
        while first > 0, isBlank(lines[first - 1]) { first -= 1 }
        lines.removeSubrange(first..<rules[index].lastLine)
        return Array(lines.joined(separator: [UInt8(ascii: "\n")]))
    }

    /// The rule of that index (from 0) as it is written; empty if it is not written as [[rule]].
    package static func text(ofRuleAt index: Int, in text: [UInt8]) -> String {
        let rules = Self.rules(of: text)
        guard index >= 0, index < rules.count else { return "" }
        let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        return lines[(rules[index].line - 1)..<rules[index].lastLine]
            .map { String(decoding: $0, as: UTF8.self) + "\n" }.joined()
    }

    /// The rules that are written as `[[rule]]`.
    private static func rules(of text: [UInt8]) -> [TOMLSection] {
        (try? TOMLReader.read(text))?.elements(of: "rule") ?? []
    }

    private static func isBlank(_ line: ArraySlice<UInt8>) -> Bool {
        line.allSatisfy {
            $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: "\r")
        }
    }
}
