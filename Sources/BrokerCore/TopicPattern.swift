package import BrokerWire

/// A topic filter of a rule, with places for what is known of the sender: `%u` its uid, `%g` its
/// gid, `%n` its user name, `%o` the broker that attested it; `%%` is a percent sign.
package struct TopicPattern: Hashable, Sendable {
    package enum Part: Hashable, Sendable {
        case text([UInt8])
        case uid
        case gid
        case userName
        case origin
    }

    /// Why a text is no pattern.
    package enum Violation: Error, Equatable, CustomStringConvertible {
        case placeholder(String)
        case filter(Topic.Violation)
        case sharedLevel

        package var description: String {
            switch self {
            case .placeholder(let text):
                "'\(text)' is none of %u, %g, %n, %o and %%"
            case .filter(let violation):
                violation.description
            case .sharedLevel:
                "a wildcard and a placeholder cannot share a level"
            }
        }
    }

    package let text: String
    package let parts: [Part]

    package init(_ text: String) throws(Violation) {
        self.text = text
        guard text.utf8.contains(UInt8(ascii: "%")) else {
            parts = text.isEmpty ? [] : [.text(Array(text.utf8))]
            try check()
            return
        }
        var parts: [Part] = []
        var plain: [UInt8] = []
        var bytes = Array(text.utf8)[...]
        while let byte = bytes.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                plain.append(byte)
                continue
            }
            let part: Part? =
                switch bytes.popFirst() {
                case UInt8(ascii: "u"): .uid
                case UInt8(ascii: "g"): .gid
                case UInt8(ascii: "n"): .userName
                case UInt8(ascii: "o"): .origin
                case UInt8(ascii: "%"): nil
                case let other:
                    throw .placeholder(
                        String(decoding: [byte] + (other.map { [$0] } ?? []), as: UTF8.self))
                }
            guard let part else {
                plain.append(byte)
                continue
            }
            if !plain.isEmpty { parts.append(.text(plain)) }
            plain = []
            parts.append(part)
        }
        if !plain.isEmpty { parts.append(.text(plain)) }
        self.parts = parts
        try check()
    }

    /// A pattern without placeholders that is known to be valid.
    package init(filter: String) {
        precondition(!filter.isEmpty && !filter.utf8.contains(UInt8(ascii: "%")))
        text = filter
        parts = [.text(Array(filter.utf8))]
    }

    package var hasPlaceholders: Bool {
        parts.contains { part in
            if case .text = part { false } else { true }
        }
    }

    package var needsUserNames: Bool { parts.contains(.userName) }

    /// The filter for one identity; nil if it has no such name, or if the name would become
    /// something else than a piece of one level: then the pattern matches nothing.
    package func filter(uid: UInt32, gid: UInt32, userName: [UInt8]?, origin: [UInt8]) -> [UInt8]? {
        var filter: [UInt8] = []
        for part in parts {
            switch part {
            case .text(let bytes): filter += bytes
            case .uid: filter += Array(String(uid).utf8)
            case .gid: filter += Array(String(gid).utf8)
            case .userName:
                guard let name = userName, Self.isPlain(name) else { return nil }
                filter += name
            case .origin:
                guard Self.isPlain(origin) else { return nil }
                filter += origin
            }
        }
        do throws(Topic.Violation) {
            try Topic.validateFilter(filter.span)
            return filter
        } catch {
            return nil
        }
    }

    /// Whether a name can stand inside a level without changing the meaning of the filter.
    package static func isPlain(_ name: [UInt8]) -> Bool {
        let special: [UInt8] = [
            Topic.separator, Topic.singleLevelWildcard, Topic.multiLevelWildcard,
        ]
        return !name.isEmpty && !name.contains { special.contains($0) || $0 < 0x20 || $0 == 0x7F }
    }

    /// The pattern must be a filter whatever is put in; `x` stands for it.
    private func check() throws(Violation) {
        var example: [UInt8] = []
        if case .text(let bytes)? = parts.first, parts.count == 1 {
            example = bytes
        } else {
            for part in parts {
                if case .text(let bytes) = part { example += bytes } else { example.append(0x78) }
            }
        }
        do throws(Topic.Violation) {
            try Topic.validateFilter(example.span)
        } catch {
            switch error.kind {
            case .wildcardNotWholeLevel where hasPlaceholders: throw .sharedLevel
            default: throw .filter(error)
            }
        }
    }
}
