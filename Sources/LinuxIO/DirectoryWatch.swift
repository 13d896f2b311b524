import CLinux
import Glibc

/// Tells when names in some directories change: files written, replaced, moved or removed. Readable
/// while something has changed since the last `renew`.
public struct DirectoryWatch: ~Copyable, Sendable {
    public let descriptor: OwnedDescriptor
    /// With the kernel's number of the watch.
    private var directories: [(path: String, watch: Int32)]

    /// The corresponding C functions are `inotify_init1` and `inotify_add_watch`.
    public init(directories paths: [String]) throws(KernelError) {
        precondition(paths.allSatisfy { !$0.isEmpty }, "a directory has a name")
        let descriptor = OwnedDescriptor(
            adopting: try kernelTry("inotify_init1") {
                inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
            })
        var directories: [(path: String, watch: Int32)] = []
        for path in paths { directories.append((path, try Self.add(path, to: descriptor))) }
        self.descriptor = descriptor
        self.directories = directories
    }

    /// The directory that has the path now; once, however often it is added.
    private static func add(
        _ path: String, to descriptor: borrowing OwnedDescriptor
    ) throws(KernelError) -> Int32 {
        let number = descriptor.rawValue
        let changes =
            IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF
            | IN_MOVE_SELF
        return try kernelTry("inotify_add_watch \(path)") {
            unsafe inotify_add_watch(number, path, UInt32(changes))
        }
    }

    /// Takes what has been reported, and goes over to directories that took the place of others.
    /// What it was is not looked at: the file itself is.
    ///
    /// The corresponding C functions are `read`, `inotify_add_watch` and `inotify_rm_watch`.
    ///
    /// - Returns: whether there are other directories than before.
    public mutating func renew() -> Bool {
        drain()
        var isNew = false
        for index in directories.indices {
            let old = directories[index].watch
            // One that is gone may come back: until then its old watch stays.
            let new = try? Self.add(directories[index].path, to: descriptor)
            guard let new, new != old else { continue }
            directories[index].watch = new
            isNew = true
            // EINVAL: it ended with its directory.
            _ = inotify_rm_watch(descriptor.rawValue, old)
        }
        return isNew
    }

    private func drain() {
        let number = descriptor.rawValue
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes { bytes in
                unsafe read(number, bytes.baseAddress, bytes.count)
            }
            if count <= 0 { return }
        }
    }
}
