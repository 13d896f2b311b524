import LinuxIO

/// Who started this process and wants to hear how it is doing: systemd, or another that speaks
/// its protocol. The source is sd_notify(3).
package struct ServiceManager: Equatable, Sendable {
    package struct AddressError: Error, Equatable, CustomStringConvertible {
        package let address: String

        package var description: String {
            "NOTIFY_SOCKET=\(address) is neither a path nor the name of an abstract socket ('@'); "
                + "unset it, or start the broker with Type=exec"
        }
    }

    /// When the service begins and ends its manager waits for it, and we for the manager.
    private static let waitMilliseconds: Int32 = 1_000
    /// What `systemctl status` shows has to fit on a line.
    private static let statusBytesMax = 512

    private let address: String
    /// A process that is silent for longer is taken for dead; nil: it may be silent.
    package let watchdogNanoseconds: UInt64?

    /// - Parameters:
    ///   - environment: of this process: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    ///   - pid: of this process.
    /// - Returns: nil if nobody asked.
    package init?(environment: [String: String], pid: Int32) throws(AddressError) {
        guard let address = environment["NOTIFY_SOCKET"], !address.isEmpty else { return nil }
        guard address.hasPrefix("/") || address.hasPrefix("@") else {
            throw AddressError(address: address)
        }
        self.address = address
        let isOurs = environment["WATCHDOG_PID"].map { $0 == String(pid) } ?? true
        let microseconds = environment["WATCHDOG_USEC"].flatMap(UInt64.init) ?? 0
        let (nanoseconds, overflows) = microseconds.multipliedReportingOverflow(by: 1_000)
        watchdogNanoseconds = isOurs && nanoseconds > 0 && !overflows ? nanoseconds : nil
    }

    /// The service does its work from now on.
    func ready(_ status: String) throws(KernelError) {
        try tell("READY=1\nSTATUS=\(Self.oneLine(status))", waiting: true)
    }

    func status(_ status: String) throws(KernelError) {
        try tell("STATUS=\(Self.oneLine(status))", waiting: false)
    }

    func stopping() throws(KernelError) {
        try tell("STOPPING=1\nSTATUS=sending what is queued", waiting: true)
    }

    func isAlive() throws(KernelError) {
        try tell("WATCHDOG=1", waiting: false)
    }

    private func tell(_ text: String, waiting: Bool) throws(KernelError) {
        try notifyService(
            at: address, text, waitMilliseconds: waiting ? Self.waitMilliseconds : 0)
    }

    /// What stands in another line would be another assignment.
    static func oneLine(_ text: String) -> String {
        var line = ""
        for scalar in text.unicodeScalars {
            let isControl = scalar.properties.generalCategory == .control
            let shown = isControl ? "?" : String(scalar)
            if line.utf8.count + shown.utf8.count > statusBytesMax { break }
            line += shown
        }
        return line
    }
}
