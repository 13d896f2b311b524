import Foundation
import Testing

@testable import LinuxIO

/// A thread that looks before it sleeps: when it does, and when it gives up.
@Suite("Looking for events before sleeping")
struct PollWindowTests {
    private static let max: UInt64 = 50_000

    private func makeWindow() -> PollWindow {
        PollWindow(nanosecondsMax: Self.max, processorCount: 2)
    }

    @Test("The window opens after short sleeps, wider each time, and closes after a long one")
    func opens() {
        var window = makeWindow()
        #expect(window.nanoseconds == 0)
        var widths: [UInt64] = []
        for _ in 0..<5 {
            window.slept(nanoseconds: 20_000)
            widths.append(window.nanoseconds)
        }
        #expect(widths == [10_000, 20_000, 40_000, 50_000, 50_000])
        window.slept(nanoseconds: 1_000_000)
        #expect(window.nanoseconds == 0)
        window.slept(nanoseconds: 20_000)
        #expect(window.nanoseconds == 10_000)
        window.slept(nanoseconds: nil)
        #expect(window.nanoseconds == 0)
    }

    @Test("Sleeps that are longer than any window never open it")
    func longSleeps() {
        var window = makeWindow()
        for _ in 0..<1_000 {
            window.slept(nanoseconds: Self.max + PollWindow.wakeNanoseconds + 1)
            #expect(window.nanoseconds == 0)
        }
    }

    @Test("Whoever looks in vain again and again rests, longer each time, up to a bound")
    func rests() {
        var window = makeWindow()
        var rests: [Int] = []
        var looks: [Int] = []
        var (resting, looking) = (0, 0)
        for _ in 0..<100_000 {
            if window.nanoseconds == 0 { resting += 1 } else { looking += 1 }
            if window.nanoseconds > 0, resting > 0 {
                rests.append(resting)
                resting = 0
            }
            if window.nanoseconds == 0, looking > 0 {
                looks.append(looking)
                looking = 0
            }
            window.slept(nanoseconds: 20_000)
        }
        // The first sleep is before any window. A rest ends with the sleep that opens it again.
        #expect(looks.first == PollWindow.creditMax)
        #expect(looks.dropFirst().allSatisfy { $0 == PollWindow.creditAfterRest })
        let expected = (0..<8).map { PollWindow.restMin << $0 }
        #expect(rests.dropFirst().prefix(8).map { $0 - 1 } == expected)
        #expect(rests.allSatisfy { $0 <= PollWindow.restMax + 1 })
    }

    @Test("Success pays for failures: whoever finds most of the time goes on looking")
    func credit() {
        var window = makeWindow()
        window.slept(nanoseconds: 20_000)
        for _ in 0..<10_000 {
            for _ in 0..<2 { window.found() }
            window.slept(nanoseconds: 20_000)
            #expect(window.nanoseconds > 0)
        }
    }

    @Test("Without a width, or with one processor, nobody looks")
    func never() {
        var windows = [
            PollWindow(nanosecondsMax: 0, processorCount: 8),
            PollWindow(nanosecondsMax: Self.max, processorCount: 1),
        ]
        for index in windows.indices {
            #expect(windows[index].nanosecondsMax == 0)
            for _ in 0..<100 { windows[index].slept(nanoseconds: 1_000) }
            #expect(windows[index].nanoseconds == 0)
        }
    }

    @Test("Events are found in the window and after it, and time passes without any")
    func waits() throws {
        var window = makeWindow()
        var epoll = try Epoll(eventsMax: 4)
        let event = try EventFD()
        try epoll.add(event.descriptor, token: 7, interest: .readable)
        for _ in 0..<100 {
            event.signal()
            #expect(epoll.wait(timeoutNanoseconds: nil, after: &window) == 1)
            #expect(epoll.token(at: 0) == 7)
            event.drain()
            #expect(epoll.wait(timeoutNanoseconds: 1_000, after: &window) == 0)
            #expect(epoll.wait(timeoutNanoseconds: 0, after: &window) == 0)
        }
        try epoll.remove(event.descriptor)
    }

    @Test("The processors are those that this process may use")
    func processors() throws {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = try #require(
            status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed:") })
        let mask = line.split(separator: "\t")[1].filter { $0 != "," }
        let allowed = mask.compactMap(\.hexDigitValue).reduce(0) { $0 + $1.nonzeroBitCount }
        #expect(CurrentProcess.processorCount == min(allowed, 1_024))
    }
}
