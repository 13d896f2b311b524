import BrokerSigning
import Foundation
import LinuxIO

/// Two brokers with a signed link between them, for the time of a measurement.
enum BenchLink {
    /// - Parameters:
    ///   - hasTLS: by a pre-shared key.
    ///   - body: gets the socket to publish to, and the one to subscribe at.
    static func withBrokers<Value>(
        hasTLS: Bool, _ body: (String, String) throws -> Value
    ) throws -> Value {
        try BenchBroker.withDirectory { directory in
            let key = directory.appendingPathComponent("link.key").path
            do throws(SigningError) {
                try LinkKeyFile.generate(created: LinkKeyTime.now()).create(path: key)
            } catch {
                throw CommandFailure(.failure, error.description)
            }
            let port = 20_000 + Int(CurrentProcess.pid) % 20_000
            let security = hasTLS ? "tls = \"psk\"" : ""
            let listening = try start(
                "bench-2", peer: "bench-1", "listen = \"tcp://127.0.0.1:\(port)\"\n\(security)",
                key, directory)
            defer { BenchBroker.stop(listening.process) }
            let connecting = try start(
                "bench-1", peer: "bench-2", "connect = \"tcp://127.0.0.1:\(port)\"\n\(security)",
                key, directory)
            defer { BenchBroker.stop(connecting.process) }
            return try body(connecting.socket, listening.socket)
        }
    }

    private static func start(
        _ name: String, peer: String, _ address: String, _ key: String, _ directory: URL
    ) throws -> (process: Process, socket: String) {
        let socket = directory.appendingPathComponent("\(name).sock").path
        let config = directory.appendingPathComponent("\(name).toml").path
        let text = """
            [[link]]
            name = "\(peer)"
            \(address)
            key = "\(key)"
            overflow = "block"

            """
        try text.write(toFile: config, atomically: true, encoding: .utf8)
        let broker = try BenchBroker.start(at: socket, ["--name", name, "--config", config])
        return (broker, socket)
    }
}
