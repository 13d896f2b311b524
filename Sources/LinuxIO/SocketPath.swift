import CLinux
import Glibc
import SystemPackage

/// Why a path cannot be listened on.
public enum SocketPathError: Error, Equatable, CustomStringConvertible {
    /// Another broker holds the lock beside the path.
    case lockHeld(path: String, lockPath: String)
    /// A process that does not use our lock listens there.
    case inUse(path: String)
    /// Something other than a socket has the name: what, for people.
    case notASocket(path: String, kind: String)
    /// The lock's name belongs to something other than a plain file.
    case lockNotAFile(path: String, lockPath: String)
    case system(path: String, KernelError)

    public var description: String {
        switch self {
        case .lockHeld(let path, let lockPath):
            "\(path): another broker is listening here (it holds \(lockPath)); "
                + "stop it or choose another path"
        case .inUse(let path):
            "\(path): another program is listening here; stop it or choose another path"
        case .notASocket(let path, let kind):
            "\(path): this is \(kind) and not a socket, so it is left alone; "
                + "move it away or choose another path"
        case .lockNotAFile(let path, let lockPath):
            "\(path): \(lockPath) exists and is not a plain file; move it away"
        case .system(let path, let error):
            "\(path): \(error)\(SocketPathError.advice(error))"
        }
    }

    private static func advice(_ error: KernelError) -> String {
        if error.call == "chown" {
            return "; a socket is given to a group by root, or by its owner who is in the group"
        }
        return switch error.errno {
        case .noSuchFileOrDirectory, .notDirectory:
            "; create the directory first or choose another path"
        case .permissionDenied, .notPermitted, .readOnlyFileSystem:
            "; check who owns the directory and which user runs the broker"
        case .fileNameTooLong: "; the file name alone must be shorter"
        default: ""
        }
    }
}

/// A socket path that is ours: its lock is held as long as this value lives.
///
/// The lock file `<path>.lock` settles which of several brokers may replace a socket that a
/// crash left behind. It may outlive its holder; only the flock on it counts.
struct SocketPath: ~Copyable, Sendable {
    let directory: DirectoryEntry
    private let lock: OwnedDescriptor

    private static let lockAttemptsMax = 16

    /// Takes the lock and removes a stale socket. If something is in the way, the lock is removed.
    init(claiming path: String) throws(SocketPathError) {
        let directory = try SocketPath.entry(of: path)
        let lock = try SocketPath.takeLock(directory)
        do throws(SocketPathError) {
            try SocketPath.removeStaleSocket(directory)
        } catch {
            try? SocketPath.remove(lock, of: directory)
            throw error
        }
        self.directory = directory
        self.lock = lock
    }

    private static func entry(of path: String) throws(SocketPathError) -> DirectoryEntry {
        do throws(KernelError) {
            return try DirectoryEntry(of: path)
        } catch {
            // "/tmp/", for example.
            if let file = fileIdentity(path: path), !file.isSocket {
                throw .notASocket(path: path, kind: file.kind)
            }
            throw .system(path: path, error)
        }
    }

    /// Unlinks the lock file while it is still locked, so that nobody else's is unlinked.
    func removeLock() throws(KernelError) {
        try SocketPath.remove(lock, of: directory)
    }

    private static func remove(
        _ lock: borrowing OwnedDescriptor, of directory: borrowing DirectoryEntry
    ) throws(KernelError) {
        let name = SocketPath.lockName(directory)
        guard let named = try directory.identityIfPresent(of: name),
            let held = fileIdentity(lock.rawValue), named.isSameFile(as: held)
        else { return }
        try directory.unlink(name)
    }

    private static func lockName(_ directory: borrowing DirectoryEntry) -> String {
        directory.name + ".lock"
    }

    /// A former holder may unlink the file between our open and our flock; then we hold a
    /// lock that nobody else sees. So the name is looked up again after locking.
    private static func takeLock(
        _ directory: borrowing DirectoryEntry
    ) throws(SocketPathError) -> OwnedDescriptor {
        let path = directory.path
        let lockPath = path + ".lock"
        do throws(KernelError) {
            for _ in 0..<lockAttemptsMax {
                // O_NONBLOCK: a FIFO of that name must not hang us.
                let file = try directory.open(
                    lockName(directory), flags: O_RDWR | O_CREAT | O_NONBLOCK, mode: 0o600)
                let number = file.rawValue
                try kernelTry("flock") { flock(number, LOCK_EX | LOCK_NB) }
                guard let held = fileIdentity(number) else { continue }
                if !held.isRegularFile { break }
                let named = try directory.identityIfPresent(of: lockName(directory))
                if let named, named.isSameFile(as: held) { return file }
            }
        } catch {
            switch error.errno {
            case .wouldBlock: throw .lockHeld(path: path, lockPath: lockPath)
            case .tooManySymbolicLinkLevels, .isDirectory, .noSuchAddressOrDevice:
                throw .lockNotAFile(path: path, lockPath: lockPath)
            default: throw .system(path: lockPath, error)
            }
        }
        throw .lockNotAFile(path: path, lockPath: lockPath)
    }

    /// A socket nobody listens on refuses connections, and yet `bind` would find its name taken.
    ///
    /// A program that does not use our lock may bind between the probe and the unlink, and
    /// lose its name to us: only the lock can prevent that.
    private static func removeStaleSocket(
        _ directory: borrowing DirectoryEntry
    ) throws(SocketPathError) {
        let path = directory.path
        let name = directory.name
        let found: FileIdentity?
        do throws(KernelError) {
            found = try directory.identityIfPresent(of: name)
        } catch {
            throw .system(path: path, error)
        }
        guard let found else { return }
        guard found.isSocket else { throw .notASocket(path: path, kind: found.kind) }
        do throws(KernelError) {
            _ = try connectSeqpacket(address: directory.address)
        } catch {
            switch error.errno {
            case .noSuchFileOrDirectory: return
            case .connectionRefused: break
            // A full backlog, or a listener of another socket type: somebody is there.
            case .wouldBlock, .protocolWrongTypeForSocket: throw .inUse(path: path)
            default: throw .system(path: path, error)
            }
            do throws(KernelError) {
                try directory.unlink(name)
            } catch {
                throw .system(path: path, error)
            }
            return
        }
        throw .inUse(path: path)
    }
}

/// Names the path that a kernel error is about.
func at<Value: ~Copyable>(
    _ path: String, _ body: () throws(KernelError) -> Value
) throws(SocketPathError) -> Value {
    do throws(KernelError) {
        return try body()
    } catch {
        throw .system(path: path, error)
    }
}
