import Glibc
import LinuxIO
import Testing

@testable import BrokerServer

@Suite("Looking names of peers up")
struct LinkResolverTests {
    private static let address = StreamAddress.tcp(host: "hub", port: 7_447)

    /// Threads that wait until they are let go.
    private final class Gate: Sendable {
        private let isOpen = Lock(false)

        func open() { isOpen.withLock { $0 = true } }

        func wait() {
            while !isOpen.withLock({ $0 }) { usleep(1_000) }
        }
    }

    /// Lets other threads run for a while.
    private static func pause() { usleep(1_000) }

    /// Name services that nobody answers are given up after some ten seconds each.
    private func answers(of resolver: LinkResolver) -> [LinkResolver.Answer] {
        for _ in 0..<100_000 {
            let answers = resolver.takeAnswers()
            if !answers.isEmpty { return answers }
            Self.pause()
        }
        return []
    }

    @Test("An answer comes with its number, and somebody is woken up for it")
    func answer() throws {
        let wakeUps = Counter()
        let resolver = LinkResolver(
            lookUp: { _ in .success([.unix(path: "/a")]) }, wakeUp: { wakeUps.increment() })
        let first = try #require(try resolver.begin(Self.address, for: "hub"))
        let answer = try #require(answers(of: resolver).first)
        #expect(answer.link == "hub" && answer.number == first)
        #expect(try answer.result.get().map { "\($0)" } == ["/a"])
        let second = try #require(try resolver.begin(Self.address, for: "hub"))
        #expect(second != first)
        #expect(answers(of: resolver).map(\.number) == [second])
        for _ in 0..<10_000 where wakeUps.value < 2 { Self.pause() }
        #expect(wakeUps.value == 2)
    }

    private final class Counter: Sendable {
        private let count = Lock(0)
        func increment() { count.withLock { $0 += 1 } }
        var value: Int { count.withLock { $0 } }
    }

    @Test("A name service that hangs costs one thread for each link, and holds no other link up")
    func hanging() throws {
        let gate = Gate()
        let slow = StreamAddress.tcp(host: "slow", port: 1)
        let resolver = LinkResolver(
            lookUp: { address in
                if address == slow { gate.wait() }
                return .failure(StreamError("\(address): no such name"))
            }, wakeUp: {})
        #expect(try resolver.begin(slow, for: "slow") != nil)
        for _ in 0..<100 { #expect(try resolver.begin(slow, for: "slow") == nil) }
        let quick = try #require(try resolver.begin(Self.address, for: "hub"))
        #expect(answers(of: resolver).map(\.number) == [quick])
        gate.open()
        let late = answers(of: resolver)
        #expect(late.map(\.link) == ["slow"])
        #expect(throws: StreamError.self) { _ = try late.first?.result.get() }
        #expect(try resolver.begin(slow, for: "slow") != nil)
    }

    @Test("A real name that does not exist is answered with its name")
    func unknownName() throws {
        let resolver = LinkResolver(wakeUp: {})
        let address = StreamAddress.tcp(host: "no-such-host.invalid", port: 1)
        #expect(try resolver.begin(address, for: "hub") != nil)
        let answer = try #require(answers(of: resolver).first)
        guard case .failure(let error) = answer.result else {
            Issue.record("a name that cannot exist was found")
            return
        }
        #expect(error.description.hasPrefix("no-such-host.invalid: "))
    }

    @Test("The addresses of a name share the time of a dial, and each is tried once")
    func attempts() throws {
        let targets = ["/a", "/b", "/c"].map { StreamTarget.unix(path: $0) }
        let last: UInt64 = 10_000
        var now: UInt64 = 1_000
        var rest = targets[...]
        var tried: [String] = []
        while let attempt = DialAttempt(
            rest, nowNanoseconds: now, lastDeadlineNanoseconds: last)
        {
            #expect(attempt.deadlineNanoseconds > now && attempt.deadlineNanoseconds <= last)
            tried.append("\(attempt.target)")
            now = attempt.deadlineNanoseconds
            rest = attempt.others
        }
        #expect(tried == ["/a", "/b", "/c"])
        #expect(now == last)
        #expect(
            DialAttempt(targets[...], nowNanoseconds: last, lastDeadlineNanoseconds: last) == nil)
    }

    // MARK: Keys of TLS

    @Test("The identity of a pre-shared key is written in one way only")
    func identity() throws {
        let identity = TLSKeyIdentity(connector: "edge-1", listener: "hub", keyID: 0x9f3c)
        #expect(identity.text == "broker-link/1/edge-1/hub/0000000000009f3c")
        #expect(TLSKeyIdentity(identity.text) == identity)
        #expect(
            identity.derivationInfo
                == Array("broker-link/1 tls psk\0broker-link/1/edge-1/hub/0000000000009f3c".utf8))
        for text in [
            "", "broker-link/1", "broker-link/2/edge-1/hub/0000000000009f3c",
            "broker-link/1/edge-1/hub/9f3c", "broker-link/1/edge-1/hub/0000000000009F3C",
            "broker-link/1/edge-1/hub/+000000000009f3c",
            "broker-link/1/a/edge-1/hub/0000000000009f3c",
            "broker-link/1/edge-1/hub/0000000000009f3c/",
            "broker-link/1/edge-1/hub/00000000000000009f3c",
        ] {
            #expect(TLSKeyIdentity(text) == nil, "\(text)")
        }
    }
}
