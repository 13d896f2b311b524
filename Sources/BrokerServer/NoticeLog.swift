import BrokerCore
import BrokerWire
import LinuxIO
import Logging

/// Names of log metadata, in one place.
enum LogKey {
    static let action = "action"
    static let adapted = "adapted"
    static let added = "added"
    static let address = "address"
    static let cause = "cause"
    static let deliveriesWithdrawn = "deliveries-withdrawn"
    static let error = "error"
    static let explanation = "explanation"
    static let link = "link"
    static let openerPID = "opener-pid"
    static let openerUID = "opener-uid"
    static let path = "path"
    static let reason = "reason"
    static let removed = "removed"
    static let restarted = "restarted"
    static let rule = "rule"
    static let rules = "rules"
    static let ruleLine = "line"
    static let session = "session"
    static let sessions = "sessions"
    static let subscriptionsEnded = "subscriptions-ended"
    static let suppressed = "suppressed"
    static let topic = "topic"
    static let uid = "uid"
    static let warnings = "warnings"
}

/// Logs what the core noticed, at a bounded rate: a client that is refused a million times a
/// second fills counters, not disks.
struct NoticeLog {
    private static let linesPerSecondMax = 50
    /// Of them, denials of one uid: it cannot hide those of others.
    private static let denialsPerSecondMax = 5
    /// Uids that are told apart within a second.
    private static let usersMax = 64
    private static let secondNanoseconds: UInt64 = 1_000_000_000

    private let logger: Logger
    private var windowEndNanoseconds: UInt64 = 0
    private var linesInWindow = 0
    private var suppressed = 0
    /// In this second, by attested uid.
    private var denials: [UInt32: Int] = [:]

    init(logger: Logger) {
        self.logger = logger
    }

    /// Begins a new second and tells what the last one kept quiet.
    mutating func timePassed(nowNanoseconds: UInt64) {
        guard nowNanoseconds >= windowEndNanoseconds else { return }
        windowEndNanoseconds = nowNanoseconds + Self.secondNanoseconds
        linesInWindow = 0
        logSuppressedDenials()
        guard suppressed > 0 else { return }
        logger.warning(
            "log lines suppressed", metadata: [LogKey.suppressed: "\(suppressed)"])
        suppressed = 0
    }

    mutating func log(_ notices: [Effects.Notice], dropped: Int) {
        suppressed += dropped
        for notice in notices { log(notice) }
    }

    mutating func log(_ notice: LinkNotice) {
        let level: Logger.Level =
            switch notice.kind {
            case .established, .rotated: .notice
            case .refused, .ended, .rotationRefused, .lostByPeer: .warning
            }
        guard logger.logLevel <= level, takeLine() else { return }
        var metadata: Logger.Metadata = [LogKey.link: "\(notice.link)"]
        if let reason = notice.reason { metadata[LogKey.reason] = "\(reason)" }
        if !notice.explanation.isEmpty {
            metadata[LogKey.explanation] = "\(Self.quoted(notice.explanation))"
        }
        logger.log(level: level, "\(notice.kind.rawValue)", metadata: metadata)
    }

    /// What strangers can bring about, as often as they like.
    mutating func log(
        _ level: Logger.Level, _ message: Logger.Message, _ metadata: Logger.Metadata = [:]
    ) {
        guard logger.logLevel <= level, takeLine() else { return }
        logger.log(level: level, message, metadata: metadata)
    }

    mutating func logAcceptFailure(_ error: KernelError, nowNanoseconds: UInt64) {
        guard takeLine() else { return }
        logger.error(
            "cannot accept connections, trying again shortly",
            metadata: [LogKey.error: "\(error)"])
    }

    private mutating func log(_ notice: Effects.Notice) {
        if let denial = notice.denial {
            log(denial, of: notice)
            return
        }
        let level: Logger.Level =
            switch notice.kind {
            case .sessionOpened: .debug
            case .publishRefused, .subscribeRefused, .requestRefused: .notice
            case .connectionRefused, .sessionEnded, .messagesLost, .subscriptionEnded: .warning
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
                LogKey.explanation: "\(Self.quoted(notice.explanation))",
            ])
    }

    /// In quotes, which its own quotes do not end. The names in it are quoted and escaped already:
    /// backslashes stay as they are.
    private static func quoted(_ explanation: String) -> String {
        var result = "\""
        var isEscaped = false
        for scalar in explanation.unicodeScalars {
            if scalar == "\"" && !isEscaped { result += "\\" }
            result.unicodeScalars.append(scalar)
            isEscaped = scalar == "\\" && !isEscaped
        }
        // An escape that was cut off must not take the quote at the end.
        return result + (isEscaped ? "\\\"" : "\"")
    }

    /// One line for each denial, always with the same words and keys.
    private mutating func log(_ denial: Effects.Denial, of notice: Effects.Notice) {
        guard logger.logLevel <= .notice else { return }
        let isKnown = denials[denial.uid] != nil || denials.count < Self.usersMax
        if isKnown {
            denials[denial.uid, default: 0] += 1
            guard denials[denial.uid, default: 0] <= Self.denialsPerSecondMax else { return }
        }
        guard takeLine() else { return }
        var metadata: Logger.Metadata = [
            LogKey.action: "\(denial.action.name)",
            LogKey.uid: "\(denial.uid)",
            LogKey.openerUID: "\(notice.opener.uid)",
            LogKey.openerPID: "\(notice.opener.pid)",
            LogKey.session: "\(notice.session)",
            // The client's choice: quoted, never bare.
            LogKey.topic: "\(String(decoding: denial.topic, as: UTF8.self).debugDescription)",
            // Not quoted: no name of a rule looks like it.
            LogKey.rule: "none",
        ]
        if let rule = denial.rule {
            metadata[LogKey.rule] = "\(rule.name.debugDescription)"
            metadata[LogKey.ruleLine] = "\(rule.line)"
        }
        logger.notice("denied by the access rules", metadata: metadata)
    }

    private mutating func logSuppressedDenials() {
        for (uid, count) in denials where count > Self.denialsPerSecondMax {
            logger.notice(
                "denials suppressed",
                metadata: [
                    LogKey.uid: "\(uid)",
                    LogKey.suppressed: "\(count - Self.denialsPerSecondMax)",
                ])
        }
        denials.removeAll(keepingCapacity: true)
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
