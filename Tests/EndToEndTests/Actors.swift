import Foundation
import TestSupport

/// Runs the scenes of `Actors/actors.py`: real processes that say themselves who they are.
struct Actors {
    let broker: BrokerUnderTest

    static let python = "/usr/bin/python3"
    static let isAvailable = FileManager.default.isExecutableFile(atPath: python)
    static let isRoot = getuid() == 0

    static func file(_ path: String) -> URL {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent(path)
    }

    static let referenceClient = file("../../Protocol/reference/client.py").standardizedFileURL

    func start(_ scene: String, _ arguments: [String] = []) throws -> ChildProcess {
        let script = try broker.share(Self.file("Actors/actors.py"))
        return try ChildProcess([Self.python, script, broker.socketPath, scene] + arguments)
    }

    /// Runs a scene to its end.
    ///
    /// - Returns: what the actors said of themselves, line by line.
    func play(_ scene: String, _ arguments: String...) throws -> [[String: Any]] {
        try play(scene, arguments)
    }

    func play(_ scene: String, _ arguments: [String]) throws -> [[String: Any]] {
        let process = try start(scene, arguments)
        let status = process.wait(seconds: 120)
        guard status == 0 else {
            throw BrokerUnderTest.Failure(
                description: "scene \(scene) ended with \(status.map(String.init) ?? "a timeout"):"
                    + " \(process.errorText)")
        }
        return try process.outputLines.map(Self.object)
    }

    static func object(_ line: String) throws -> [String: Any] {
        let object = try JSONSerialization.jsonObject(with: Data(line.utf8))
        guard let object = object as? [String: Any] else {
            throw BrokerUnderTest.Failure(description: "no JSON object: \(line)")
        }
        return object
    }
}

/// One line of `broker sub --format json`.
struct DeliveredMessage {
    let fields: [String: Any]

    init(_ line: String) throws {
        fields = try Actors.object(line)
    }

    var topic: String? { fields["topic"] as? String }
    var payload: String? { fields["payload"] as? String }
    var isDelegated: Bool? { fields["delegated"] as? Bool }
    var level: String? { fields["level"] as? String }

    func sender(_ name: String) -> Int? { (fields["sender"] as? [String: Any])?[name] as? Int }
    func opener(_ name: String) -> Int? { (fields["opener"] as? [String: Any])?[name] as? Int }
}
