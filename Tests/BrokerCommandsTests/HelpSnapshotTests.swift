import ArgumentParser
import Testing

@testable import BrokerCommands

/// The help of every command, word for word.
@Suite("The help text")
struct HelpSnapshotTests {
    private static let columns = 100

    @Test("of the root is the one on file")
    func root() throws {
        try Snapshot.check(BrokerCommand.helpMessage(columns: Self.columns) + "\n", "help")
    }

    @Test("of each command is the one on file")
    func commands() throws {
        for command in BrokerCommand.configuration.subcommands {
            let name = try #require(command.configuration.commandName)
            let text = BrokerCommand.helpMessage(for: command, columns: Self.columns)
            try Snapshot.check(text + "\n", "help-\(name)")
        }
    }
}
