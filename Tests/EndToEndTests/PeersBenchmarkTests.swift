import Foundation
import TestSupport
import Testing

/// `Benchmarks/peers`, with so few messages that its figures mean nothing: it has to run, count
/// and lose nothing.
@Suite("Comparison with other brokers", .serialized)
struct PeersBenchmarkTests {
    private static let folder = ProjectFiles.root.appending(path: "Benchmarks/peers")
    private static let peers = ["redis-server", "nats-server", "mosquitto", "dbus-daemon"]

    /// Those of the programs that are in no folder where programs are.
    private static func missing(_ programs: [String]) -> [String] {
        let folders = ["/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin"]
        return programs.filter { program in
            !folders.contains {
                FileManager.default.isExecutableFile(atPath: $0 + "/" + program)
            }
        }
    }

    @Test(
        "It measures all brokers in all shapes and loses nothing",
        .enabled(
            if: missing(peers + ["gcc", "python3"]).isEmpty,
            "needs \(missing(peers + ["gcc", "python3"])); .ci/packages tests installs them"))
    func quick() throws {
        let results = try TemporaryDirectory()
        let process = try ChildProcess([
            Actors.python, "-B", Self.folder.appending(path: "peers.py").path, "--broker",
            BrokerUnderTest.executable.path, "--quick", "--scale", "0.002", "--rounds", "1",
            "--json", results.path(of: "peers.json"), "--svg", results.path(of: "peers.svg"),
        ])
        #expect(process.wait(seconds: 240) == 0, "\(process.errorText)")
        let text = try String(contentsOfFile: results.path(of: "peers.json"), encoding: .utf8)
        let report = try Actors.object(text)
        #expect(report["complete"] as? Bool == true)
        let works = try #require(report["works"] as? [[String: Any]])
        #expect(works.count == 10)
        for work in works {
            let rounds = try #require(work["rounds"] as? [String: [[String: Any]]])
            let isLink = work["link"] as? Bool == true
            #expect(rounds.count >= (isLink ? 3 : 6), "\(work)")
            for (name, results) in rounds {
                let sent = results.compactMap { $0["sent"] as? Int }
                #expect(!sent.isEmpty && sent.allSatisfy { $0 > 0 }, "\(name): \(results)")
            }
        }
        let chart = try String(contentsOfFile: results.path(of: "peers.svg"), encoding: .utf8)
        #expect(chart.hasPrefix("<svg ") && chart.hasSuffix("</svg>\n"))
    }

    @Test(
        "Its clients notice what is lost, repeated, out of order or cut short",
        .enabled(
            if: missing(["gcc", "python3"]).isEmpty,
            "needs \(missing(["gcc", "python3"])); .ci/packages tests installs them"))
    func selftest() throws {
        let process = try ChildProcess([
            Actors.python, "-B", Self.folder.appending(path: "selftest.py").path,
        ])
        #expect(process.wait(seconds: 60) == 0, "\(process.outputText)\(process.errorText)")
    }
}
