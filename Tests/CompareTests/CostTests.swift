import Foundation
import LinuxIO
import Testing

@Suite("The cost of knowing the sender")
struct CostTests {
    private struct Report: Decodable {
        struct Mechanism: Decodable {
            let name: String
            let nanoseconds: Double?
        }

        let messages: Int
        let mechanisms: [Mechanism]
    }

    @Test("is measured for each mechanism that the kernel has")
    func json() throws {
        let result = try BrokerProgram.run(["compare", "--cost", "--format", "json"])
        #expect(result.status == 0, "\(result.errors)")
        let report = try JSONDecoder().decode(Report.self, from: Data(result.output.utf8))
        #expect(report.messages >= 10_000)
        let features = KernelFeatures.probe()
        for mechanism in report.mechanisms {
            let isOptional = mechanism.name.contains("PIDFD") || mechanism.name.contains("pidfd")
            let isThere = !isOptional || features.passPidfd
            #expect((mechanism.nanoseconds ?? 0 > 100) == isThere, "\(mechanism)")
        }
        #expect(Set(report.mechanisms.map(\.name)).count == report.mechanisms.count)
        #expect(report.mechanisms.first?.name == "none")
    }

    @Test("is shown as a table with a bar for each")
    func text() throws {
        let result = try BrokerProgram.run(["compare", "--cost"])
        #expect(result.status == 0)
        let lines = result.output.split(separator: "\n")
        #expect(lines.first?.hasPrefix("MECHANISM") == true)
        let bars = lines.dropFirst().filter { $0.contains("▇") }
        #expect(bars.count >= 3)
        // The longest one is 30 columns wide.
        #expect(bars.contains { $0.contains(String(repeating: "▇", count: 30)) })
    }

    @Test("modes exclude each other")
    func modes() throws {
        let result = try BrokerProgram.run(["compare", "--cost", "--live"])
        #expect(result.status == 64)
    }
}
