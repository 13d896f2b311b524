import BrokerConfig
import BrokerCore
import LinuxIO

/// Why the configuration is read.
package enum ReloadCause: String, Sendable {
    case signal
    case request
    case change
    /// What was in the way may be gone.
    case retry

    /// Whether somebody wants to have it done, whatever the file holds.
    var isWish: Bool { self == .signal || self == .request }
}

/// The rules of a file, compiled and ready to be put into force.
struct CompiledRules: Sendable {
    let policy: AccessPolicy
    let quotas: QuotaSettings
    let status: RulesStatus
    let warningCount: Int

    init(_ file: AccessFile, from source: AccessFileSource) {
        policy = file.policy(brokerUID: source.brokerUID)
        quotas = file.quotas
        status = RulesStatus(policy, path: source.path, warnings: file.warnings.report())
        warningCount = file.warnings.count
    }

    func isSame(as other: CompiledRules) -> Bool {
        policy == other.policy && quotas == other.quotas
            && status.warnings == other.status.warnings
    }
}

/// What came of reading the access file.
enum RulesReading: Sendable {
    case changed(CompiledRules)
    /// The rules in force.
    case asBefore
    case unusable(AccessFileSource.Failure)
}

/// What came of reading it: each file whole, or why nothing changes. Nil: there is no such file,
/// or nobody asked and it is as before.
struct ReloadOutcome: Sendable {
    let cause: ReloadCause
    let rules: RulesReading?
    let links: Result<[LinkSettings], AccessFileSource.Failure>?
    /// Administrators who wait for an answer.
    let requests: [Effects.AdminRequest]
}

/// Reads access file and links on a thread of its own whenever they may have changed: on a signal,
/// on request, when something happens in their directories, and again and again while the access
/// file cannot be read. Reading may block (names are looked up), and reading, compiling and freeing
/// many rules takes time: it is never done on the reactor thread, which is handed the finished
/// rules and hands back the old ones.
final class ConfigurationKeeper: Sendable {
    private struct State {
        var isStopping = false
        var isSignalled = false
        var isRetryDue = false
        var requests: [Effects.AdminRequest] = []
        /// What the latest outcome was made of; nil: the file could not be read.
        var rules: [UInt8]?
        var links: [UInt8]?
        /// That there was no access file when it was read last.
        var missing: AccessFileSource.Failure?
        /// The rules in force, or about to be.
        var compiled: CompiledRules?
        /// Rules that are not in force any more, to be freed.
        var discarded: [AccessPolicy] = []
    }

    private static let watchToken: UInt64 = 0
    private static let wakeUpToken: UInt64 = 1

    private let rulesSource: AccessFileSource?
    private let linksSource: LinkFileSource?
    private let wakeUp: EventFD
    private let state: Lock<State>
    private let deliver: @Sendable (ReloadOutcome) -> Void

    /// - Parameters:
    ///   - rules: the access file, and what the rules in force were read from.
    ///   - links: the same of the links.
    ///   - deliver: called on the keeper's thread.
    init(
        rules: (source: AccessFileSource, text: [UInt8], compiled: CompiledRules)?,
        links: (source: LinkFileSource, text: [UInt8])?,
        deliver: @escaping @Sendable (ReloadOutcome) -> Void
    ) throws(KernelError) {
        precondition(rules != nil || links != nil, "nothing to keep")
        rulesSource = rules?.source
        linksSource = links?.source
        self.deliver = deliver
        wakeUp = try EventFD()
        state = Lock(
            State(rules: rules?.text, links: links?.text, compiled: rules?.compiled))
    }

    /// What the file of links says could not be done: it is tried again when anything changes.
    func linksRefused() {
        state.withLock { $0.links = nil }
    }

    /// Reads the links again, for themselves.
    func retryLinks() {
        state.withLock { $0.isRetryDue = true }
        wakeUp.signal()
    }

    func reload() {
        state.withLock { $0.isSignalled = true }
        wakeUp.signal()
    }

    func reload(for request: Effects.AdminRequest) {
        state.withLock { $0.requests.append(request) }
        wakeUp.signal()
    }

    /// Frees rules that were in force.
    func discard(_ policy: consuming AccessPolicy) {
        let policy = policy
        state.withLock { $0.discarded.append(policy) }
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
        var watch: DirectoryWatch?
        var failure: KernelError?
        do throws(KernelError) {
            watch = try DirectoryWatch(directories: directories)
        } catch {
            failure = error
        }
        let parts = Lock(Parts(epoll: epoll, watch: watch))
        _ = try SystemThread(name: "broker-rules") { [self] in
            guard let parts = parts.withLock({ $0.take() }) else { return }
            run(parts)
        }
        return failure
    }

    private var directories: [String] {
        let paths = Set([rulesSource?.path, linksSource?.path].compactMap { $0 })
        return Set(
            paths.map { path in
                let directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
                return directory.isEmpty ? "/" : directory
            }
        ).sorted()
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
        var retry = nextRetry(after: nil)
        if var watch = parts.watch.take() {
            do throws(KernelError) {
                try epoll.add(watch.descriptor, token: Self.watchToken, interest: .readable)
            } catch {
                preconditionFailure("a fresh descriptor can be watched: \(error)")
            }
            while wait(&epoll, &retry, { watch.renew() }) {}
        } else {
            while wait(&epoll, &retry, { false }) {}
        }
    }

    /// - Returns: when to read the access file again; nil: it could be read.
    private func nextRetry(after last: RetryTimer?) -> RetryTimer? {
        guard rulesSource != nil, state.withLock({ $0.rules == nil }) else { return nil }
        let now = Clock.monotonicNanoseconds()
        var retry = last ?? RetryTimer()
        if retry.nextNanoseconds <= now { retry.failed(nowNanoseconds: now) }
        return retry
    }

    /// - Returns: false if it is time to stop.
    private func wait(
        _ epoll: inout Epoll, _ retry: inout RetryTimer?, _ renewWatch: () -> Bool
    ) -> Bool {
        let now = Clock.monotonicNanoseconds()
        let count = epoll.wait(
            timeoutNanoseconds: retry.map { $0.nextNanoseconds - min($0.nextNanoseconds, now) })
        let isTold = (0..<count).contains { epoll.token(at: $0) == Self.watchToken }
        wakeUp.drain()
        let isChanged = renewWatch() || isTold
        let tasks = state.withLock { state in
            defer {
                state.isSignalled = false
                state.isRetryDue = false
                state.requests = []
                state.discarded = []
            }
            return state
        }
        if tasks.isStopping { return false }
        if tasks.isSignalled {
            read(.signal, tasks.requests)
        } else if !tasks.requests.isEmpty {
            read(.request, tasks.requests)
        } else if isChanged {
            read(.change, [])
        } else if tasks.isRetryDue || retry != nil {
            read(.retry, [])
        }
        retry = nextRetry(after: retry)
        return true
    }

    private func read(_ cause: ReloadCause, _ requests: [Effects.AdminRequest]) {
        let rules = rulesSource.flatMap { source in
            read(
                cause, { () throws(AccessFileSource.Failure) in try readRules(source, cause) },
                remembering: \.rules
            ) {
                text throws(AccessFileSource.Failure) in
                CompiledRules(try source.parse(text), from: source)
            }
        }.map(compare)
        let links = linksSource.flatMap { source in
            read(cause, source.read, remembering: \.links) {
                text throws(AccessFileSource.Failure) in
                try source.parse(text)
            }
        }
        guard rules != nil || links != nil || !requests.isEmpty else { return }
        deliver(ReloadOutcome(cause: cause, rules: rules, links: links, requests: requests))
    }

    private func readRules(
        _ source: AccessFileSource, _ cause: ReloadCause
    ) throws(AccessFileSource.Failure) -> [UInt8] {
        let missing = state.withLock { $0.missing.take() }
        do throws(AccessFileSource.Failure) {
            let text = try source.read()
            // Nobody has said that it is there, so somebody is still writing it.
            if cause == .retry, let missing { throw missing }
            return text
        } catch {
            if error.isMissing { state.withLock { $0.missing = error } }
            throw error
        }
    }

    private func compare(
        _ result: Result<CompiledRules, AccessFileSource.Failure>
    ) -> RulesReading {
        switch result {
        case .failure(let failure):
            return .unusable(failure)
        case .success(let rules):
            let before = state.withLock { state in
                defer { state.compiled = rules }
                return state.compiled
            }
            return before?.isSame(as: rules) == true ? .asBefore : .changed(rules)
        }
    }

    /// - Returns: nil if there is nothing new.
    private func read<Value>(
        _ cause: ReloadCause,
        _ source: () throws(AccessFileSource.Failure) -> [UInt8],
        remembering key: WritableKeyPath<State, [UInt8]?>,
        _ parse: ([UInt8]) throws(AccessFileSource.Failure) -> Value
    ) -> Result<Value, AccessFileSource.Failure>? {
        do throws(AccessFileSource.Failure) {
            let text = try source()
            let isNew = state.withLock { state in
                defer { state[keyPath: key] = text }
                return state[keyPath: key] != text
            }
            // Names may have come to mean others: who asks gets a fresh look.
            return isNew || cause.isWish ? .success(try parse(text)) : nil
        } catch {
            if case .unreadable = error { state.withLock { $0[keyPath: key] = nil } }
            return .failure(error)
        }
    }
}
