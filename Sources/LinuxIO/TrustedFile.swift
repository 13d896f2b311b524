import CLinux
import Glibc
import SystemPackage

/// Why a file is not believed, or cannot be read or replaced; says what to do about it.
public struct TrustedFileError: Error, Equatable, CustomStringConvertible {
    /// There is no such file: nothing is wrong with it.
    public let isMissing: Bool
    public let description: String

    init(_ description: String, isMissing: Bool = false) {
        self.description = description
        self.isMissing = isMissing
    }

    init(_ path: String, _ error: KernelError) {
        self.init("\(path): \(error)", isMissing: error.errno == .noSuchFileOrDirectory)
    }
}

/// A file that decides who may do what, opened so that nobody but its owners can have put it
/// there: from the root directory down no component is a symbolic link, each directory and the
/// file belong to root or to a trusted user, and nobody else may write to them. A sticky
/// directory of root's (/tmp) may be writable: names of others cannot be taken away in it.
///
/// The directory stays open, and everything is done through it: what was checked is what is read
/// and replaced.
public struct TrustedFile: ~Copyable, Sendable {
    public var path: String { place.path }
    private let place: DirectoryEntry
    private let trustedUIDs: [UInt32]

    /// Checks the directories of a path. A relative one begins at the working directory.
    ///
    /// - Parameter trustedUIDs: may own the file and its directories, besides root.
    public init(path given: String, trustedUIDs: [UInt32]) throws(TrustedFileError) {
        let path = try Self.absolute(given)
        let parts = path.split(separator: "/").map(String.init)
        guard let last = parts.last, !given.hasSuffix("/"), !given.utf8.contains(0),
            !parts.contains(".."), !parts.contains(".")
        else {
            throw TrustedFileError("\(given): not the path of a file, or one with '.' or '..'")
        }
        var current = try Self.openDirectory(AT_FDCWD, "/", path: "/")
        try Self.check(directory: current, path: "/", trustedUIDs)
        var walked = ""
        for part in parts.dropLast() {
            walked += "/" + part
            let next = try Self.openDirectory(current.rawValue, part, path: walked)
            try Self.check(directory: next, path: walked, trustedUIDs)
            current = next
        }
        precondition(path.hasPrefix("/") && !last.isEmpty)
        place = DirectoryEntry(path: path, name: last, directory: current)
        self.trustedUIDs = trustedUIDs
    }

    /// Reads the whole file after checking it.
    ///
    /// The corresponding C functions are `openat`, `fstat` and `read`.
    public func read(bytesMax: Int) throws(TrustedFileError) -> [UInt8] {
        precondition(bytesMax > 0, "1 byte or more")
        let file: OwnedDescriptor
        do throws(KernelError) {
            // Without waiting for a writer, should it be a FIFO.
            file = try place.open(place.name, flags: O_RDONLY | O_NONBLOCK)
        } catch {
            if error.errno == .tooManySymbolicLinkLevels {
                throw Self.symbolicLink(path)
            }
            throw TrustedFileError(path, error)
        }
        var status = stat()
        guard unsafe fstat(file.rawValue, &status) == 0 else {
            throw TrustedFileError("\(path): cannot be examined")
        }
        let identity = FileIdentity(status)
        guard identity.isRegularFile else {
            throw TrustedFileError("\(path): not a regular file")
        }
        try Self.check(identity, path: path, trustedUIDs, isSticky: false)
        guard status.st_size <= bytesMax else {
            throw TrustedFileError("\(path): larger than \(bytesMax) bytes")
        }
        do throws(KernelError) {
            return try readAll(file, bytesExpected: Int(status.st_size), bytesMax: bytesMax)
        } catch {
            throw TrustedFileError(path, error)
        }
    }

    /// Puts a new file in place of the old one, or leaves that as it is. Edits wait for each other,
    /// so that none is lost: see `FileDraft`.
    ///
    /// - Parameters:
    ///   - bytesMax: what the old file may have.
    ///   - failure: makes an error of the caller's kind of ours.
    ///   - change: gets the old file, nil if there is none, and gives the bytes of the new one.
    public func edit<Failure: Error>(
        bytesMax: Int, failure: (TrustedFileError) -> Failure,
        _ change: ([UInt8]?) throws(Failure) -> [UInt8]
    ) throws(Failure) {
        let draft: FileDraft
        do throws(KernelError) {
            draft = try FileDraft(of: place)
        } catch {
            throw failure(unchanged(error))
        }
        let old: [UInt8]?
        do throws(TrustedFileError) {
            old = try readIfThere(bytesMax: bytesMax)
        } catch {
            throw failure(error)
        }
        let new = try change(old)
        do throws(KernelError) {
            try draft.takePlace(with: new.span, modeIfNew: 0o644)
        } catch {
            throw failure(unchanged(error))
        }
    }

    private func unchanged(_ error: KernelError) -> TrustedFileError {
        TrustedFileError("\(path) is unchanged: \(error)")
    }

    private func readIfThere(bytesMax: Int) throws(TrustedFileError) -> [UInt8]? {
        do throws(TrustedFileError) {
            return try read(bytesMax: bytesMax)
        } catch {
            if error.isMissing { return nil }
            throw error
        }
    }

    // MARK: Checks

    /// A relative path begins at the working directory.
    ///
    /// The corresponding C function is `getcwd`.
    public static func absolute(_ path: String) throws(TrustedFileError) -> String {
        if path.hasPrefix("/") { return path }
        guard !path.isEmpty, let working = unsafe getcwd(nil, 0) else {
            throw TrustedFileError("the working directory of '\(path)' is not known")
        }
        defer { unsafe free(working) }
        let relative = path.hasPrefix("./") ? String(path.dropFirst(2)) : path
        return unsafe String(cString: working) + "/" + relative
    }

    private static func openDirectory(
        _ parent: Int32, _ name: String, path: String
    ) throws(TrustedFileError) -> OwnedDescriptor {
        let flags = CLINUX_O_PATH | O_NOFOLLOW | O_CLOEXEC
        let found: OwnedDescriptor
        do throws(KernelError) {
            found = OwnedDescriptor(
                adopting: try kernelTry("open") { unsafe clinux_openat(parent, name, flags, 0) })
        } catch {
            throw TrustedFileError(path, error)
        }
        guard let identity = fileIdentity(found.rawValue) else {
            throw TrustedFileError("\(path): cannot be examined")
        }
        if identity.mode & S_IFMT == S_IFLNK { throw symbolicLink(path) }
        guard identity.mode & S_IFMT == S_IFDIR else {
            throw TrustedFileError("\(path): not a directory")
        }
        return found
    }

    private static func check(
        directory: borrowing OwnedDescriptor, path: String, _ trustedUIDs: [UInt32]
    ) throws(TrustedFileError) {
        guard let identity = fileIdentity(directory.rawValue) else {
            throw TrustedFileError("\(path): cannot be examined")
        }
        let isSticky = identity.permissions & 0o1000 != 0 && identity.userID == 0
        try check(identity, path: path, trustedUIDs, isSticky: isSticky)
    }

    private static func check(
        _ identity: FileIdentity, path: String, _ trustedUIDs: [UInt32], isSticky: Bool
    ) throws(TrustedFileError) {
        guard identity.userID == 0 || trustedUIDs.contains(identity.userID) else {
            throw TrustedFileError(
                "\(path) belongs to uid \(identity.userID), who could change it: "
                    + "`chown root \(path)`")
        }
        guard identity.permissions & 0o022 == 0 || isSticky else {
            let mode = String(identity.permissions, radix: 8)
            throw TrustedFileError(
                "\(path) has mode 0\(mode), so others than its owner may write to it: "
                    + "`chmod go-w \(path)`")
        }
    }

    private static func symbolicLink(_ path: String) -> TrustedFileError {
        TrustedFileError(
            "\(path) is a symbolic link, which may be pointed elsewhere: name the file by its "
                + "real path, see `realpath \(path)`")
    }
}

/// - Parameter bytesExpected: what the file had when it was looked at; it may have grown since.
private func readAll(
    _ file: borrowing OwnedDescriptor, bytesExpected: Int, bytesMax: Int
) throws(KernelError) -> [UInt8] {
    let number = file.rawValue
    var content: [UInt8] = []
    var filled = 0
    while filled <= bytesMax {
        // One byte more than is expected, to see the end.
        let room = filled == 0 ? bytesExpected + 1 : filled
        content.append(contentsOf: repeatElement(0, count: room))
        while filled < content.count {
            let count = try kernelTry("read") {
                unsafe content.withUnsafeMutableBytes { bytes in
                    let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[filled...])
                    return unsafe read(number, rest.baseAddress, rest.count)
                }
            }
            if count == 0 {
                content.removeLast(content.count - filled)
                return content
            }
            filled += count
        }
    }
    throw KernelError(call: "read", errno: .fileTooLarge)
}
