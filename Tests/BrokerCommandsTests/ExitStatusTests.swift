import BrokerClient
import LinuxIO
import SystemPackage
import Testing

@testable import BrokerCommands

/// The testing library has one of that name too.
private typealias Status = BrokerCommands.ExitStatus

@Suite("The exit status")
struct ExitStatusTests {
    @Test("has the numbers of sysexits")
    func numbers() {
        #expect(Status.allCases.map(\.rawValue) == [0, 1, 64, 69, 75, 77])
        for status in Status.allCases {
            #expect(Status.documentation.contains("\n  \(status.rawValue) "))
        }
    }

    @Test("follows from what the broker answered")
    func reasons() {
        let expected: [(ReasonCode, Status)] = [
            (.notPermitted, .notPermitted), (.identityUnknown, .notPermitted),
            (.quotaExceeded, .tryAgain), (.slowSubscriber, .tryAgain),
            (.repliesUnread, .tryAgain), (.serverShuttingDown, .brokerUnavailable),
            (.topicNameInvalid, .usage), (.topicFilterInvalid, .usage),
            (.packetTooLarge, .failure), (.malformedPacket, .failure),
        ]
        for (reason, status) in expected {
            #expect(Status(reason) == status)
            #expect(Status(BrokerClientError(.refused(reason), "")) == status)
            #expect(Status(BrokerClientError(.disconnected(reason), "")) == status)
        }
    }

    @Test("follows from how the connection failed")
    func connection() {
        func status(_ code: BrokerClientError.Code, _ errno: Errno? = nil) -> Status {
            Status(Self.error(code, errno))
        }
        #expect(status(.brokerUnavailable, .noSuchFileOrDirectory) == .brokerUnavailable)
        #expect(status(.brokerUnavailable, .connectionRefused) == .brokerUnavailable)
        #expect(status(.brokerUnavailable, .permissionDenied) == .notPermitted)
        #expect(status(.untrustedBroker(uid: 5)) == .brokerUnavailable)
        #expect(status(.timedOut) == .brokerUnavailable)
        #expect(status(.disconnected(.unspecifiedError)) == .brokerUnavailable)
        #expect(status(.messageTooLarge(limitBytes: 1)) == .failure)
        #expect(status(.invalidTopic) == .usage)
    }

    @Test("comes with words that name the socket and the fix")
    func words() {
        func words(_ errno: Errno) -> String {
            ConnectOptions.explainUnavailable(
                Self.error(.brokerUnavailable, errno), path: "/p/b.sock",
                systemPath: "/nowhere")
        }
        #expect(
            words(.noSuchFileOrDirectory) == """
                no broker at /p/b.sock: start one with `broker serve`, \
                or name another with --socket or BROKER_SOCKET
                """)
        #expect(words(.connectionRefused) == words(.noSuchFileOrDirectory))
        #expect(words(.permissionDenied).hasPrefix("not permitted to connect to /p/b.sock"))
        #expect(words(.wouldBlock).contains("try again"))
    }

    @Test("of the first refusal counts, with the number of all")
    func refusals() {
        let notes = RefusalNotes(Diagnostics(command: "test"))
        #expect(throws: Never.self) { try notes.check() }
        notes.add(.quotaExceeded, "for a test", count: 2)
        notes.add(.notPermitted, "for a test", count: 1)
        #expect(throws: CommandFailure(.tryAgain, "3 messages were refused")) {
            try notes.check()
        }
    }

    private static func error(
        _ code: BrokerClientError.Code, _ errno: Errno?
    ) -> BrokerClientError {
        BrokerClientError(
            code, "", underlying: errno.map { KernelError(call: "connect", errno: $0) })
    }
}
