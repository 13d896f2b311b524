import ArgumentParser
import BrokerClient

/// `-F`: text with places for the fields of a message.
struct MessageTemplate: ExpressibleByArgument, Equatable, Sendable {
    enum Field: Character, CaseIterable {
        case topic = "t"
        case payload = "p"
        case payloadHex = "x"
        case payloadLength = "l"
        case uid = "u"
        case userName = "U"
        case gid = "g"
        case pid = "P"
        case openerUID = "o"
        case sequence = "q"
        case time = "I"
        case delegated = "D"
    }

    enum Part: Equatable {
        case literal([UInt8])
        case field(Field)
    }

    static let help = """
        %t topic, %p payload, %x payload in hexadecimal, %l payload length in bytes, %u uid, \
        %U user name (- if unknown), %g gid, %P pid of the sender, %o uid of the opener, \
        %D 1 if delegated or 0, %q sequence, %I time (ISO 8601), %% percent; \
        \\n \\t \\r \\e \\0 \\\\ as in C
        """

    let parts: [Part]

    init?(argument: String) {
        guard let parts = try? Self.parse(argument) else { return nil }
        self.parts = parts
    }

    init(parsing text: String) throws {
        parts = try Self.parse(text)
    }

    private static func parse(_ text: String) throws -> [Part] {
        var parts: [Part] = []
        var literal: [UInt8] = []
        var rest = text[...]
        while let character = rest.popFirst() {
            switch character {
            case "%":
                guard let letter = rest.popFirst() else {
                    throw ValidationError("-F ends in a single '%'; write '%%' for a percent")
                }
                if letter == "%" {
                    literal.append("%")
                    continue
                }
                guard let field = Field(rawValue: letter) else {
                    throw ValidationError("-F does not know '%\(letter)'; it knows \(help)")
                }
                if !literal.isEmpty { parts.append(.literal(literal)) }
                literal = []
                parts.append(.field(field))
            case "\\":
                literal.append(try unescape(rest.popFirst()))
            default:
                literal.append(String(character))
            }
        }
        if !literal.isEmpty { parts.append(.literal(literal)) }
        return parts
    }

    private static func unescape(_ letter: Character?) throws -> UInt8 {
        switch letter {
        case "n": return 0x0A
        case "t": return 0x09
        case "r": return 0x0D
        case "e": return 0x1B
        case "0": return 0x00
        case "\\": return 0x5C
        case .some(let letter):
            throw ValidationError("-F does not know '\\\(letter)'; write '\\\\' for a backslash")
        case .none:
            throw ValidationError("-F ends in a single '\\'; write '\\\\' for a backslash")
        }
    }
}

/// Fills in templates, a line for each message.
struct TemplateText {
    var names: UserNames
    /// Whether topic and payload are made harmless, as for a terminal.
    private let escapes: Bool
    private var time = TimestampWriter()

    init(names: UserNames, escapes: Bool) {
        self.names = names
        self.escapes = escapes
    }

    mutating func append(
        _ message: borrowing MessageFields, _ template: MessageTemplate,
        to buffer: inout [UInt8]
    ) {
        for part in template.parts {
            switch part {
            case .literal(let bytes): buffer.append(contentsOf: bytes)
            case .field(let field): append(field, of: message, to: &buffer)
            }
        }
        buffer.append(UInt8(ascii: "\n"))
    }

    private mutating func append(
        _ field: MessageTemplate.Field, of message: borrowing MessageFields,
        to buffer: inout [UInt8]
    ) {
        let sender = message.sender
        switch field {
        case .topic: append(bytes: message.topic, to: &buffer)
        case .payload: append(bytes: message.payload, to: &buffer)
        case .payloadHex:
            for index in 0..<message.payload.count { buffer.appendHex(message.payload[index]) }
        case .payloadLength: buffer.append(decimal: UInt64(message.payload.count))
        case .uid: buffer.append(decimal: UInt64(sender.uid))
        case .userName:
            let name = sender.level == .remote ? nil : names.name(of: sender.uid)
            buffer.append(name ?? "-")
        case .gid: buffer.append(decimal: UInt64(sender.gid))
        case .pid: buffer.append(decimal: sender.pid)
        case .openerUID: buffer.append(decimal: UInt64(sender.opener.uid))
        case .sequence: buffer.append(decimal: message.sequence)
        case .time: time.append(sender.timeNanoseconds, .nanoseconds, to: &buffer)
        case .delegated: buffer.append(sender.isDelegated ? "1" : "0")
        }
    }

    private func append(bytes: Span<UInt8>, to buffer: inout [UInt8]) {
        if escapes {
            Printable.append(bytes, to: &buffer)
        } else {
            buffer.append(bytes)
        }
    }
}
