import ArgumentParser
import BrokerWire

/// `broker pub`
struct Publish: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pub",
        abstract: "Publish messages to a topic",
        discussion: """
            Says exactly one of: MESSAGE, -m, -f, -l, -s, -n. A refusal is always reported, with \
            or without --ack, and ends the command with status 77 (75 for a quota). So does the \
            end of the broker, with 69, also while -l waits for a line. Arguments are text; bytes \
            that are not UTF-8 come by -f or -s.
            """)

    @OptionGroup var connection: ConnectOptions

    @Argument(help: "The topic to publish to.")
    var topic: String

    @Argument(help: "The message.")
    var message: String?

    @Option(
        name: [.customShort("m"), .customLong("message")], parsing: .unconditional,
        help: ArgumentHelp("The message, also if it begins with '-'.", valueName: "message"))
    var messageOption: String?

    @Option(
        name: [.short, .long], help: "Send the content of a file; '-' is standard input.",
        completion: .file())
    var file: String?

    @Flag(name: [.short, .long], help: "Send a message for each line of standard input.")
    var lines = false

    @Flag(
        name: [.customShort("s"), .customLong("stdin")],
        help: "Send all of standard input as one message.")
    var standardInput = false

    @Flag(name: [.customShort("n"), .customLong("empty")], help: "Send an empty message.")
    var empty = false

    @Flag(help: "Wait for the broker to accept each message.")
    var ack = false

    @Option(
        name: .customLong("repeat"),
        help: ArgumentHelp("Send the message so many times, 1 or more.", valueName: "count"))
    var repeats: Int = 1

    @Option(
        help: ArgumentHelp(
            "Time from one message to the next: \(IntervalArgument.help).", valueName: "time"))
    var interval: IntervalArgument?

    @Option(help: "With --ack: how to print what the broker answered, one line a message.")
    var format: OutputFormat = .text

    @Flag(
        name: .customLong("reconnect"),
        help: ArgumentHelp(
            "Wait for a broker that is not there, and send again when it is back.",
            discussion: """
                Each message is kept until the broker says that it has it, and until then sent to \
                every broker that starts on the path: at least once, and perhaps more often. \
                Refusals end the command as ever.
                """))
    var reconnects = false

    @Flag(name: [.short, .long], help: "Say more on standard error.")
    var verbose = false

    init() {}

    func validate() throws {
        try validateSource()
        do {
            try Topic.validateName(topic.utf8.span)
        } catch {
            throw ValidationError("the topic '\(Printable.escaped(topic))' is invalid: \(error)")
        }
        guard repeats >= 1 else { throw ValidationError("--repeat needs a count of 1 or more") }
        if lines && repeats > 1 {
            throw ValidationError("--repeat and -l cannot be combined: lines are sent once")
        }
        if interval != nil && repeats == 1 && !lines {
            throw ValidationError("--interval needs --repeat or -l")
        }
        if format == .json && !ack {
            throw ValidationError("--format json needs --ack: without it there is no answer")
        }
    }

    private func validateSource() throws {
        let sources = [
            ("MESSAGE", message != nil), ("-m", messageOption != nil), ("-f", file != nil),
            ("-l", lines), ("-s", standardInput), ("-n", empty),
        ].filter(\.1).map(\.0)
        if sources.isEmpty {
            throw ValidationError(
                "say what to publish: MESSAGE, -m MESSAGE, -f FILE, -l (lines of standard "
                    + "input), -s (all of it) or -n (nothing)")
        }
        guard sources.count == 1 else {
            let all = sources.joined(separator: " and ")
            throw ValidationError("\(all) contradict each other: give one of them")
        }
    }

    func run() async throws {
        var run = try PublishRun(self)
        try await run.run()
    }
}
