import BrokerWire

/// Holds `Topic` against `TopicReference`. Run by tests and by the fuzz target `FuzzTopic`.
package enum TopicInspection {
    /// - Parameter bytes: a filter and a name with a NUL between them; without a NUL both are the
    ///   same bytes.
    /// - Returns: what is wrong, or nil.
    package static func violation(in bytes: [UInt8]) -> String? {
        let parts = bytes.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
        let filter = Array(parts[0])
        let name = parts.count == 2 ? Array(parts[1]) : filter
        return violation(filter: filter, name: name)
    }

    package static func violation(filter: [UInt8], name: [UInt8]) -> String? {
        let isName = isValidName(name)
        let isFilter = isValidFilter(filter)
        if isName != TopicReference.isValidName(name) {
            return "name \(HexText.text(name)) judged \(isName)"
        }
        if isFilter != TopicReference.isValidFilter(filter) {
            return "filter \(HexText.text(filter)) judged \(isFilter)"
        }
        // Matching must not trap on what has not been validated either.
        let isMatch = matches(filter: filter, name: name)
        if isName && isFilter && isMatch != TopicReference.matches(filter: filter, name: name) {
            return "\(HexText.text(filter)) matches \(HexText.text(name)): \(isMatch)"
        }
        return nil
    }

    package static func matches(filter: [UInt8], name: [UInt8]) -> Bool {
        Topic.matches(filter: filter.span, name: name.span)
    }

    package static func isValidName(_ bytes: [UInt8]) -> Bool {
        (try? Topic.validateName(bytes.span)) != nil
    }

    package static func isValidFilter(_ bytes: [UInt8]) -> Bool {
        (try? Topic.validateFilter(bytes.span)) != nil
    }
}
