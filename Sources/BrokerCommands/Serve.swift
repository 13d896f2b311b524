import ArgumentParser
import BrokerServer
import BrokerWire
import FoundationEssentials
import LinuxIO
import Logging
import ServiceLifecycle
import SystemPackage
import UnixSignals

/// `broker serve`
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run the broker",
        discussion: """
            Runs in the foreground until SIGTERM or SIGINT, then tells the clients, sends what \
            is queued for at most two seconds and ends with status 0. One line on standard \
            error says when it listens. Where it was started by systemd or another service manager \
            that asks (NOTIFY_SOCKET, WATCHDOG_USEC), it says so there as well, and gives signs of \
            life.

            Who may do what stands in the access file: --acl, or \(AccessFileOption.systemPath) \
            for root if there is one (see `broker acl`). A file that is broken or that others may \
            write to is refused. It is read again when it changes, on SIGHUP and on `broker acl \
            reload`; a broken one leaves the old rules in force. Without a file only root and the \
            user that runs the broker may publish and subscribe; others may connect, and are told \
            so.
            """)

    @OptionGroup var socket: SocketPathOption

    @Option(
        help: ArgumentHelp(
            "Permission bits of the socket, 0 to 0777: who may connect, not what they may do.",
            valueName: "mode"))
    var socketMode = FileModeArgument(mode: 0o666)

    @Option(
        help: ArgumentHelp(
            "Group of the socket, for use with a mode like 0660.", valueName: "group"),
        transform: IdentityArgument.gid)
    var socketGroup: UInt32?

    @Option(
        name: .customLong("acl"),
        help: ArgumentHelp("The access file.", valueName: "file"),
        completion: .file(extensions: ["toml"]))
    var accessFile: String?

    @Option(
        help: ArgumentHelp(
            "Name of this broker: the origin of its messages, and what links know it by.",
            valueName: "name"),
        transform: NameArgument.checked)
    var name: String?

    @Option(
        help: ArgumentHelp("Configuration file with the links.", valueName: "file"),
        completion: .file())
    var config: String?

    @Option(
        help: ArgumentHelp(
            "Look for more messages for so long before sleeping: 0 to 1000 microseconds.",
            discussion: """
                Only while they follow each other closely: it shortens round trips for processor \
                time. 0 sleeps at once.
                """,
            valueName: "microseconds"))
    var pollMax: UInt64 = 50

    @Option(
        help: ArgumentHelp(
            "Work so much of the time for users who want more than others who speak: 1 to 100 "
                + "percent.",
            discussion: """
                Throttling them leaves processors to the others, whose round trips stay short. \
                100 never throttles, for throughput.
                """,
            valueName: "percent"))
    var busyMax = 33

    @Flag(help: "Let everybody who can connect publish and subscribe to everything.")
    var noAcl = false

    @Option(help: "How much to log on standard error.")
    var logLevel: LogLevelArgument = .notice

    /// For a broker that is measured: it is of no use without who measures.
    @Flag(help: .hidden)
    var endWithParent = false

    init() {}

    /// Queues of large messages grow and shrink all the time.
    private static let freedBytesKept: Int32 = 4 * 1_048_576

    func run() async throws {
        if endWithParent { Actor.endWithParent() }
        CurrentProcess.keepFreedMemory(bytes: Self.freedBytesKept)
        let diagnostics = Diagnostics(command: "serve")
        if socket.path == SystemBroker.socketPath { try SystemBroker.makeDirectory() }
        let logger = makeLogger()
        let configured = try makeConfiguration()
        let server: Server
        do throws(ServerError) {
            server = try Server(configuration: configured, logger: logger)
        } catch {
            throw CommandFailure(.failure, error.description)
        }
        for warning in server.warnings { diagnostics.note("warning: \(warning)") }
        for line in greeting(rules: server.ruleCount) { diagnostics.note(line) }
        var configuration = ServiceGroupConfiguration(
            services: [server], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        // The server drains for two seconds by itself; this is for a thread that hangs.
        configuration.maximumGracefulShutdownDuration = .seconds(5)
        configuration.maximumCancellationDuration = .seconds(5)
        do {
            try await ServiceGroup(configuration: configuration).run()
        } catch let error as ServerError {
            throw CommandFailure(.failure, error.description)
        }
    }

    func validate() throws {
        if accessFile == "" { throw ValidationError("--acl needs a path") }
        if config == "" { throw ValidationError("--config needs a path") }
        if noAcl && accessFile != nil {
            throw ValidationError("--acl and --no-acl exclude each other")
        }
        if pollMax > 1_000 {
            throw ValidationError("--poll-max is 0 to 1000 microseconds")
        }
        if busyMax < 1 || busyMax > 100 {
            throw ValidationError("--busy-max is 1 to 100 percent")
        }
    }

    /// Only root has a file that is used without being named, and only if it is there.
    private var accessPath: String? {
        if noAcl { return nil }
        if let accessFile { return accessFile }
        let path = AccessFileOption.systemPath
        let isThere = (try? FilePath(path).stat()) != nil
        return CurrentProcess.effectiveUserID == 0 && isThere ? path : nil
    }

    private func makeConfiguration() throws(CommandFailure) -> ServerConfiguration {
        let name = name ?? HostName.current
        var configuration = ServerConfiguration(
            socketPath: socket.path, name: name, version: BrokerVersion.current)
        configuration.linkFile = config
        configuration.socketMode = socketMode.mode
        configuration.socketGroupID = socketGroup
        configuration.isOpen = noAcl
        configuration.accessFile = accessPath
        configuration.pace.pollNanosecondsMax = 1_000 * pollMax
        configuration.pace.busyPercentMax = busyMax
        configuration.serviceManager = try findServiceManager()
        return configuration
    }

    private func findServiceManager() throws(CommandFailure) -> ServiceManager? {
        do throws(ServiceManager.AddressError) {
            return try ServiceManager(
                environment: ProcessInfo.processInfo.environment, pid: CurrentProcess.pid)
        } catch {
            throw CommandFailure(.usage, "\(error)")
        }
    }

    private func makeLogger() -> Logger {
        var logger = Logger(label: "broker") { label in
            PrintableLogHandler(StreamLogHandler.standardError(label: label))
        }
        logger.logLevel = logLevel.level
        return logger
    }

    private func greeting(rules: Int) -> [String] {
        ServeGreeting(
            path: socket.path, mode: socketMode.mode, isOpen: noAcl,
            accessFile: accessPath.map { "\($0) (\(counted(rules, "rule")))" },
            uid: CurrentProcess.effectiveUserID, features: KernelFeatures.probe()
        ).lines
    }
}

/// What `broker serve` says when it listens.
struct ServeGreeting {
    let path: String
    let mode: UInt32
    let isOpen: Bool
    var accessFile: String?
    let uid: UInt32
    let features: KernelFeatures

    /// The first line says that the socket is open. Others are warnings.
    var lines: [String] {
        var lines = ["listening on \(path); \(permitted)"]
        if isOpen {
            lines.append(
                "warning: --no-acl: everybody who can connect (mode 0\(String(mode, radix: 8))) "
                    + "may publish and subscribe to everything")
        }
        if !features.uidMapIsIdentity {
            lines.append(
                "warning: this is a user namespace with ids of its own: uid 0 is not root of "
                    + "the machine, and users that are not mapped look alike (65534); see "
                    + "`broker doctor`")
        }
        if !features.passCred {
            lines.append(
                "warning: this kernel does not record who sends packets: all will be refused; "
                    + "see `broker doctor`")
        }
        return lines
    }

    private var permitted: String {
        if isOpen { return "everybody may publish and subscribe" }
        if let accessFile { return "\(accessFile) says who may do what" }
        let owners = uid == 0 ? "root" : "root and uid \(uid)"
        return "only \(owners) may publish and subscribe until it is started again with rules, "
            + "see `broker help acl`"
    }
}

/// `--log-level`
enum LogLevelArgument: String, ExpressibleByArgument, CaseIterable, Sendable {
    case trace, debug, info, notice, warning, error, critical

    var level: Logger.Level {
        switch self {
        case .trace: .trace
        case .debug: .debug
        case .info: .info
        case .notice: .notice
        case .warning: .warning
        case .error: .error
        case .critical: .critical
        }
    }
}

/// The name of a broker or a link.
enum NameArgument {
    static func checked(_ name: String) throws -> String {
        if LinkName.isValid(name) { return name }
        throw ValidationError(
            "a name is 1 to \(LinkLimits.nameBytesMax) letters (a to z, A to Z), digits, '.', '_' "
                + "and '-'")
    }
}

/// The name that messages from this broker have as their origin.
enum HostName {
    static var current: String {
        let bytes = (try? readSmallFile("/proc/sys/kernel/hostname", maxBytes: 128)) ?? []
        let name = String(decoding: bytes.prefix { $0 > 0x20 }, as: UTF8.self)
        return LinkName.isValid(name) ? name : "localhost"
    }
}

extension SystemBroker {
    /// /run is empty after a boot. Only root can make the directory, and only root can write
    /// to it afterwards: nobody else can put a socket of theirs in place.
    static func makeDirectory() throws(CommandFailure) {
        guard let slash = socketPath.lastIndex(of: "/") else { return }
        let directory = String(socketPath[..<slash])
        let files = FileManager.default
        guard !files.fileExists(atPath: directory) else { return }
        let attributes: [FileAttributeKey: Any] = [.posixPermissions: 0o755]
        do {
            try files.createDirectory(
                atPath: directory, withIntermediateDirectories: true, attributes: attributes)
            // Once more: the umask takes bits away from a new directory.
            try files.setAttributes(attributes, ofItemAtPath: directory)
        } catch {
            throw CommandFailure(
                .failure,
                "cannot create \(directory): run as root, or choose a path with --socket")
        }
    }
}
