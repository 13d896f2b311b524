import BrokerWire
import LinuxIO
import Logging
import Testing

@testable import BrokerCore
@testable import BrokerServer

/// What the core noticed, as log lines: bounded in number, and never misleading.
@Suite("Notice log")
struct NoticeLogTests {
    private final class Lines: Sendable {
        let all = Lock<[String]>([])
    }

    private struct Recorder: LogHandler {
        let lines: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.debug

        subscript(metadataKey key: String) -> Logger.MetadataValue? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let details = (event.metadata ?? [:]).map { "\($0)=\($1)" }.sorted()
            lines.all.withLock { $0.append("\(event.message) \(details.joined(separator: " "))") }
        }
    }

    private func makeLog() -> (NoticeLog, Lines) {
        let lines = Lines()
        let logger = Logger(label: "test") { _ in Recorder(lines: lines) }
        return (NoticeLog(logger: logger), lines)
    }

    private func notices(refusing topic: String) -> [Effects.Notice] {
        let configuration = BrokerConfiguration(
            name: "host", version: "1", instance: 1, hashSeed: 1,
            process: SenderRecord.Opener(pid: 1, uid: 0, gid: 0, process: 0),
            packetBytesMax: Limits.packetBytesMax, policy: .ownerOnly(brokerUID: 0))
        var broker = Broker(configuration: configuration, nowNanoseconds: 0)
        var effects = Effects()
        let opener = Peer(
            record: SenderRecord.Opener(pid: 42, uid: 1000, gid: 1000, process: 0),
            groups: [], domain: .own)
        guard
            case .accepted(let id) = broker.connectionOpened(
                opener, nowNanoseconds: 0, into: &effects)
        else { return [] }
        var packet = PacketBuffer(capacityBytes: 4_096)
        packet.appendHello(versionMin: 1, versionMax: 1, name: "c")
        packet.appendPublish(
            token: 1, wantsAcknowledgement: false, topic: Array(topic.utf8).span,
            payload: Span())
        packet.seal()
        let sender = Attestation(pid: 42, uid: 1000, gid: 1000, process: 0, timeNanoseconds: 1)
        broker.packetReceived(
            id, packet.span, from: .attested(sender), nowNanoseconds: 0, into: &effects)
        return effects.notices
    }

    @Test("A denial is one line with uid, opener, rule and the quoted topic")
    func refusal() throws {
        var (log, lines) = makeLog()
        log.log(notices(refusing: "a\" opener-uid=0 b"), dropped: 0)
        let line = try #require(lines.all.withLock { $0.last })
        #expect(line.hasPrefix("denied by the access rules "))
        #expect(line.contains("opener-uid=1000"))
        #expect(line.contains("action=publish") && line.contains("rule=none "))
        #expect(!line.contains("line="))
        // The topic stays inside of its quotes.
        #expect(line.contains("\\\""))
    }

    @Test("A flood fills counters, not disks: 50 lines a second, then how many were kept quiet")
    func flood() throws {
        var (log, lines) = makeLog()
        // `+` is no topic, whoever sends it: no denial.
        let notice = try #require(notices(refusing: "+").last)
        log.timePassed(nowNanoseconds: 1)
        log.log(Array(repeating: notice, count: 1_000), dropped: 10)
        #expect(lines.all.withLock { $0.count } == 50)
        log.timePassed(nowNanoseconds: 2_000_000_000)
        let last = try #require(lines.all.withLock { $0.last })
        #expect(last == "log lines suppressed suppressed=960")
        log.log([notice], dropped: 0)
        #expect(lines.all.withLock { $0.count } == 52)
    }

    @Test("Denials of one uid are five lines a second, then how many were kept quiet")
    func denials() throws {
        var (log, lines) = makeLog()
        let notice = try #require(notices(refusing: "t").last)
        log.timePassed(nowNanoseconds: 1)
        log.log(Array(repeating: notice, count: 1_000), dropped: 0)
        #expect(lines.all.withLock { $0.count } == 5)
        log.timePassed(nowNanoseconds: 2_000_000_000)
        let last = try #require(lines.all.withLock { $0.last })
        #expect(last == "denials suppressed suppressed=995 uid=1000")
    }

    @Test(
        "What happens to a link is told with what is known, not with empty words"
    )
    func links() {
        var (log, lines) = makeLog()
        log.log(LinkNotice(kind: .established, link: "edge", reason: nil, explanation: ""))
        log.log(LinkNotice(kind: .ended, link: "edge", reason: .shuttingDown, explanation: "bye"))
        #expect(
            lines.all.withLock { $0 } == [
                "link established link=edge",
                #"link ended explanation="bye" link=edge reason=shuttingDown"#,
            ])
    }

    @Test(
        "An explanation is one value, whatever quotes and backslashes are in it",
        arguments: [
            ("it's", #""it's""#), (#"to "a\"b" now"#, #""to \"a\"b\" now""#),
            (#"to "a\\": no"#, #""to \"a\\\": no""#), (#"cut off \"#, #""cut off \\""#),
        ])
    func explanations(text: String, value: String) {
        var (log, lines) = makeLog()
        log.log(LinkNotice(kind: .ended, link: "edge", reason: nil, explanation: text))
        #expect(lines.all.withLock { $0 } == ["link ended explanation=\(value) link=edge"])
    }
}
