import COpenSSL
import Glibc

/// Reading and writing key files.
extension LinkKeyFile {
    /// Reads a key file, and refuses one that others than its owner can read or change.
    public static func read(path: String) throws(SigningError) -> LinkKeyFile {
        var text = try GuardedFile.read(path: path, bytesMax: fileBytesMax, isSecret: true)
        defer { SecretText.overwrite(&text) }
        do throws(LinkKeyFileError) {
            return try LinkKeyFile(parsing: text.span)
        } catch {
            throw SigningError("\(path): \(error.explanation)")
        }
    }

    /// Writes a new file, mode 0600; refuses to replace one.
    public borrowing func create(path: String) throws(SigningError) {
        var text = try text()
        defer { SecretText.overwrite(&text) }
        let flags = O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW
        let file = unsafe open(path, flags, 0o600)
        guard file >= 0 else {
            if errno == EEXIST {
                throw SigningError(
                    "\(path): is there already, and a key file is never replaced: "
                        + "`broker link rotate` changes its key, --out names another file")
            }
            throw GuardedFile.failure(path, "cannot be created")
        }
        defer { close(file) }
        let isWritten = unsafe text.withUnsafeBytes { bytes in
            // Whole at once: a key file is smaller than a page.
            unsafe Glibc.write(file, bytes.baseAddress, bytes.count) == bytes.count
        }
        guard isWritten, fsync(file) == 0 else {
            let error = GuardedFile.failure(path, "cannot be written")
            unsafe unlink(path)
            throw error
        }
    }

    /// Lends the text of the file, secrets included; it is overwritten afterwards.
    public borrowing func withText(_ use: (Span<UInt8>) throws -> Void) throws {
        var text = try text()
        defer { SecretText.overwrite(&text) }
        try use(text.span)
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
