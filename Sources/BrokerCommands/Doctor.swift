import ArgumentParser
import LinuxIO

/// `broker doctor`
struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check what this kernel and namespace can say about senders",
        discussion: """
            Tries each capability as the user that runs this command, and looks at the broker's \
            socket if there is one. 'missing' breaks a guarantee (status 1); 'warn' weakens or \
            limits something, and says what.
            """)

    @OptionGroup var socket: SocketPathOption

    @Option(help: "How to print the findings.")
    var format: OutputFormat = .text

    init() {}

    func run() throws {
        var report = DoctorReport(KernelFeatures.probe())
        report.findings += SocketInspection(path: socket.path).findings
        try Output().write(try report.render(format))
        guard report.isSound else { throw CommandFailure(.failure, "") }
    }
}
