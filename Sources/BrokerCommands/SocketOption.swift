import ArgumentParser
import BrokerClient
import FoundationEssentials
import LinuxIO
import SystemPackage

/// Which socket the broker listens on.
struct SocketPathOption: ParsableArguments {
    @Option(
        name: .customLong("socket"),
        help: ArgumentHelp(
            "Path of the broker's socket.",
            discussion: """
                Otherwise $BROKER_SOCKET; without that /run/broker/broker.sock for root and \
                $XDG_RUNTIME_DIR/broker.sock for others.
                """, valueName: "path"),
        completion: .file())
    var explicitPath: String?

    init() {}

    var path: String {
        explicitPath
            ?? BrokerClient.Configuration.defaultSocketPath(
                environment: ProcessInfo.processInfo.environment)
    }

    func validate() throws {
        if explicitPath == "" { throw ValidationError("--socket needs a path") }
    }
}

/// Which broker to connect to.
struct ConnectOptions: ParsableArguments {
    @OptionGroup var socket: SocketPathOption

    @Option(
        help: ArgumentHelp(
            "Also trust a broker that runs as this user.",
            discussion: """
                Who runs the broker decides what is said about senders, so by default only \
                brokers of root and of your own uid are trusted.
                """, valueName: "user"),
        transform: IdentityArgument.uid)
    var brokerUser: UInt32?

    init() {}

    var path: String { socket.path }

    func configuration(clientName: String) -> BrokerClient.Configuration {
        var configuration = BrokerClient.Configuration(
            socketPath: path, clientName: clientName)
        // A command ends with its session, and says why.
        configuration.reconnect = .never
        if let uid = brokerUser { configuration.trustedBrokerUIDs?.insert(uid) }
        return configuration
    }

    /// What a client error means to somebody at a terminal.
    func failure(_ error: BrokerClientError) -> CommandFailure {
        CommandFailure(ExitStatus(error), message(error))
    }

    private func message(_ error: BrokerClientError) -> String {
        switch error.code {
        case .brokerUnavailable:
            Self.explainUnavailable(error, path: path, systemPath: SystemBroker.socketPath)
        case .untrustedBroker(UserNames.unmappedID):
            "the broker at \(path) runs as a user that is not mapped into this user namespace "
                + "(65534), so nobody can say who it is: map root, or trust it all the same "
                + "with --broker-user 65534"
        case .untrustedBroker(let uid):
            "the broker at \(path) runs as uid \(uid), which is neither root nor you: "
                + "use another socket, or trust it with --broker-user \(uid)"
        case .disconnected(.unspecifiedError):
            "\(path): the connection ended without a reason: the broker stopped or was killed, "
                + "or this client did not read for too long"
        case .timedOut:
            "\(path): \(error.message); is the process behind it stopped or overloaded?"
        case .refused, .disconnected, .malformedPacket, .closed, .invalidTopic,
            .invalidArgument, .messageTooLarge, .cancelled, .systemFailure:
            error.message
        }
    }

    static func explainUnavailable(
        _ error: BrokerClientError, path: String, systemPath: String
    ) -> String {
        if error.isAccessDenied {
            return "not permitted to connect to \(path): its mode and group, and the "
                + "directories above it, decide (`broker serve --socket-mode --socket-group`)"
        }
        switch error.underlying?.errno {
        case .noSuchFileOrDirectory, .connectionRefused, .notDirectory, .none:
            var text =
                "no broker at \(path): start one with `broker serve`, "
                + "or name another with --socket or BROKER_SOCKET"
            if path != systemPath, SystemBroker.seemsPresent(systemPath) {
                text += " (there is one at \(systemPath))"
            }
            return text
        case .wouldBlock:
            return "the broker at \(path) is too busy to take connections; try again"
        case .notSocket:
            return "\(path) is \(fileKind(path: path) ?? "gone") and not a socket, so no broker "
                + "can be reached there: name the broker's socket with --socket or BROKER_SOCKET"
        case .protocolWrongTypeForSocket:
            return "\(path) belongs to another program: it is not a SOCK_SEQPACKET socket"
        case .some:
            return "cannot connect to \(path): \(error.message)"
        }
    }
}

enum SystemBroker {
    static let socketPath = "/run/broker/broker.sock"

    static func seemsPresent(_ path: String) -> Bool {
        (try? FilePath(path).stat())?.type == .socket
    }
}
