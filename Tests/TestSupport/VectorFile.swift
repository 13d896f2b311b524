import Foundation

/// Which end of a session reads a packet.
package enum Way: String, Codable, Sendable, CaseIterable {
    case toBroker, toClient
}

/// The vectors of Protocol/vectors, which every implementation of the protocol can be tried
/// against.
package enum VectorFile {
    package static func validPackets() throws -> [ValidPacket] {
        try load(Packets<ValidPacket>.self, from: "packets-valid.json").packets
    }

    package static func invalidPackets() throws -> [InvalidPacket] {
        try load(Packets<InvalidPacket>.self, from: "packets-invalid.json").packets
    }

    package static func topics() throws -> TopicVectors {
        try load(TopicVectors.self, from: "topics.json")
    }

    private struct Packets<Packet: Decodable>: Decodable {
        let packets: [Packet]
    }

    private static func load<Vectors: Decodable>(
        _ type: Vectors.Type, from name: String
    ) throws -> Vectors {
        let file = ProjectFiles.root.appending(path: "Protocol/vectors").appending(path: name)
        return try JSONDecoder().decode(type, from: Data(contentsOf: file))
    }
}

package struct ValidPacket: Decodable, Sendable, CustomStringConvertible {
    package let name: String
    package let way: Way
    /// Whether encoding the frames gives exactly these bytes.
    package let canonical: Bool
    package let hex: String
    package let frames: [JSONValue]

    package var bytes: [UInt8] { HexText.bytes(hex) }
    package var description: String { name }
}

package struct InvalidPacket: Decodable, Sendable, CustomStringConvertible {
    package let name: String
    package let way: Way
    package let hex: String
    /// Name of the reason code it is refused with.
    package let reason: String
    /// Where the frame begins that is wrong; 0: the packet header.
    package let offset: Int

    package var bytes: [UInt8] { HexText.bytes(hex) }
    package var description: String { name }
}

package struct TopicVectors: Decodable, Sendable {
    package let names: [Candidate]
    package let filters: [Candidate]
    package let matches: [Match]

    /// A name or filter, and whether it is one.
    package struct Candidate: Decodable, Sendable, CustomStringConvertible {
        private let text: String?
        private let hex: String?
        package let valid: Bool
        package let why: String

        package var bytes: [UInt8] { hex.map(HexText.bytes) ?? Array((text ?? "").utf8) }
        package var description: String { "\(text ?? hex ?? ""): \(why)" }
    }

    package struct Match: Decodable, Sendable, CustomStringConvertible {
        package let filter: String
        package let topic: String
        package let matches: Bool

        package var description: String { "\(filter) against \(topic)" }
    }
}

/// A value of JSON text whose shape is not known beforehand.
package enum JSONValue: Decodable, Equatable, Sendable {
    case bool(Bool)
    case number(Int)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    package init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let number = try? value.decode(Int.self) {
            self = .number(number)
        } else if let string = try? value.decode(String.self) {
            self = .string(string)
        } else if let array = try? value.decode([JSONValue].self) {
            self = .array(array)
        } else {
            self = .object(try value.decode([String: JSONValue].self))
        }
    }
}
