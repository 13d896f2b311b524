import Foundation
import Testing

/// Output that is kept on file, word for word. To accept a change, run the tests with
/// BROKER_UPDATE_SNAPSHOTS=1 and look at the difference.
enum Snapshot {
    static func check(_ text: String, _ name: String) throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "Snapshots/\(name).txt")
        if ProcessInfo.processInfo.environment["BROKER_UPDATE_SNAPSHOTS"] == "1" {
            try Data(text.utf8).write(to: file)
        }
        let stored = String(decoding: try Data(contentsOf: file), as: UTF8.self)
        #expect(
            text == stored, "\(name).txt says otherwise; BROKER_UPDATE_SNAPSHOTS=1 accepts this")
    }
}
