package import ArgumentParser
import FoundationEssentials
import LinuxIO

/// `broker`: the root of the commands.
package struct BrokerCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "broker",
        abstract: "Publish and subscribe between local processes, with attested senders",
        discussion: """
            Every message carries what the kernel recorded of its sender: pid, uid and gid of \
            the process that sent it, beside those of the process that opened the connection.

            Data goes to standard output, everything else to standard error.

            \(ExitStatus.documentation)
            """,
        version: BrokerVersion.current,
        subcommands: [
            Serve.self,
            Publish.self,
            Subscribe.self,
            Status.self,
            Acl.self,
            Link.self,
            Doctor.self,
            Bench.self,
            BenchWorker.self,
            Compare.self,
            CompareActor.self,
        ])

    package init() {}

    /// Runs the command that the process was started with, and ends the process.
    package static func runAndExit() async -> Never {
        ByteStream.fillStandardStreams()
        CurrentProcess.ignoreBrokenPipes()
        widenTerminal()
        var name = ""
        do {
            do {
                try checkArguments()
                let command = try parseAsRoot()
                name = Self.name(of: command)
                try await run(command)
            } catch let error where exitCode(for: error).isSuccess {
                // Usage that was asked for.
                try Output().write(fullMessage(for: error) + "\n")
            }
        } catch is OutputClosed {
            exit(.success)
        } catch let failure as CommandFailure {
            for line in failure.message.split(separator: "\n") {
                Diagnostics(command: name).note(String(line))
            }
            exit(failure.status)
        } catch {
            refuse(error)
        }
        exit(.success)
    }

    private static func checkArguments() throws(CommandFailure) {
        guard let number = CurrentProcess.argumentThatIsNotText else { return }
        throw CommandFailure(
            .usage,
            "argument \(number) is not UTF-8: topics, paths and messages are text; `broker pub -f` "
                + "publishes any bytes")
    }

    /// The argument parser cannot wrap its text for a terminal that is too narrow, or says that it
    /// has no columns.
    private static func widenTerminal() {
        let told = ProcessInfo.processInfo.environment["COLUMNS"].flatMap { Int($0) }
        guard let columns = told ?? ByteStream.standardOutput.terminalColumns,
            columns < columnsMin
        else { return }
        CurrentProcess.setVariable("COLUMNS", "\(columnsMin)")
    }

    private static let columnsMin = 40

    /// Says what is wrong, with the arguments that it repeats.
    private static func refuse(_ error: any Error) -> Never {
        let status = exitCode(for: error)
        let diagnostics = Diagnostics(command: "")
        let message = fullMessage(for: error)
        let lines = message.split(separator: "\n", omittingEmptySubsequences: false)
        for line in lines { diagnostics.writeRaw(Printable.harmless(String(line)) + "\n") }
        CurrentProcess.exit(status: status.rawValue)
    }

    /// As it is typed: `acl remove`, say.
    private static func name(of command: any ParsableCommand) -> String {
        let type = type(of: command)
        let group = configuration.subcommands.first { group in
            group.configuration.subcommands.contains { $0 == type }
        }
        return [group?.configuration.commandName, type.configuration.commandName]
            .compactMap { $0 }.joined(separator: " ")
    }

    private static func run(_ command: sending any ParsableCommand) async throws {
        if var command = command as? any AsyncParsableCommand {
            try await command.run()
        } else {
            var command = command
            try command.run()
        }
    }

    static func exit(_ status: ExitStatus) -> Never {
        CurrentProcess.exit(status: status.rawValue)
    }
}
