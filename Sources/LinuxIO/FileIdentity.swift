import CLinux
import Glibc

/// Which file it is, whatever its name.
struct FileIdentity: Equatable, Sendable {
    let device: UInt64
    let inode: UInt64
    let mode: UInt32
    let userID: UInt32
    let groupID: UInt32

    init(_ status: stat) {
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        mode = status.st_mode
        userID = status.st_uid
        groupID = status.st_gid
    }

    var isSocket: Bool { mode & S_IFMT == S_IFSOCK }
    var isRegularFile: Bool { mode & S_IFMT == S_IFREG }
    var permissions: UInt32 { mode & 0o7777 }

    /// What sort of file it is, for people.
    var kind: String {
        switch mode & S_IFMT {
        case S_IFREG: "an ordinary file"
        case S_IFDIR: "a directory"
        case S_IFIFO: "a named pipe"
        case S_IFLNK: "a symbolic link"
        case S_IFCHR, S_IFBLK: "a device"
        case S_IFSOCK: "a socket"
        default: "a file of an unknown kind"
        }
    }

    func isSameFile(as other: FileIdentity) -> Bool {
        device == other.device && inode == other.inode
    }
}

/// The corresponding C function is `fstat`; nil on any error.
func fileIdentity(_ fd: Int32) -> FileIdentity? {
    var status = stat()
    guard unsafe fstat(fd, &status) == 0 else { return nil }
    return FileIdentity(status)
}

/// Of a name in a directory, itself and not what a symbolic link there points to.
///
/// The corresponding C function is `fstatat` with `AT_SYMLINK_NOFOLLOW`.
func fileIdentity(of name: String, in directory: Int32) throws(KernelError) -> FileIdentity {
    var status = stat()
    try kernelTry("fstatat") {
        unsafe fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW)
    }
    return FileIdentity(status)
}

/// Of a path, following links (the namespace files of /proc are such).
///
/// The corresponding C function is `stat`; nil on any error.
func fileIdentity(path: String) -> FileIdentity? {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { return nil }
    return FileIdentity(status)
}

/// What sort of file is behind a path, for people: `an ordinary file`, `a directory`. Nil if there
/// is none, or none that may be looked at.
public func fileKind(path: String) -> String? {
    fileIdentity(path: path)?.kind
}
