import Foundation
import LinuxIO
import Testing

/// What the kernel says of a thread that was started.
@Suite("Threads of our own")
struct SystemThreadTests {
    /// A line of `/proc/thread-self/sched`, where the kernel has that.
    private static func scheduling(_ name: String) -> String? {
        let text = try? String(contentsOfFile: "/proc/thread-self/sched", encoding: .utf8)
        return text?.split(separator: "\n").first { $0.hasPrefix(name) }
            .map { $0.split(separator: ":")[1].trimmingCharacters(in: .whitespaces) }
    }

    private func runInThread(
        slice: UInt64?, _ body: @escaping @Sendable () -> String?
    ) -> String? {
        let said = Lock<String?>(nil)
        SystemThread.start(name: "test-thread", sliceNanoseconds: slice) {
            let words = body()
            said.withLock { $0 = words }
        }.join()
        return said.withLock { $0 }
    }

    @Test("It has its name")
    func name() {
        let name = runInThread(slice: nil) {
            try? String(contentsOfFile: "/proc/thread-self/comm", encoding: .utf8)
        }
        #expect(name == "test-thread\n")
    }

    @Test(
        "It has the slice that it asked for, others have theirs",
        .enabled(if: scheduling("se.slice") != nil, "needs /proc/thread-self/sched with slices"))
    func slice() throws {
        let usual = try #require(Self.scheduling("se.slice"))
        #expect(runInThread(slice: 300_000) { Self.scheduling("se.slice") } == "300000")
        #expect(runInThread(slice: nil) { Self.scheduling("se.slice") } == usual)
    }
}
