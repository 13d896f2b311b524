import BrokerConfig
import BrokerCore
import BrokerWire
import LinuxIO
package import Logging
import ServiceLifecycle
import Synchronization
import UnixSignals

/// The broker as a service: opens the socket, runs the reactor on a thread of its own, and stops
/// in good order when the service group shuts down.
package final class Server: Service {
    package let configuration: ServerConfiguration
    let logger: Logger
    let control: ReactorControl
    /// About a dozen are open before the first client comes. Where they run out while the program
    /// starts, its runtime aborts: libdispatch needs one when the main thread goes.
    private static let descriptorsMin: UInt64 = 32
    /// Taken by the reactor thread when it starts.
    private let listener: Lock<SeqpacketListener?>
    private let packetBytesMax: Int
    private let inForce: ConfigurationInForce

    /// What `broker serve` tells of the rules it begins with.
    package var warnings: [String] { inForce.rulesStatus.warnings }
    package var ruleCount: Int { inForce.rulesStatus.rules }

    /// Opens the socket; afterwards clients can connect, though nobody answers before `run`.
    package init(
        configuration: ServerConfiguration, logger: Logger
    ) throws(ServerError) {
        self.configuration = configuration
        self.logger = logger
        let descriptors = CurrentProcess.raiseDescriptorLimit()
        guard descriptors >= Self.descriptorsMin else {
            throw ServerError(
                "EMFILE: this process may open \(descriptors) descriptors, a broker needs "
                    + "\(Self.descriptorsMin) and one for each client; raise the hard limit: "
                    + "ulimit -Hn, LimitNOFILE= in the service")
        }
        // It means "read again" from the first moment on.
        CurrentProcess.ignoreHangUp()
        packetBytesMax = try Self.measurePacketBytesMax()
        do throws(KernelError) {
            control = try ReactorControl()
        } catch {
            throw ServerError("cannot make an eventfd: \(error)")
        }
        inForce = try ConfigurationInForce(configuration, control: control)
        do throws(SocketPathError) {
            listener = Lock(
                try SeqpacketListener(
                    path: configuration.socketPath, mode: configuration.socketMode,
                    groupID: configuration.socketGroupID, backlog: configuration.backlog))
        } catch {
            let isInUse =
                switch error {
                case .lockHeld, .inUse: true
                case .notASocket, .lockNotAFile, .system: false
                }
            throw ServerError(error.description, isSocketInUse: isInUse)
        }
    }

    /// Serves until the service group shuts down gracefully or the task is cancelled.
    package func run() async throws {
        let control = control
        try await withTaskCancellationHandler {
            try await withGracefulShutdownHandler {
                try await serve()
            } onGracefulShutdown: {
                control.stop()
            }
        } onCancel: {
            control.stop()
        }
    }

    private func serve() async throws {
        let keeper = inForce.keeper
        let logger = logger
        let signals = Task {
            for await _ in await UnixSignalsSequence(trapping: .sighup) {
                if let keeper {
                    keeper.reload()
                } else {
                    logger.notice("SIGHUP does nothing: there is no configuration file")
                }
            }
        }
        defer {
            signals.cancel()
            keeper?.stop()
        }
        try startKeeper()
        let failure: ServerError? = await withCheckedContinuation { continuation in
            do throws(KernelError) {
                _ = try SystemThread(
                    name: "broker-reactor",
                    sliceNanoseconds: SystemThread.shortestSliceNanoseconds
                ) {
                    continuation.resume(returning: self.runReactor())
                }
            } catch {
                continuation.resume(returning: ServerError(Self.noThread("to serve with", error)))
            }
        }
        if let failure { throw failure }
    }

    /// A user's processes, a service's, or all of the machine have as many as they may.
    static func noThread(_ purpose: String, _ error: KernelError) -> String {
        "no thread \(purpose): \(error); end others, or raise the limit: ulimit -u, "
            + "TasksMax= in the service"
    }

    private func startKeeper() throws(ServerError) {
        guard let keeper = inForce.keeper else { return }
        do throws(KernelError) {
            if let failure = try keeper.start() {
                logger.warning(
                    "changed files are noticed on SIGHUP and `broker acl reload` only",
                    metadata: [LogKey.error: "\(failure)"])
            }
        } catch {
            throw ServerError("cannot watch the configuration: \(error)")
        }
    }

    /// The body of the reactor thread.
    private func runReactor() -> ServerError? {
        guard let listener = listener.withLock({ $0.take() }) else {
            return ServerError("the server runs already")
        }
        let links: LinkStreams
        do throws(ServerError) {
            links = try openLinks(inForce.links)
        } catch {
            return error
        }
        do throws(KernelError) {
            var reactor = try Reactor(
                listener: listener, control: control, broker: makeBrokerConfiguration(),
                inForce: inForce, logger: logger, links: links,
                pace: configuration.pace,
                service: ServiceReport(
                    to: configuration.serviceManager, socketPath: configuration.socketPath,
                    logger: logger))
            reactor.run()
            return nil
        } catch {
            return ServerError("cannot set up epoll: \(error)")
        }
    }

    private func makeBrokerConfiguration() -> BrokerConfiguration {
        let uid = CurrentProcess.effectiveUserID
        let own = try? ProcessDescriptor.open(pid: CurrentProcess.pid)
        var broker = BrokerConfiguration(
            name: configuration.name, version: configuration.version,
            instance: UInt64.random(in: 1...UInt64.max),
            hashSeed: UInt64.random(in: 0...UInt64.max),
            process: SenderRecord.Opener(
                pid: CurrentProcess.pid, uid: uid, gid: CurrentProcess.effectiveGroupID,
                process: own?.inode ?? 0),
            packetBytesMax: packetBytesMax,
            policy: inForce.policy)
        broker.quotas = inForce.quotas
        broker.queueBytesPerSubscriptionMax = configuration.queueBytesMax
        return broker
    }

    /// The largest packet that the kernel lets us send, from a socket set up like a connection.
    private static func measurePacketBytesMax() throws(ServerError) -> Int {
        let measured: Int
        do throws(KernelError) {
            measured = try Connection.measurePacketBytesMax()
        } catch {
            throw ServerError("cannot measure the send buffer: \(error)")
        }
        guard measured >= Limits.packetBytesMin else {
            throw ServerError(
                "the kernel sends packets of at most \(measured) bytes, the broker needs "
                    + "\(Limits.packetBytesMin): raise it with "
                    + "`sysctl net.core.wmem_max=212992`")
        }
        return min(measured, Limits.packetBytesMax)
    }
}

/// The one way to reach the reactor from other threads.
final class ReactorControl: Sendable {
    let wakeUp: EventFD
    private let stopping = Atomic(false)
    private let reloads = Lock<[ReloadOutcome]>([])

    init() throws(KernelError) {
        wakeUp = try EventFD()
    }

    var isStopping: Bool { stopping.load(ordering: .acquiring) }

    func deliver(_ outcome: ReloadOutcome) {
        reloads.withLock { $0.append(outcome) }
        wakeUp.signal()
    }

    func takeReloads() -> [ReloadOutcome] {
        reloads.withLock { reloads in
            defer { reloads = [] }
            return reloads
        }
    }

    func stop() {
        stopping.store(true, ordering: .releasing)
        wakeUp.signal()
    }
}
