import ArgumentParser
import BrokerCompare
import LinuxIO

/// `broker compare-actor`: the processes that `broker compare` starts. Not for people.
struct CompareActor: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare-actor",
        abstract: "Play one role for 'broker compare'", shouldDisplay: false)

    @Argument(transform: CompareArguments.role) var role: ActorRole
    @Option var socket = ""
    @Option(transform: CompareArguments.socketType) var type = Actor.SocketType.seqpacket
    @Option var user: UInt32?
    @Option var other: UInt32?

    init() {}

    func run() throws {
        var order = ActorOrder(role, socket: socket)
        order.type = type
        order.user = user
        order.other = other
        let status = RolePlay(order).run()
        guard status == 0 else { throw CommandFailure(.failure, "") }
    }
}

enum CompareArguments {
    static func role(_ text: String) throws -> ActorRole {
        guard let role = ActorRole(rawValue: text) else {
            throw ValidationError("there is no role '\(text)'")
        }
        return role
    }

    static func socketType(_ text: String) throws -> Actor.SocketType {
        guard let type = Actor.SocketType(rawValue: text) else {
            throw ValidationError("'\(text)' is not a type: seqpacket, stream")
        }
        return type
    }
}
