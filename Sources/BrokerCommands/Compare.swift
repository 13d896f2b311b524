import ArgumentParser
import BrokerCompare
import LinuxIO

/// `broker compare`
struct Compare: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Show what connection and message credentials say, side by side",
        discussion: """
            Plays situations with real processes on this machine. For each it shows what the \
            connection says (SO_PEERCRED), what the message says (SCM_CREDENTIALS), whether the \
            process is the opener's (pidfd), who really wrote, and what a program may rely on.

            Root plays all of them; what needs root, a tool or a newer kernel is skipped and \
            says so. The exit status is 1 if a row came out other than documented.
            """)

    @Argument(help: "Only these (see --list).")
    var scenarios: [String] = []

    @Option(help: "How to print the rows.")
    var format: OutputFormat = .text

    @Flag(help: "Name the scenarios and what they need; run nothing.")
    var list = false

    @Flag(help: "Add a paragraph to each row: the manual page or kernel rule behind it.")
    var explain = false

    @Option(
        help: ArgumentHelp(
            "Instead: listen here and show who is behind each connection and message.",
            valueName: "path"))
    var listen: String?

    @Option(
        help: ArgumentHelp(
            "Instead: connect there and send one message.",
            valueName: "path"))
    var connect: String?

    @Flag(help: "Instead: measure what each way to know the sender costs per message.")
    var cost = false

    @Flag(
        help: "Instead: ask a running broker on which sessions others than the opener have sent.")
    var live = false

    @OptionGroup(title: "With --live") var connection: ConnectOptions

    @Option(
        help: "The type of socket, with --listen and --connect: seqpacket, stream.",
        transform: CompareArguments.socketType)
    var type = Actor.SocketType.seqpacket

    @Option(name: .shortAndLong, help: "With --connect: what to send.")
    var message: String?

    @Flag(name: .customLong("stdin"), help: "With --connect: send each line of standard input.")
    var sendsLines = false

    @Option(
        name: [.customShort("C"), .long],
        help: "With --listen: end after so many messages, 1 or more.")
    var count: Int?

    @Flag(help: "Tell on standard error what each process says of itself.")
    var verbose = false

    init() {}

    func validate() throws {
        let modes = [listen != nil, connect != nil, cost, live, !scenarios.isEmpty || list]
        guard modes.count(where: { $0 }) < 2 else {
            throw ValidationError(
                "--listen, --connect, --cost, --live and scenarios exclude each other")
        }
        if let count, count < 1 { throw ValidationError("--count is 1 or more") }
    }

    func run() async throws {
        if let listen {
            try await CompareListen(path: listen, type: type, format: format, messagesMax: count)
                .run()
        } else if let connect {
            try CompareConnect(path: connect, type: type, message: message, sendsLines: sendsLines)
                .run()
        } else if cost {
            try CompareCost(format: format).run()
        } else if live {
            try await CompareLive(connection: connection, format: format).run()
        } else {
            try play()
        }
    }

    private func play() throws {
        let (chosen, unknown) = Catalog.named(scenarios)
        guard let chosen else {
            throw CommandFailure(
                .usage, "there is no scenario '\(unknown ?? "")'; --list names them")
        }
        if list {
            try Output().write(CompareText.list(chosen, explain: explain))
            return
        }
        let notes = Diagnostics(command: "compare")
        let runner = Runner(features: KernelFeatures.probe()) { line in
            if verbose { notes.note(line) }
        }
        let report = runner.run(chosen)
        switch format {
        case .text: try Output().write(CompareText.table(report, explain: explain))
        case .json: try Output().write(try prettyJSON(report))
        }
        if report.deviates { throw CommandFailure(.failure, "") }
    }
}
