import COpenSSL
import Glibc

/// Files that keys and certificates come from: who may get at them is part of whether they are
/// any good.
enum GuardedFile {
    /// Reads a whole file, and refuses one that others than its owner and root can change, and a
    /// secret one that others can read.
    ///
    /// The corresponding C functions are `open` (`O_NOFOLLOW`), `fstat` and `read`.
    ///
    /// - Returns: what is in it; if that is a secret, to be overwritten when it has been used.
    static func read(
        path: String, bytesMax: Int, isSecret: Bool
    ) throws(SigningError) -> [UInt8] {
        // A certificate may be a link to the newest one, a key may not.
        let follow = isSecret ? O_NOFOLLOW : 0
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | follow)
        if file < 0 && errno == ELOOP && isSecret {
            throw SigningError(
                "\(path): is a symbolic link, which may be pointed elsewhere: name the file by its "
                    + "real path, see `realpath \(path)`")
        }
        guard file >= 0 else { throw failure(path, "cannot be opened") }
        defer { close(file) }
        try checkAccess(file, path, isSecret: isSecret)
        var text = [UInt8](repeating: 0, count: bytesMax + 1)
        var count = 0
        while count < text.count {
            let result = unsafe text.withUnsafeMutableBytes { buffer in
                unsafe Glibc.read(
                    file, buffer.baseAddress?.advanced(by: count), buffer.count - count)
            }
            if result == 0 { break }
            guard result > 0 else {
                SecretText.overwrite(&text)
                throw failure(path, "cannot be read")
            }
            count += result
        }
        guard count <= bytesMax else {
            SecretText.overwrite(&text)
            throw SigningError("\(path): it is larger than \(bytesMax) bytes")
        }
        // Shortened in place: the rest is zeros, and no copy is made.
        text.removeLast(text.count - count)
        return text
    }

    private static func checkAccess(
        _ file: Int32, _ path: String, isSecret: Bool
    ) throws(SigningError) {
        var status = stat()
        guard unsafe fstat(file, &status) == 0 else { throw failure(path, "cannot be examined") }
        let (mode, owner) = (status.st_mode, status.st_uid)
        guard mode & S_IFMT == S_IFREG else {
            throw SigningError("\(path): is not a plain file")
        }
        guard owner == geteuid() || owner == 0 else {
            throw SigningError(
                "\(path): belongs to uid \(owner); it has to belong to root or to the uid that "
                    + "uses it, \(geteuid())")
        }
        if isSecret && mode & 0o077 != 0 {
            throw SigningError(
                "\(path): others can get at it (mode \(octal(mode & 0o777))); "
                    + "chmod 600 \(path), and replace the key if they may have read it")
        }
        guard mode & 0o022 == 0 else {
            throw SigningError(
                "\(path): others can write to it (mode \(octal(mode & 0o777))); chmod go-w \(path)")
        }
    }

    static func failure(_ path: String, _ what: String) -> SigningError {
        let number = errno
        let reason = unsafe String(cString: strerror(number))
        let advice = number == ENOENT ? "; does its directory exist, and is this its name?" : ""
        return SigningError("\(path): \(what): \(reason)\(advice)")
    }

    private static func octal(_ mode: UInt32) -> String {
        let digits = String(mode, radix: 8)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}

/// Tells one content of a path from the next, without reading it.
public struct FileVersion: Equatable, Sendable {
    private let inode: UInt64
    private let seconds: Int
    private let nanoseconds: Int
    private let bytes: Int

    /// Nil if there is no such file.
    public init?(path: String) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        inode = UInt64(status.st_ino)
        seconds = status.st_mtim.tv_sec
        nanoseconds = status.st_mtim.tv_nsec
        bytes = Int(status.st_size)
    }
}
