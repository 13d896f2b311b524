import ArgumentParser
import BrokerWire

/// `broker sub`
struct Subscribe: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sub",
        abstract: "Print the messages of topics, with who sent them",
        usage: "broker sub [<options>] <filters> ...",
        discussion: """
            A filter is a topic in which '+' stands for one level and a last '#' for all levels \
            below. A message that several filters match is printed once.

            Text: time, user(uid) and pid of the sender, 'via' the opener of the connection if \
            that is another process or user, topic, payload. Control characters and bytes that \
            are not UTF-8 are shown as \\n, \\xNN and so on; with -F only on a terminal.
            JSON: one object a line; a payload that is not UTF-8 is in base64; messages that \
            were lost show as {"count":N,"event":"lost"}; with --reconnect, \
            {"event":"reconnected"} stands where messages may have been missed.

            Ends with status 0 at -C messages, at SIGINT, SIGTERM, at -W without -C, and when \
            nobody reads its output any more; with 1 if -W comes before -C messages did; with 75 \
            if it read too slowly.
            """)

    @OptionGroup var connection: ConnectOptions

    @Argument(help: "The topic filters to subscribe to.")
    var filters: [String]

    @Option(
        name: [.customShort("C", allowingJoined: true), .long], parsing: .unconditional,
        help: ArgumentHelp("End after so many messages, 1 or more.", valueName: "count"))
    var count: Int?

    @Option(
        name: [.customShort("W", allowingJoined: true), .long], parsing: .unconditional,
        help: ArgumentHelp(
            "End after this time: \(IntervalArgument.help).", valueName: "time"))
    var wait: IntervalArgument?

    @Option(
        name: [.customShort("F"), .customLong("template")], parsing: .unconditional,
        help: ArgumentHelp(
            "Print a line like this for each message.", discussion: MessageTemplate.help,
            valueName: "template"),
        transform: MessageTemplate.init(parsing:))
    var template: MessageTemplate?

    @Option(help: "How to print messages.")
    var format: OutputFormat = .text

    @Option(
        name: .customLong("from-uid"),
        help: ArgumentHelp(
            "Only messages sent by this uid, range (1000-1999) or user. Repeatable.",
            valueName: "uids"),
        transform: IdentityArgument.uids)
    var fromUIDs: [IDRange] = []

    @Option(
        name: .customLong("from-gid"),
        help: ArgumentHelp(
            "Only messages sent by this gid, range or group. Repeatable.", valueName: "gids"),
        transform: IdentityArgument.gids)
    var fromGIDs: [IDRange] = []

    @Option(
        help: ArgumentHelp(
            "When this subscriber is too slow and its queue is full: end the session, drop the "
                + "oldest messages, or hold publishers back (needs a right of its own)."))
    var overflow: OverflowArgument = .disconnect

    @Option(
        help: ArgumentHelp(
            "Bytes the broker may queue for this subscriber, 1 to "
                + "\(Limits.queueBytesPerSubscriptionMax); 0: the broker's default.",
            valueName: "bytes"))
    var queueBytes: UInt32 = 0

    @Flag(
        name: .customLong("reconnect"),
        help: ArgumentHelp(
            "Wait for a broker that is not there, and connect again when it stops.",
            discussion: """
                Standard error says when there is no broker and when there is one again. What is \
                published in between is missed. Refusals end the command as ever.
                """))
    var reconnects = false

    @Flag(name: [.short, .long], help: "Say more on standard error.")
    var verbose = false

    init() {}

    func validate() throws {
        for filter in filters {
            do {
                try Topic.validateFilter(filter.utf8.span)
            } catch {
                let name = Printable.escaped(filter)
                throw ValidationError("the topic filter '\(name)' is invalid: \(error)")
            }
        }
        guard filters.count <= Limits.filtersPerSubscriptionMax else {
            throw ValidationError(
                "at most \(Limits.filtersPerSubscriptionMax) filters, not \(filters.count)")
        }
        for (option, values) in [("uid", fromUIDs.count), ("gid", fromGIDs.count)]
        where values > Limits.rangesPerSubscriptionMax {
            throw ValidationError(
                "at most \(Limits.rangesPerSubscriptionMax) times --from-\(option)")
        }
        if let count, count < 1 { throw ValidationError("-C needs a count of 1 or more") }
        if template != nil && format == .json {
            throw ValidationError("-F and --format json contradict each other")
        }
    }

    func run() async throws {
        try await SubscribeRun(self).run()
    }
}

/// `--overflow`
enum OverflowArgument: String, ExpressibleByArgument, CaseIterable, Sendable {
    case disconnect
    case dropOldest = "drop-oldest"
    case block

    var policy: OverflowPolicy {
        switch self {
        case .disconnect: .disconnect
        case .dropOldest: .dropOldest
        case .block: .block
        }
    }
}
