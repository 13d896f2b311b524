import Foundation
import TestSupport
import Testing

@testable import BrokerCore

/// The exchange of Protocol/vectors/links.json, and what Python's hmac says of it.
struct CaptureTests {
    private struct Capture: Codable, Equatable {
        var about = "A link with fixed nonces: handshake, batches, a rotation of the key."
        var keys: [String: String]
        var connector: String
        var listener: String
    }

    private static let file = ProjectFiles.root.appending(path: "Protocol/vectors/links.json")

    private static func capture() -> Capture {
        let exchange = Exchange()
        exchange.run(count: 4)
        return Capture(
            keys: Dictionary(
                uniqueKeysWithValues: Exchange.keys.map {
                    (String($0.key, radix: 16), HexText.text($0.value))
                }),
            connector: HexText.text(exchange.sent[.toListener] ?? []),
            listener: HexText.text(exchange.sent[.toConnector] ?? []))
    }

    @Test func `the exchange is byte for byte that of the vectors`() throws {
        let capture = Self.capture()
        if ProcessInfo.processInfo.environment["BROKER_WRITE_VECTORS"] != nil {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            try (encoder.encode(capture) + Data("\n".utf8)).write(to: Self.file)
        }
        let stored = try JSONDecoder().decode(Capture.self, from: Data(contentsOf: Self.file))
        #expect(stored == capture)
    }

    @Test func `Python verifies the vectors, and finds every alteration`() throws {
        let python = Process()
        python.executableURL = URL(filePath: "/usr/bin/env")
        python.arguments = [
            "python3", ProjectFiles.root.appending(path: "Protocol/reference/verify_link.py").path,
            "--flip", "500", Self.file.path,
        ]
        let output = Pipe()
        python.standardOutput = output
        python.standardError = output
        try python.run()
        let data = try output.fileHandleForReading.readToEnd() ?? Data()
        python.waitUntilExit()
        let text = String(decoding: data, as: UTF8.self)
        #expect(python.terminationStatus == 0, "\(text)")
        #expect(text.contains("4 messages, 500 alterations found out"), "\(text)")
    }
}
