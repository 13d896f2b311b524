import CLinux
import Glibc
import SystemPackage

/// The directory of a path, held open, and the name in it.
///
/// Everything that is done to the name goes through the held directory, so it is done in one
/// and the same place even if somebody renames a directory above it meanwhile.
struct DirectoryEntry: ~Copyable, Sendable {
    /// The longest path that `sockaddr_un` holds, without the NUL.
    static let addressBytesMax = 107

    let path: String
    let name: String
    private let directory: OwnedDescriptor

    /// The corresponding C function is `open` with `O_PATH | O_DIRECTORY`.
    ///
    /// Throws ENOENT for an empty path or one that ends in a slash, EINVAL for one with a NUL
    /// (which starts an abstract address, without permissions).
    init(of path: String) throws(KernelError) {
        guard !path.utf8.contains(0) else {
            throw KernelError(call: "open", errno: .invalidArgument)
        }
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard let last = parts.last, !last.isEmpty, last != ".", last != ".." else {
            throw KernelError(call: "open", errno: .noSuchFileOrDirectory)
        }
        let parent = parts.count == 1 ? "." : parts.dropLast().joined(separator: "/") + "/"
        let number = try kernelTry("open directory") {
            unsafe clinux_openat(AT_FDCWD, parent, CLINUX_O_PATH | O_DIRECTORY | O_CLOEXEC, 0)
        }
        self.init(path: path, name: String(last), directory: OwnedDescriptor(adopting: number))
    }

    /// - Parameter path: what the name is called in messages.
    init(path: String, name: String, directory: consuming OwnedDescriptor) {
        self.path = path
        self.name = name
        self.directory = directory
    }

    /// A path for `bind` and `connect` that fits into a socket address: the path itself, or a
    /// way through the held directory.
    var address: String {
        if path.utf8.count <= DirectoryEntry.addressBytesMax { return path }
        return "/proc/self/fd/\(directory.rawValue)/\(name)"
    }

    func identity(of name: String) throws(KernelError) -> FileIdentity {
        try fileIdentity(of: name, in: directory.rawValue)
    }

    /// Nil if there is no such name.
    func identityIfPresent(of name: String) throws(KernelError) -> FileIdentity? {
        do {
            return try identity(of: name)
        } catch {
            if error.errno == .noSuchFileOrDirectory { return nil }
            throw error
        }
    }

    /// The corresponding C function is `openat`; `O_CLOEXEC | O_NOFOLLOW` are added.
    func open(_ name: String, flags: Int32, mode: UInt32 = 0) throws(KernelError) -> OwnedDescriptor
    {
        let number = directory.rawValue
        return OwnedDescriptor(
            adopting: try kernelTry("open \(name)") {
                unsafe clinux_openat(number, name, flags | O_CLOEXEC | O_NOFOLLOW, mode)
            })
    }

    /// The corresponding C function is `unlinkat`. A name that is gone already is no error.
    func unlink(_ name: String) throws(KernelError) {
        let number = directory.rawValue
        do {
            try kernelTry("unlink") { unsafe unlinkat(number, name, 0) }
        } catch {
            if error.errno != .noSuchFileOrDirectory { throw error }
        }
    }

    /// Takes the place of another name in the directory, for good.
    ///
    /// The corresponding C functions are `renameat` and `fsync`.
    func rename(to other: String) throws(KernelError) {
        let number = directory.rawValue
        try kernelTry("renameat") { unsafe renameat(number, name, number, other) }
        try kernelTry("fsync") { fsync(number) }
    }
}
