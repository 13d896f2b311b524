import ArgumentParser

/// `broker link`
struct Link: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "link",
        abstract: "Keys and state of the links to other brokers",
        discussion: """
            A link joins two brokers by a key that both hold in a file of mode 0600. Make it on \
            one side with `broker link keygen`, carry the file to the other side over a way that \
            you trust, and name it in both configurations.
            """,
        subcommands: [
            LinkKeygen.self, LinkRotate.self, LinkList.self, LinkStatusCommand.self,
        ])

    init() {}
}
