/// The grammar and semantics of topics, written again in the most obvious and slowest way, to
/// judge `Topic` by. Protocol/README.md, section 4.
package enum TopicReference {
    package static func isValidName(_ bytes: [UInt8]) -> Bool {
        isValidText(bytes) && !bytes.contains { $0 == plus || $0 == hash }
    }

    package static func isValidFilter(_ bytes: [UInt8]) -> Bool {
        guard isValidText(bytes), !bytes.starts(with: Array("$share/".utf8)) else { return false }
        let levels = levels(of: bytes)
        return levels.indices.allSatisfy { index in
            let level = levels[index]
            if level.elementsEqual([plus]) { return true }
            if level.elementsEqual([hash]) { return index == levels.count - 1 }
            return !level.contains(plus) && !level.contains(hash)
        }
    }

    /// Whether a valid filter matches a valid name.
    package static func matches(filter: [UInt8], name: [UInt8]) -> Bool {
        let beginsWithWildcard = filter.first == plus || filter.first == hash
        if name.first == UInt8(ascii: "$") && beginsWithWildcard { return false }
        return matches(levels(of: filter)[...], levels(of: name)[...])
    }

    private static let plus = UInt8(ascii: "+")
    private static let hash = UInt8(ascii: "#")

    private typealias Levels = ArraySlice<ArraySlice<UInt8>>

    private static func matches(_ filter: Levels, _ name: Levels) -> Bool {
        guard let wanted = filter.first else { return name.isEmpty }
        if wanted.elementsEqual([hash]) { return true }
        guard let level = name.first else { return false }
        guard wanted.elementsEqual([plus]) || wanted == level else { return false }
        return matches(filter.dropFirst(), name.dropFirst())
    }

    private static func levels(of bytes: [UInt8]) -> [ArraySlice<UInt8>] {
        bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    }

    private static func isValidText(_ bytes: [UInt8]) -> Bool {
        guard (1...1_024).contains(bytes.count), levels(of: bytes).count <= 64,
            let text = String(validating: bytes, as: UTF8.self)
        else { return false }
        return text.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
    }
}
