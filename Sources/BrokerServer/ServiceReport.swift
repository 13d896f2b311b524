import LinuxIO
import Logging

/// What the service manager hears of the reactor; nothing, where nobody asked.
struct ServiceReport {
    private let manager: ServiceManager?
    private let socketPath: String
    private let logger: Logger
    /// Its state in words, as it was told last.
    private var status = ""
    /// When to give the next sign of life.
    private(set) var nextNanoseconds = UInt64.max

    init(to manager: ServiceManager?, socketPath: String, logger: Logger) {
        self.manager = manager
        self.socketPath = socketPath
        self.logger = logger
    }

    /// From now on the broker answers.
    mutating func began(_ rules: RulesStatus, nowNanoseconds: UInt64) {
        guard let manager else { return }
        status = describe(rules)
        tell { () throws(KernelError) in try manager.ready(status) }
        giveSign(nowNanoseconds: nowNanoseconds)
    }

    /// What is in force may have changed.
    mutating func rulesRead(_ rules: RulesStatus) {
        guard let manager else { return }
        let now = describe(rules)
        guard now != status else { return }
        status = now
        tell { () throws(KernelError) in try manager.status(now) }
    }

    func ending() {
        guard let manager else { return }
        tell { () throws(KernelError) in try manager.stopping() }
    }

    /// Gives a sign of life, if it is time for one.
    mutating func timePassed(nowNanoseconds: UInt64) {
        if nowNanoseconds >= nextNanoseconds { giveSign(nowNanoseconds: nowNanoseconds) }
    }

    /// Twice in the time that the manager waits, as sd_watchdog_enabled(3) advises.
    private mutating func giveSign(nowNanoseconds: UInt64) {
        guard let manager, let interval = manager.watchdogNanoseconds else { return }
        tell { () throws(KernelError) in try manager.isAlive() }
        nextNanoseconds = nowNanoseconds + interval / 2
    }

    private func describe(_ rules: RulesStatus) -> String {
        let source = rules.path.map { " from \($0)" } ?? ""
        let told = "listening on \(socketPath); rules: \(rules.rules)\(source) (\(rules.source))"
        return rules.error.map { "\(told); changes are not in force: \($0)" } ?? told
    }

    private func tell(_ body: () throws(KernelError) -> Void) {
        do throws(KernelError) {
            try body()
        } catch {
            logger.warning(
                "the service manager was not told", metadata: [LogKey.error: "\(error)"])
        }
    }
}
