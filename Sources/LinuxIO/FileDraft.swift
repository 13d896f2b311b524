import CLinux
import Glibc
import SystemPackage

/// The file that will take the place of another: `.NAME.new` beside it. Whoever has it locked is
/// the only one who edits: nobody but its owner can open it, so that nobody else can hold the lock,
/// as everybody could who may open the directory. It is removed with this value, if it has not
/// taken the place.
public struct FileDraft: ~Copyable {
    private let file: OwnedDescriptor
    /// Its name, in a directory that is open for reading: so it can be synced.
    private let entry: DirectoryEntry
    private let placeName: String

    /// Waits until nobody else edits the file of that path. What is read of it from now on stays
    /// true until the draft takes its place, as long as everybody edits by drafts.
    ///
    /// The corresponding C functions are `openat` and `flock`.
    public init(replacing path: String) throws(KernelError) {
        try self.init(of: try DirectoryEntry(of: path))
    }

    init(of place: borrowing DirectoryEntry) throws(KernelError) {
        let entry = DirectoryEntry(
            path: place.path, name: ".\(place.name).new",
            directory: try place.open(".", flags: O_RDONLY | O_DIRECTORY))
        var file = try Self.openLocked(entry)
        // Whoever had it before may have put it in place.
        while !Self.isInPlace(file, entry) { file = try Self.openLocked(entry) }
        self.file = file
        self.entry = entry
        placeName = place.name
    }

    private static func openLocked(
        _ entry: borrowing DirectoryEntry
    ) throws(KernelError) -> OwnedDescriptor {
        // In a directory of others somebody may have put something there, a FIFO for example.
        let file = try entry.open(
            entry.name, flags: O_WRONLY | O_CREAT | O_NONBLOCK, mode: 0o600)
        guard isOurs(file) else {
            throw KernelError(call: "open \(entry.name)", errno: .fileExists)
        }
        let number = file.rawValue
        try kernelTry("flock \(entry.name)") { flock(number, LOCK_EX) }
        return file
    }

    /// Whether we, or root, made it, and it has no other name: it is nobody else's to write to,
    /// and no file of ours that somebody wants to be overwritten.
    private static func isOurs(_ file: borrowing OwnedDescriptor) -> Bool {
        var status = stat()
        guard unsafe fstat(file.rawValue, &status) == 0 else { return false }
        let identity = FileIdentity(status)
        return identity.isRegularFile && status.st_nlink <= 1
            && (identity.userID == geteuid() || identity.userID == 0)
    }

    /// Whether its name still stands for it.
    private static func isInPlace(
        _ file: borrowing OwnedDescriptor, _ entry: borrowing DirectoryEntry
    ) -> Bool {
        let named = try? entry.identity(of: entry.name)
        guard let named, let own = fileIdentity(file.rawValue) else { return false }
        return named.isSameFile(as: own)
    }

    /// Writes and syncs the bytes, and then takes the place of the file, which keeps its owner,
    /// group and mode; whatever goes wrong before leaves it as it is.
    ///
    /// The corresponding C functions are `ftruncate`, `write`, `fchown`, `fchmod`, `fsync` and
    /// `renameat`.
    ///
    /// - Parameter modeIfNew: the mode of a file that was not there.
    public func takePlace(with bytes: Span<UInt8>, modeIfNew: UInt32) throws(KernelError) {
        precondition(placeName != entry.name, "it has a name of its own")
        try write(bytes)
        let number = file.rawValue
        let old = try entry.identityIfPresent(of: placeName)
        if let old, old.isRegularFile {
            try kernelTry("fchown \(entry.name)") { fchown(number, old.userID, old.groupID) }
            try kernelTry("fchmod \(entry.name)") { fchmod(number, mode_t(old.permissions)) }
        } else {
            try kernelTry("fchmod \(entry.name)") { fchmod(number, mode_t(modeIfNew)) }
        }
        try kernelTry("fsync \(entry.name)") { fsync(number) }
        try entry.rename(to: placeName)
    }

    private func write(_ bytes: Span<UInt8>) throws(KernelError) {
        let number = file.rawValue
        // A process that was killed may have left some.
        try kernelTry("ftruncate \(entry.name)") { ftruncate(number, 0) }
        var written = 0
        while written < bytes.count {
            written += try kernelTry("write \(entry.name)") {
                unsafe bytes.extracting(written...).withUnsafeBytes { rest in
                    unsafe Glibc.write(number, rest.baseAddress, rest.count)
                }
            }
        }
    }

    deinit {
        if Self.isInPlace(file, entry) { try? entry.unlink(entry.name) }
    }
}
