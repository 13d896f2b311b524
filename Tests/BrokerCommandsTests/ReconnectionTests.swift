import BrokerClient
import LinuxIO
import SystemPackage
import Testing

@testable import BrokerCommands

@Suite("When --reconnect tries again")
struct ReconnectionTests {
    private static func unavailable(_ errno: Errno) -> BrokerClientError {
        BrokerClientError(
            .brokerUnavailable, "", underlying: KernelError(call: "connect", errno: errno))
    }

    private static func ended(_ reason: ReasonCode) -> BrokerClientError {
        BrokerClientError(.disconnected(reason), "")
    }

    @Test(
        "if there is no broker",
        arguments: [
            unavailable(.noSuchFileOrDirectory), unavailable(.connectionRefused),
            unavailable(.wouldBlock), BrokerClientError(.timedOut, ""),
            ended(.serverShuttingDown), ended(.unspecifiedError),
            BrokerClientError(.refused(.serverShuttingDown), ""),
        ])
    func goesOn(error: BrokerClientError) {
        var reconnection = Reconnection()
        #expect(reconnection.delay(after: error, session: nil) != nil)
    }

    @Test(
        "and not if one has refused, or what is there is none",
        arguments: [
            unavailable(.permissionDenied), unavailable(.protocolWrongTypeForSocket),
            unavailable(.notDirectory), unavailable(.notSocket),
            BrokerClientError(.untrustedBroker(uid: 5), ""),
            BrokerClientError(.refused(.notPermitted), ""), ended(.notPermitted),
            ended(.identityUnknown), ended(.quotaExceeded), ended(.slowSubscriber),
            BrokerClientError(.malformedPacket, ""), BrokerClientError(.cancelled, ""),
        ])
    func ends(error: BrokerClientError) {
        var reconnection = Reconnection()
        #expect(reconnection.delay(after: error, session: nil) == nil)
    }

    @Test("once more if the socket has not got its mode yet, and not for ever")
    func startingBroker() {
        var reconnection = Reconnection()
        let denied = Self.unavailable(.permissionDenied)
        for _ in 0..<2 {
            #expect(
                reconnection.delay(after: Self.unavailable(.connectionRefused), session: nil) != nil
            )
            #expect(reconnection.delay(after: denied, session: nil) != nil)
        }
        #expect(reconnection.delay(after: denied, session: nil) == nil)
    }

    @Test("after a time that grows up to a limit, and is short again after a good session")
    func delays() {
        var reconnection = Reconnection()
        let gone = Self.ended(.serverShuttingDown)
        // A broker that ends each session at once is not asked more and more often.
        let delays = (0..<20).compactMap { _ in
            reconnection.delay(after: gone, session: .seconds(1))
        }
        #expect(delays.count == 20)
        let longest = delays.last ?? .zero
        #expect(longest >= .milliseconds(2_500) && longest <= .seconds(5))
        let first = reconnection.delay(after: gone, session: .seconds(60)) ?? .zero
        #expect(first >= .milliseconds(25) && first <= .milliseconds(50))
    }
}
