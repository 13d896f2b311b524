internal import BrokerWire
internal import LinuxIO

/// A connection to the broker: publishes, subscribes, and connects again if told so.
///
/// A client may be used from any number of tasks. Messages that one task publishes reach the
/// broker in that order. It owns one thread, which ends with `close()` or when the client and
/// all its subscriptions are gone.
///
/// Delivery is **at most once**: nothing is sent a second time. What was on its way when a
/// session ended may or may not have arrived; `publishAcknowledged` says when a message has.
public final class BrokerClient: Sendable {
    let core: ClientCore
    private let firstSession: BrokerSession
    /// What gathers is sent after microseconds, not when it suits the kernel.
    private static let timerSlack = 1_000

    private init(_ core: ClientCore, _ session: BrokerSession) {
        self.core = core
        firstSession = session
    }

    deinit {
        core.close(nil)
    }

    /// Connects and greets. Protocol/README.md, sections 1, 5.1 and 5.2.
    ///
    /// There is one attempt: the reconnect policy holds for sessions that have begun.
    ///
    /// - Throws: `.brokerUnavailable`, `.untrustedBroker`, `.timedOut`, `.disconnected` if the
    ///   broker turns us away, `.malformedPacket`, `.invalidArgument`, `.systemFailure`,
    ///   `.cancelled`.
    public static func connect(
        _ configuration: Configuration
    ) async throws(BrokerClientError) -> BrokerClient {
        try configuration.validate()
        let core: ClientCore
        do throws(KernelError) {
            core = try ClientCore(configuration)
        } catch {
            throw BrokerClientError(
                .systemFailure, "the client cannot start: \(error)", underlying: error)
        }
        _ = SystemThread.start(
            name: "broker-client", timerSlackNanoseconds: timerSlack,
            sliceNanoseconds: SystemThread.shortestSliceNanoseconds
        ) {
            core.runThread()
        }
        do throws(BrokerClientError) {
            return BrokerClient(core, try await core.started.value())
        } catch {
            core.close(nil)
            throw error
        }
    }

    /// The latest session: who the broker is, who we are to it, and what it can carry.
    public var session: BrokerSession {
        core.session.withLock { $0 } ?? firstSession
    }

    // MARK: Housekeeping

    /// Waits until the kernel has everything that was published before the call.
    ///
    /// - Throws: `.disconnected` if some of it was lost with a session, `.closed`, `.cancelled`.
    public func flush() async throws(BrokerClientError) {
        guard let waiter = try core.flush() else { return }
        try await waiter.value()
    }

    /// Asks the broker for a sign of life, behind everything published before.
    /// Protocol/README.md, section 5.9.
    ///
    /// - Returns: the time from sending to the answer.
    /// - Throws: `.disconnected`, `.closed`, `.cancelled`.
    public func ping() async throws(BrokerClientError) -> Duration {
        let waiter = OneShot<UInt64>()
        let start = Clock.monotonicNanoseconds()
        try core.ping(waiter)
        let end = try await waiter.value()
        return .nanoseconds(Int64(clamping: end.saturatingSubtract(start)))
    }

    /// The broker's status, one JSON document in UTF-8. Protocol/README.md, section 9.
    ///
    /// - Throws: `.refused` if the rules do not allow it, `.disconnected`, `.closed`,
    ///   `.cancelled`.
    public func status() async throws(BrokerClientError) -> [UInt8] {
        let waiter = OneShot<[UInt8]>()
        try core.requestStatus(waiter)
        return try await waiter.value()
    }

    /// Asks for administration, which needs the right `administer`. Protocol/README.md, section 10.
    ///
    /// - Parameter arguments: one JSON document in UTF-8.
    /// - Returns: the broker's answer, one JSON document.
    /// - Throws: `.refused`, `.messageTooLarge`, `.disconnected`, `.closed`, `.cancelled`.
    public func administer(
        _ command: String, _ arguments: [UInt8] = Array("{}".utf8)
    ) async throws(BrokerClientError) -> [UInt8] {
        let waiter = OneShot<[UInt8]>()
        try core.administer(command, arguments, waiter)
        return try await waiter.value()
    }

    /// Sends what is pending (for at most two seconds) and says goodbye. Subscriptions finish
    /// without an error; what is awaited fails with `.closed`. Closing twice is no error.
    public func close() async {
        let waiter = OneShot<Void>()
        core.close(waiter)
        do throws(BrokerClientError) {
            try await waiter.value()
        } catch {
            // Cancelled while waiting: the thread closes all the same.
        }
    }
}

extension ClientCore {
    /// The life of the client's thread. Its descriptors are closed when `ended` is called.
    fileprivate func runThread() {
        let cause: BrokerClientError
        do throws(KernelError) {
            var loop = try ClientLoop(self)
            cause = loop.run()
        } catch {
            cause = BrokerClientError(
                .systemFailure, "the client cannot start: \(error)", underlying: error)
        }
        ended(cause)
    }
}
