import BrokerClient
import FoundationEssentials
import LinuxIO
import SystemPackage

/// Looks at the broker's socket from outside: who listens, who may connect, and who could put
/// another socket in its place.
struct SocketInspection {
    let path: String
    private let ourUID: UInt32

    init(path: String, ourUID: UInt32 = CurrentProcess.effectiveUserID) {
        self.path = path
        self.ourUID = ourUID
    }

    var findings: [DoctorFinding] {
        let status: Stat
        do {
            status = try FilePath(path).stat(followTargetSymlink: false)
        } catch {
            return [absent(error), directories]
        }
        guard status.type == .socket else {
            return [
                DoctorFinding(
                    "socket", .warn, path, "this is not a socket, so no broker listens here",
                    fix: "move it away, or use --socket"),
                directories,
            ]
        }
        return [listener, mode(status), directories]
    }

    private func absent(_ error: any Error) -> DoctorFinding {
        let errno = error as? Errno
        if errno == .permissionDenied {
            return DoctorFinding(
                "socket", .warn, path, "you may not look into the directory of the socket",
                fix: "check the mode of the directories above it")
        }
        return DoctorFinding(
            "socket", .warn, path, "no broker listens here",
            fix: "start one with `broker serve`, or name another with --socket or BROKER_SOCKET")
    }

    /// Who listens, as the kernel recorded it.
    private var listener: DoctorFinding {
        let peer: PeerCredentials
        do throws(KernelError) {
            let socket = try connectSeqpacket(path: path)
            peer = try PeerCredentials.read(socket)
        } catch {
            return unreachable(error)
        }
        let value = "\(path), uid \(peer.uid) pid \(peer.pid)"
        if peer.uid == 0 || peer.uid == ourUID {
            return DoctorFinding("socket", .ok, value, "a broker listens that you can trust")
        }
        return DoctorFinding(
            "socket", .missing, value,
            "uid \(peer.uid) decides what you are told about senders; clients refuse it",
            fix: "use a broker of root or of your own, or trust this one with --broker-user")
    }

    private func unreachable(_ error: KernelError) -> DoctorFinding {
        switch error.errno {
        case .connectionRefused:
            DoctorFinding(
                "socket", .warn, path, "the broker that made this socket is gone",
                fix: "start one with `broker serve`; it replaces the file")
        case .permissionDenied:
            DoctorFinding(
                "socket", .warn, path, "you may not connect",
                fix: "`broker serve --socket-mode --socket-group` on the broker's side")
        default:
            DoctorFinding("socket", .warn, path, "cannot connect: \(error)")
        }
    }

    private func mode(_ status: Stat) -> DoctorFinding {
        let bits = UInt32(status.permissions.rawValue) & 0o777
        let value =
            "0" + String(bits, radix: 8) + ", uid \(status.userID.rawValue)"
            + " gid \(status.groupID.rawValue)"
        let meaning =
            if bits & 0o002 != 0 {
                "everybody may connect; the broker's rules decide what they may do"
            } else if bits & 0o020 != 0 {
                "the owner and the group may connect"
            } else {
                "only the owner and root may connect"
            }
        return DoctorFinding("socket mode", .ok, value, meaning)
    }

    /// Whoever may write to a directory above can put a socket of their own in place.
    private var directories: DoctorFinding {
        let name = "socket directory"
        var directory = absolute.removingLastComponent()
        let nearest = directory
        while true {
            if let finding = danger(directory, isNearest: directory == nearest, name) {
                return finding
            }
            if directory.components.isEmpty { break }
            directory = directory.removingLastComponent()
        }
        return DoctorFinding(
            name, .ok, nearest.string, "nobody but its owner and root can replace the socket")
    }

    private func danger(
        _ directory: FilePath, isNearest: Bool, _ name: String
    ) -> DoctorFinding? {
        guard let status = try? directory.stat() else { return nil }
        let bits = UInt32(status.permissions.rawValue)
        let owner = UInt32(status.userID.rawValue)
        let value = "\(directory.string) (0\(String(bits & 0o7777, radix: 8)), uid \(owner))"
        let fix = "use a directory that only root or the broker's user can write to, mode 0755"
        if owner != 0 && owner != ourUID {
            return DoctorFinding(
                name, .missing, value, "uid \(owner) can replace the socket by another one",
                fix: fix)
        }
        guard bits & 0o022 != 0 else { return nil }
        let who = bits & 0o002 != 0 ? "everybody" : "the group \(status.groupID.rawValue)"
        if bits & 0o1000 != 0 {
            // Sticky: what is there and not theirs, others can neither remove nor rename.
            guard isNearest else { return nil }
            return DoctorFinding(
                name, .warn, value,
                "\(who) can take the name while no broker runs, though not replace the socket",
                fix: fix)
        }
        return DoctorFinding(
            name, .missing, value, "\(who) can replace the socket by another one", fix: fix)
    }

    private var absolute: FilePath {
        let path = FilePath(path)
        if path.isAbsolute { return path }
        return FilePath(FileManager.default.currentDirectoryPath).pushing(path)
    }
}
