import CLinux
import Glibc
import SystemPackage

/// A new directory in the system's place for such, that everybody may enter. It is removed, with
/// the plain files and sockets in it, when its owner goes away.
public struct TemporaryFolder: ~Copyable {
    public let path: String

    /// The corresponding C functions are `mkdtemp` and `chmod`.
    public init(prefix: String) throws(KernelError) {
        path = try TemporaryFolder.make("/tmp/\(prefix)-XXXXXX")
    }

    private static func make(_ template: String) throws(KernelError) -> String {
        var template = Array(template.utf8CString)
        let made = unsafe template.withUnsafeMutableBufferPointer { bytes -> String? in
            guard let start = bytes.baseAddress, let name = unsafe mkdtemp(start) else {
                return nil
            }
            return unsafe String(cString: name)
        }
        guard let made else {
            throw KernelError(call: "mkdtemp", errno: Errno(rawValue: errno))
        }
        try kernelTry("chmod") { unsafe chmod(made, 0o755) }
        return made
    }

    deinit {
        if let directory = unsafe opendir(path) {
            while let entry = unsafe readdir(directory) {
                let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
                    let bytes = unsafe UnsafeRawPointer(name)
                    return unsafe String(cString: bytes.assumingMemoryBound(to: CChar.self))
                }
                _ = unsafe unlink(path + "/" + name)
            }
            _ = unsafe closedir(directory)
        }
        _ = unsafe rmdir(path)
    }
}
