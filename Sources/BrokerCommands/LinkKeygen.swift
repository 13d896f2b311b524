import ArgumentParser
import BrokerSigning
import LinuxIO

/// `broker link keygen`
struct LinkKeygen: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keygen",
        abstract: "Make the key file of a new link",
        discussion: """
            Writes NAME.key, or the file that --out names, with mode 0600. An existing file is \
            never replaced. The key itself is not printed.
            """)

    @Argument(
        help: ArgumentHelp("Name of the link.", valueName: "name"),
        transform: NameArgument.checked)
    var name: String

    @Option(
        help: ArgumentHelp("Where to write the key file.", valueName: "file"),
        completion: .file())
    var out: String?

    init() {}

    func validate() throws {
        if out == "" { throw ValidationError("--out needs a path") }
    }

    func run() throws {
        let path = out ?? "\(name).key"
        let entries: [LinkKeyFile.Entry]
        do throws(SigningError) {
            let file = try LinkKeyFile.generate(created: LinkKeyTime.now())
            try file.create(path: path)
            entries = file.entries
        } catch {
            throw CommandFailure(.failure, error.description)
        }
        try Output().write(LinkKeyReport.text(path, entries), after: "\(path) was made")
    }
}

/// The time that is written beside a key.
enum LinkKeyTime {
    static func now() -> String {
        var bytes: [UInt8] = []
        var writer = TimestampWriter()
        writer.append(Clock.realtimeNanoseconds(), .microseconds, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// What is told of keys: everything but the secret.
enum LinkKeyReport {
    static func text(_ path: String, _ entries: [LinkKeyFile.Entry]) -> String {
        var table = TextTable(["KEY", "STATE", "CREATED"])
        for entry in entries { table.append([entry.idText, entry.state.rawValue, entry.created]) }
        return "\(Printable.escaped(path))\n\(table.text)"
    }
}
