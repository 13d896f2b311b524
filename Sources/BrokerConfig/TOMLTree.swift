import TOMLKit

/// A parsed TOML document as plain values.
indirect enum TOMLTree: Equatable {
    case table([String: TOMLTree])
    case array([TOMLTree])
    case string(String)
    case integer(Int)
    case boolean(Bool)
    /// Floats, dates and times, which no key here takes.
    case other(String)

    /// What it is, for messages.
    var kind: String {
        switch self {
        case .table: "a table"
        case .array: "a list"
        case .string: "a string"
        case .integer: "a number"
        case .boolean: "true or false"
        case .other(let kind): kind
        }
    }

    /// - Throws: the line of the syntax error.
    init(parsing text: String) throws(ConfigurationProblem) {
        let table: TOMLTable
        do {
            table = try TOMLTable(string: text)
        } catch let error as TOMLParseError {
            throw ConfigurationProblem(
                line: error.source.begin.line, "not TOML: \(error.description)")
        } catch {
            throw ConfigurationProblem(line: 0, "not TOML: \(error)")
        }
        // The values point into the table.
        self = withExtendedLifetime(table) { Self.copy(table) }
    }

    private static func copy(_ table: TOMLTable) -> TOMLTree {
        var members: [String: TOMLTree] = [:]
        for key in table.keys {
            if let value = table[key] { members[key] = copy(value) }
        }
        return .table(members)
    }

    private static func copy(_ value: any TOMLValueConvertible) -> TOMLTree {
        switch value.type {
        case .table: value.table.map(copy) ?? .other("a table that cannot be read")
        case .array: .array(value.array.map { array in array.map(copy) } ?? [])
        case .string: .string(value.string ?? "")
        case .int: .integer(value.int ?? 0)
        case .bool: .boolean(value.bool ?? false)
        case .double: .other("a fraction")
        case .date, .time, .dateTime: .other("a date or time")
        @unknown default: .other("an unknown value")
        }
    }
}
