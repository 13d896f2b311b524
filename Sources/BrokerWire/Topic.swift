/// The grammar of topic names and topic filters, and how one matches the other.
/// Protocol/README.md, section 4; the semantics are those of MQTT 5, section 4.7.
public enum Topic {
    /// What is wrong with a name or filter, and at which byte.
    public struct Violation: Error, Equatable, Sendable, CustomStringConvertible {
        public enum Kind: Equatable, Sendable {
            case empty
            case tooLong(bytes: Int)
            case tooManyLevels
            case notUTF8
            case controlCharacter
            case wildcardInName
            case wildcardNotWholeLevel
            case multiLevelWildcardNotLast
            case sharedSubscription
        }

        public let kind: Kind
        public let offset: Int

        public var description: String {
            switch kind {
            case .empty:
                "it is empty"
            case .tooLong(let bytes):
                "it has \(bytes) bytes, at most \(Limits.topicBytesMax) are allowed"
            case .tooManyLevels:
                "it has more than \(Limits.topicLevelsMax) levels"
            case .notUTF8:
                "byte \(offset) is not well-formed UTF-8"
            case .controlCharacter:
                "byte \(offset) is a control character"
            case .wildcardInName:
                "byte \(offset) is a wildcard; topics to publish to have none"
            case .wildcardNotWholeLevel:
                "the wildcard at byte \(offset) does not fill a whole level"
            case .multiLevelWildcardNotLast:
                "the '#' at byte \(offset) is not the last level"
            case .sharedSubscription:
                "'$share/' subscriptions are not offered"
            }
        }
    }

    /// Checks that `bytes` is a topic name that messages may be published to.
    public static func validateName(_ bytes: Span<UInt8>) throws(Violation) {
        if isPlainName(bytes) { return }
        try validateText(bytes)
        for offset in 0..<bytes.count where isWildcard(bytes[offset]) {
            throw Violation(kind: .wildcardInName, offset: offset)
        }
    }

    /// Checks that `bytes` is a topic filter that may be subscribed to.
    public static func validateFilter(_ bytes: Span<UInt8>) throws(Violation) {
        try validateText(bytes)
        if hasSharePrefix(bytes) {
            throw Violation(kind: .sharedSubscription, offset: 0)
        }
        for offset in 0..<bytes.count where isWildcard(bytes[offset]) {
            let endsLevel = offset + 1 == bytes.count || bytes[offset + 1] == separator
            guard offset == 0 || bytes[offset - 1] == separator, endsLevel else {
                throw Violation(kind: .wildcardNotWholeLevel, offset: offset)
            }
            if bytes[offset] == multiLevelWildcard && offset + 1 != bytes.count {
                throw Violation(kind: .multiLevelWildcardNotLast, offset: offset)
            }
        }
    }

    /// Whether a valid filter matches a valid name.
    public static func matches(filter: Span<UInt8>, name: Span<UInt8>) -> Bool {
        if let first = name.first, first == dollar, let wildcard = filter.first,
            isWildcard(wildcard)
        {
            return false
        }
        var filterOffset = 0
        var nameOffset = 0
        while true {
            let filterEnd = levelEnd(in: filter, from: filterOffset)
            let nameEnd = levelEnd(in: name, from: nameOffset)
            let level = filter.extracting(filterOffset..<filterEnd)
            if level.count == 1 && level[0] == multiLevelWildcard { return true }
            let isSingle = level.count == 1 && level[0] == singleLevelWildcard
            guard isSingle || level.equals(name.extracting(nameOffset..<nameEnd)) else {
                return false
            }
            switch (filterEnd == filter.count, nameEnd == name.count) {
            case (true, true): return true
            case (true, false): return false
            case (false, true): return isParentWildcard(filter, from: filterEnd + 1)
            case (false, false):
                filterOffset = filterEnd + 1
                nameOffset = nameEnd + 1
            }
        }
    }

    // Computed, so that other modules see the number.
    @inlinable package static var separator: UInt8 { UInt8(ascii: "/") }
    @inlinable package static var singleLevelWildcard: UInt8 { UInt8(ascii: "+") }
    @inlinable package static var multiLevelWildcard: UInt8 { UInt8(ascii: "#") }
    @inlinable package static var dollar: UInt8 { UInt8(ascii: "$") }

    /// Offset of the separator that ends the level beginning at `start`, or the end of `bytes`.
    @inlinable @inline(__always)
    package static func levelEnd(in bytes: Span<UInt8>, from start: Int) -> Int {
        var offset = start
        while offset < bytes.count && bytes[offset] != separator { offset &+= 1 }
        return offset
    }

    private static func isWildcard(_ byte: UInt8) -> Bool {
        byte == singleLevelWildcard || byte == multiLevelWildcard
    }

    /// Whether it is a valid name without a look at more than each byte once: what brokers see
    /// most of has no byte beyond ASCII. Others are judged by the whole grammar.
    private static func isPlainName(_ bytes: Span<UInt8>) -> Bool {
        guard bytes.count > 0 && bytes.count <= Limits.topicBytesMax else { return false }
        var levels = 1
        for offset in 0..<bytes.count {
            let byte = bytes[offset]
            if byte < 0x20 || byte >= 0x7F || isWildcard(byte) { return false }
            if byte == separator { levels &+= 1 }
        }
        return levels <= Limits.topicLevelsMax
    }

    /// `a/#` also matches `a`: the name has ended, and the filter's only further level is `#`.
    private static func isParentWildcard(_ filter: Span<UInt8>, from offset: Int) -> Bool {
        offset + 1 == filter.count && filter[offset] == multiLevelWildcard
    }

    private static func hasSharePrefix(_ bytes: Span<UInt8>) -> Bool {
        let prefix: [UInt8] = [0x24, 0x73, 0x68, 0x61, 0x72, 0x65, 0x2F]  // $share/
        return bytes.count >= prefix.count
            && prefix.span.equals(bytes.extracting(first: prefix.count))
    }

    private static func validateText(_ bytes: Span<UInt8>) throws(Violation) {
        if bytes.isEmpty { throw Violation(kind: .empty, offset: 0) }
        if bytes.count > Limits.topicBytesMax {
            throw Violation(kind: .tooLong(bytes: bytes.count), offset: Limits.topicBytesMax)
        }
        do {
            _ = try UTF8Span(validating: bytes)
        } catch {
            throw Violation(kind: .notUTF8, offset: error.byteOffsets.lowerBound)
        }
        var levels = 1
        for offset in 0..<bytes.count {
            if isControl(bytes, at: offset) {
                throw Violation(kind: .controlCharacter, offset: offset)
            }
            if bytes[offset] == separator { levels += 1 }
        }
        if levels > Limits.topicLevelsMax {
            throw Violation(kind: .tooManyLevels, offset: bytes.count)
        }
    }

    /// U+0000–U+001F, U+007F and U+0080–U+009F (C2 80–C2 9F), in text known to be UTF-8.
    package static func isControl(_ bytes: Span<UInt8>, at offset: Int) -> Bool {
        let byte = bytes[offset]
        if byte < 0x20 || byte == 0x7F { return true }
        return byte == 0xC2 && offset + 1 < bytes.count && bytes[offset + 1] < 0xA0
    }
}

extension Span where Element == UInt8 {
    fileprivate var first: UInt8? { isEmpty ? nil : self[0] }
}
