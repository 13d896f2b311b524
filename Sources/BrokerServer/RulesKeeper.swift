import BrokerConfig
import BrokerCore
import LinuxIO

/// Why the access file is read.
package enum ReloadCause: String, Sendable {
    case start
    case signal
    case request
    case change
}

/// What came of reading it: the whole file, or why nothing changes.
struct ReloadOutcome: Sendable {
    let cause: ReloadCause
    let result: Result<AccessFile, AccessFileSource.Failure>
    /// Administrators who wait for an answer.
    let requests: [Effects.AdminRequest]
}

/// Reads the access file on a thread of its own whenever it may have changed: on a signal, on
/// request, and when something happens in its directory. Reading may block (names are looked
/// up), so it is never done on the reactor thread, which is handed the finished rules.
final class RulesKeeper: Sendable {
    private struct State {
        var isStopping = false
        var isSignalled = false
        var requests: [Effects.AdminRequest] = []
        /// What the latest outcome was made of; nil: it was a failure.
        var content: TrustedFile.Content?
    }

    private static let watchToken: UInt64 = 0
    private static let wakeUpToken: UInt64 = 1

    private let source: AccessFileSource
    private let wakeUp: EventFD
    private let state: Lock<State>
    private let deliver: @Sendable (ReloadOutcome) -> Void

    /// - Parameters:
    ///   - content: what the rules in force were read from.
    ///   - deliver: called on the keeper's thread.
    init(
        source: AccessFileSource, content: TrustedFile.Content,
        deliver: @escaping @Sendable (ReloadOutcome) -> Void
    ) throws(KernelError) {
        self.source = source
        self.deliver = deliver
        wakeUp = try EventFD()
        state = Lock(State(content: content))
    }

    func reload() {
        state.withLock { $0.isSignalled = true }
        wakeUp.signal()
    }

    func reload(for request: Effects.AdminRequest) {
        state.withLock { $0.requests.append(request) }
        wakeUp.signal()
    }

    func stop() {
        state.withLock { $0.isStopping = true }
        wakeUp.signal()
    }

    /// Starts the thread.
    ///
    /// - Returns: why changes of the file go unnoticed, if they do.
    func start() throws(KernelError) -> KernelError? {
        let epoll = try Epoll(eventsMax: 4)
        try epoll.add(wakeUp.descriptor, token: Self.wakeUpToken, interest: .readable)
        let directory = source.path.lastIndex(of: "/").map { String(source.path[..<$0]) } ?? "."
        var watch: DirectoryWatch?
        var failure: KernelError?
        do throws(KernelError) {
            watch = try DirectoryWatch(directory: directory.isEmpty ? "/" : directory)
        } catch {
            failure = error
        }
        let parts = Lock(Parts(epoll: epoll, watch: watch))
        _ = SystemThread.start(name: "broker-rules") { [self] in
            guard let parts = parts.withLock({ $0.take() }) else { return }
            run(parts)
        }
        return failure
    }

    /// What the thread takes along.
    private struct Parts: ~Copyable {
        var epoll: Epoll?
        var watch: DirectoryWatch?

        init(epoll: consuming Epoll, watch: consuming DirectoryWatch?) {
            self.epoll = consume epoll
            self.watch = consume watch
        }

        mutating func take() -> Parts? {
            guard let epoll = epoll.take() else { return nil }
            return Parts(epoll: epoll, watch: watch.take())
        }
    }

    private func run(_ parts: consuming Parts) {
        guard var epoll = parts.epoll.take() else { return }
        // What happened before the watch was there went unnoticed.
        read(.change, [])
        if let watch = parts.watch.take() {
            do throws(KernelError) {
                try epoll.add(watch.descriptor, token: Self.watchToken, interest: .readable)
            } catch {
                preconditionFailure("a fresh descriptor can be watched: \(error)")
            }
            while wait(&epoll, { watch.drain() }) {}
        } else {
            while wait(&epoll, {}) {}
        }
    }

    /// - Returns: false if it is time to stop.
    private func wait(_ epoll: inout Epoll, _ drainWatch: () -> Void) -> Bool {
        _ = epoll.wait(timeoutMilliseconds: -1)
        wakeUp.drain()
        drainWatch()
        let (isStopping, isSignalled, requests) = state.withLock { state in
            defer {
                state.isSignalled = false
                state.requests = []
            }
            return (state.isStopping, state.isSignalled, state.requests)
        }
        if isStopping { return false }
        read(isSignalled ? .signal : requests.isEmpty ? .change : .request, requests)
        return true
    }

    private func read(_ cause: ReloadCause, _ requests: [Effects.AdminRequest]) {
        do throws(AccessFileSource.Failure) {
            let loaded = try source.load()
            let isNew = state.withLock { state in
                defer { state.content = loaded.content }
                return state.content != loaded.content
            }
            // Names may have come to mean others: who asks gets a fresh look.
            guard isNew || cause != .change else { return }
            deliver(
                ReloadOutcome(cause: cause, result: .success(loaded.file), requests: requests))
        } catch {
            state.withLock { $0.content = nil }
            deliver(ReloadOutcome(cause: cause, result: .failure(error), requests: requests))
        }
    }
}
