import Foundation
import TestSupport
import Testing

/// What continuous integration and the documents rely on in `Benchmarks`, besides the figures.
@Suite("Benchmarks", .serialized)
struct BenchmarkTests {
    @Test("The guard notices what costs more, and the curves are drawn")
    func selftest() throws {
        let script = ProjectFiles.root.appending(path: "Benchmarks/selftest.py")
        let process = try ChildProcess([
            Actors.python, "-B", script.path, BrokerUnderTest.executable.path,
        ])
        #expect(process.wait(seconds: 120) == 0, "\(process.outputText)\(process.errorText)")
    }
}
