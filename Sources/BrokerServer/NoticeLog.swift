import BrokerCore
import BrokerWire
import LinuxIO
import Logging

/// Names of log metadata, in one place.
enum LogKey {
    static let error = "error"
    static let explanation = "explanation"
    static let openerPID = "opener-pid"
    static let openerUID = "opener-uid"
    static let reason = "reason"
    static let session = "session"
    static let sessions = "sessions"
    static let suppressed = "suppressed"
}

/// Logs what the core noticed, at a bounded rate: a client that is refused a million times a
/// second fills counters, not disks.
struct NoticeLog {
    private static let linesPerSecondMax = 50
    private static let secondNanoseconds: UInt64 = 1_000_000_000

    private let logger: Logger
    private var windowEndNanoseconds: UInt64 = 0
    private var linesInWindow = 0
    private var suppressed = 0

    init(logger: Logger) {
        self.logger = logger
    }

    /// Begins a new second and tells what the last one kept quiet.
    mutating func timePassed(nowNanoseconds: UInt64) {
        guard nowNanoseconds >= windowEndNanoseconds else { return }
        windowEndNanoseconds = nowNanoseconds + Self.secondNanoseconds
        linesInWindow = 0
        guard suppressed > 0 else { return }
        logger.warning(
            "log lines suppressed", metadata: [LogKey.suppressed: "\(suppressed)"])
        suppressed = 0
    }

    mutating func log(_ notices: [Effects.Notice], dropped: Int) {
        suppressed += dropped
        for notice in notices { log(notice) }
    }

    mutating func logAcceptFailure(_ error: KernelError, nowNanoseconds: UInt64) {
        guard takeLine() else { return }
        logger.error(
            "cannot accept connections, trying again shortly",
            metadata: [LogKey.error: "\(error)"])
    }

    private mutating func log(_ notice: Effects.Notice) {
        let level: Logger.Level =
            switch notice.kind {
            case .sessionOpened: .debug
            case .publishRefused, .subscribeRefused, .requestRefused: .notice
            case .connectionRefused, .sessionEnded, .messagesLost: .warning
            }
        guard logger.logLevel <= level, takeLine() else { return }
        logger.log(
            level: level, "\(notice.kind.rawValue)",
            metadata: [
                LogKey.session: "\(notice.session)",
                LogKey.reason: "\(notice.reason)",
                LogKey.openerPID: "\(notice.opener.pid)",
                LogKey.openerUID: "\(notice.opener.uid)",
                // Names and topics in it are the clients' choice: quoted, never bare.
                LogKey.explanation: "\(notice.explanation.debugDescription)",
            ])
    }

    private mutating func takeLine() -> Bool {
        guard linesInWindow < Self.linesPerSecondMax else {
            suppressed += 1
            return false
        }
        linesInWindow += 1
        return true
    }
}
