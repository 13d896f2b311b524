import CLinux
import Glibc

/// Tells when names in some directories change: files written, replaced, moved or removed. Readable
/// while something has changed since the last `drain`.
public struct DirectoryWatch: ~Copyable, Sendable {
    public let descriptor: OwnedDescriptor

    /// The corresponding C functions are `inotify_init1` and `inotify_add_watch`.
    public init(directories: [String]) throws(KernelError) {
        precondition(directories.allSatisfy { !$0.isEmpty }, "a directory has a name")
        let watch = OwnedDescriptor(
            adopting: try kernelTry("inotify_init1") {
                inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
            })
        let number = watch.rawValue
        let changes =
            IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF
            | IN_MOVE_SELF
        for directory in directories {
            try kernelTry("inotify_add_watch \(directory)") {
                unsafe inotify_add_watch(number, directory, UInt32(changes))
            }
        }
        descriptor = watch
    }

    /// Takes what has been reported. What it was is not looked at: the file itself is.
    ///
    /// The corresponding C function is `read`.
    public borrowing func drain() {
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
