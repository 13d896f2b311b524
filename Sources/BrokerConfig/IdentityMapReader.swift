import BrokerCore
import BrokerWire

/// Turns `[[map]]` into an identity map, and collects what is wrong with it.
struct IdentityMapReader {
    static let keys = ["origin", "uid", "gid", "name"]

    private(set) var entries: [IdentityMap.Entry] = []
    private(set) var problems: [ConfigurationProblem] = []
    private(set) var warnings: [ConfigurationProblem] = []

    init(_ map: TOMLSection.Entry) {
        guard case .array(let tables) = map.value else {
            problem(map.line, "the map begins with [[map]], in two pairs of brackets")
            return
        }
        guard tables.count <= AccessFile.rulesMax else {
            problem(0, "more than \(AccessFile.rulesMax) entries of the map")
            return
        }
        for table in tables {
            guard case .table(let section) = table else {
                problem(map.line, "an entry of the map is a table, not \(table.kind)")
                continue
            }
            read(section)
        }
    }

    private mutating func problem(_ line: Int, _ text: String) {
        problems.append(ConfigurationProblem(line: line, text))
    }

    private mutating func read(_ section: TOMLSection) {
        for (key, line) in section.keys(besides: Set(Self.keys)) {
            problem(
                line,
                "unknown key '\(key)': an entry of the map has "
                    + Self.keys.joined(separator: ", "))
        }
        if section["uid"] == nil && section["gid"] == nil {
            problem(
                section.line,
                "the entry names nobody: add uid or gid; uid = \"any\" stands for everybody there")
        }
        entries.append(
            IdentityMap.Entry(
                line: section.line, origins: readOrigins(section),
                uids: readIDs(section["uid"], .user), gids: readIDs(section["gid"], .group),
                name: readName(section)))
    }

    private mutating func readName(_ section: TOMLSection) -> String {
        let line = section["name"]?.line ?? section.line
        guard let value = section["name"]?.value else {
            problem(line, "'name' is missing: the name they are known under here")
            return ""
        }
        guard case .string(let name) = value else {
            problem(line, "a name is a string, not \(value.kind)")
            return ""
        }
        let isPrintable = name.unicodeScalars.allSatisfy {
            $0.properties.generalCategory != .control
        }
        guard (1...Limits.mappedNameBytesMax).contains(name.utf8.count), isPrintable else {
            problem(
                line,
                "a name has 1 to \(Limits.mappedNameBytesMax) bytes and no control characters")
            return name
        }
        if !TopicPattern.isPlain(Array(name.utf8)) {
            warnings.append(
                ConfigurationProblem(
                    line: line,
                    "the name \(name.debugDescription) cannot stand in a topic: patterns with %n "
                        + "match nothing for it"))
        }
        return name
    }

    private mutating func readOrigins(_ section: TOMLSection) -> [[UInt8]] {
        guard let origin = section["origin"] else {
            problem(
                section.line,
                "'origin' is missing: which broker attests them? \"*\" stands for any")
            return []
        }
        let values = origin.value.elements
        if values.isEmpty { problem(origin.line, "an empty list of origins matches no broker") }
        return values.compactMap { value in
            guard case .string(let text) = value else {
                problem(origin.line, "brokers are strings, not \(value.kind)")
                return nil
            }
            guard OriginPattern.canMatch(text) else {
                problem(origin.line, OriginPattern.refusal(of: text))
                return nil
            }
            return Array(text.utf8)
        }
    }

    /// Names would be looked up here and mean somebody else there.
    private mutating func readIDs(
        _ entry: TOMLSection.Entry?, _ kind: IdentityKind
    ) -> [IDRange] {
        guard let entry else { return [] }
        for case .string(let text) in entry.value.elements where !IdentityKind.isNumeric(text) {
            if text == "any" || text == "*" { continue }
            problem(
                entry.line,
                "\(text.debugDescription) is a name, which would be looked up on this host: ids of "
                    + "other hosts are numbers and ranges")
            return []
        }
        var names = NameLookup(.none)
        let list = IdentityList(entry.value, kind, &names)
        for text in list.problems { problem(entry.line, text) }
        warnings += list.warnings.map { ConfigurationProblem(line: entry.line, $0) }
        return list.isAny ? [] : list.ranges
    }
}

extension NameDirectory {
    /// Knows no names.
    static let none = NameDirectory(
        userID: { _ in nil }, groupID: { _ in nil }, users: { [] })
}
