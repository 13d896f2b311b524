import COpenSSL
import Glibc

/// Reading and writing key files: who may read them is part of whether they are any good.
extension LinkKeyFile {
    /// Reads a key file, and refuses one that others than its owner can read or change.
    ///
    /// The corresponding C functions are `open` (`O_NOFOLLOW`), `fstat` and `read`.
    public static func read(path: String) throws(SigningError) -> LinkKeyFile {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard file >= 0 else { throw failure(path, "cannot be opened") }
        defer { close(file) }
        try checkAccess(file, path)
        var text = [UInt8](repeating: 0, count: fileBytesMax + 1)
        defer { SecretText.overwrite(&text) }
        var count = 0
        while count < text.count {
            let result = unsafe text.withUnsafeMutableBytes { buffer in
                unsafe Glibc.read(
                    file, buffer.baseAddress?.advanced(by: count), buffer.count - count)
            }
            if result == 0 { break }
            guard result > 0 else { throw failure(path, "cannot be read") }
            count += result
        }
        do throws(LinkKeyFileError) {
            return try LinkKeyFile(parsing: text.span.extracting(first: count))
        } catch {
            throw SigningError("\(path): \(error.explanation)")
        }
    }

    /// Writes a new file, mode 0600; refuses to replace one.
    public borrowing func create(path: String) throws(SigningError) {
        try write(path: path, flags: O_CREAT | O_EXCL | O_WRONLY)
    }

    /// Replaces the file at once or not at all.
    public borrowing func replace(path: String) throws(SigningError) {
        let temporary = path + ".new"
        unsafe unlink(temporary)
        try write(path: temporary, flags: O_CREAT | O_EXCL | O_WRONLY)
        guard unsafe rename(temporary, path) == 0 else {
            let error = Self.failure(path, "cannot be replaced")
            unsafe unlink(temporary)
            throw error
        }
    }

    private static func checkAccess(_ file: Int32, _ path: String) throws(SigningError) {
        var status = stat()
        guard unsafe fstat(file, &status) == 0 else { throw failure(path, "cannot be examined") }
        let (mode, owner) = (status.st_mode, status.st_uid)
        guard mode & S_IFMT == S_IFREG else {
            throw SigningError("\(path): is not a plain file")
        }
        guard owner == geteuid() || owner == 0 else {
            throw SigningError(
                "\(path): belongs to uid \(owner); a key file belongs to root or to the uid "
                    + "that uses it, \(geteuid())")
        }
        guard mode & 0o077 == 0 else {
            throw SigningError(
                "\(path): others can get at it (mode \(octal(mode & 0o777))); "
                    + "chmod 600 \(path), and rotate the key if they may have read it")
        }
    }

    private borrowing func write(path: String, flags: Int32) throws(SigningError) {
        var text = try text()
        defer { SecretText.overwrite(&text) }
        let file = unsafe open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw Self.failure(path, "cannot be created") }
        defer { close(file) }
        let isWritten = unsafe text.withUnsafeBytes { bytes in
            // Whole at once: a key file is smaller than a page.
            unsafe Glibc.write(file, bytes.baseAddress, bytes.count) == bytes.count
        }
        guard isWritten, fsync(file) == 0 else {
            let error = Self.failure(path, "cannot be written")
            unsafe unlink(path)
            throw error
        }
    }

    private static func failure(_ path: String, _ what: String) -> SigningError {
        let reason = unsafe String(cString: strerror(errno))
        return SigningError("\(path): \(what): \(reason)")
    }

    private static func octal(_ mode: UInt32) -> String {
        let digits = String(mode, radix: 8)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}

/// Text that held a secret.
enum SecretText {
    /// Overwrites the bytes in place, in a way that the optimiser does not leave out.
    static func overwrite(_ bytes: inout [UInt8]) {
        unsafe bytes.withUnsafeMutableBytes { buffer in
            unsafe OPENSSL_cleanse(buffer.baseAddress, buffer.count)
        }
    }
}

extension LinkKeyFile {
    /// Tells one content of a path from the next, without reading it.
    public struct Version: Equatable, Sendable {
        let inode: UInt64
        let seconds: Int
        let nanoseconds: Int
        let bytes: Int
    }

    /// - Returns: nil if there is no such file.
    public static func version(path: String) -> Version? {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        return Version(
            inode: UInt64(status.st_ino), seconds: status.st_mtim.tv_sec,
            nanoseconds: status.st_mtim.tv_nsec, bytes: Int(status.st_size))
    }
}
