import ArgumentParser
import BrokerSigning
import LinuxIO

/// `broker link rotate`
struct LinkRotate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate",
        abstract: "Take the next step of changing a link's key",
        discussion: """
            First step: a file without a next key gets one. Carry the file to the other side; \
            both accept the new key and still use the old one.
            Second step, on the side that connects and then on the other: the next key becomes \
            current, the current one previous. The brokers notice and go over to the new key \
            without dropping the link. The previous key is forgotten at the rotation after.
            Rotations of one file at the same time take their steps one after the other.
            """)

    @Argument(
        help: ArgumentHelp("Name of the link.", valueName: "name"),
        transform: NameArgument.checked)
    var name: String

    @Option(
        help: ArgumentHelp("The key file; NAME.key if not said.", valueName: "file"),
        completion: .file())
    var file: String?

    init() {}

    func validate() throws {
        if file == "" { throw ValidationError("--file needs a path") }
    }

    func run() throws {
        let path = file ?? "\(name).key"
        do {
            let keys = try Self.rotate(path)
            // Said first: it holds whether or not the keys can be printed.
            Diagnostics(command: "link rotate").note(Self.whatFollows(keys))
            try Output().write(LinkKeyReport.text(path, keys), after: "\(path) was rotated")
        } catch let error as SigningError {
            throw CommandFailure(.failure, error.description)
        } catch let error as KernelError {
            throw CommandFailure(.failure, "\(path) is unchanged: \(error)")
        }
    }

    private static func whatFollows(_ keys: [LinkKeyFile.Entry]) -> String {
        keys.contains { $0.state == .next }
            ? "carry the file to the other side; then rotate once more on the side that connects, "
                + "and after that on the other"
            : "the next key is the current one here; rotate on the other side too, if that has not "
                + "been done"
    }

    /// - Returns: the keys as they are now.
    private static func rotate(_ path: String) throws -> [LinkKeyFile.Entry] {
        // Before the file is read: what another rotation writes meanwhile would be lost.
        let draft = try FileDraft(replacing: path)
        var keys = try LinkKeyFile.read(path: path)
        if keys.entry(in: .next) == nil {
            try keys.addNext(created: LinkKeyTime.now())
        } else {
            keys.promote()
        }
        try keys.withText { text in try draft.takePlace(with: text, modeIfNew: 0o600) }
        return keys.entries
    }
}
