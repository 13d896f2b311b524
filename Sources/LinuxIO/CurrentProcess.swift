import CLinux
import Glibc

/// This process, as the kernel sees it now.
public enum CurrentProcess {
    /// The corresponding C function is `getpid`.
    public static var pid: Int32 { getpid() }
    /// The corresponding C function is `getuid`.
    public static var userID: UInt32 { getuid() }
    /// The corresponding C function is `geteuid`.
    public static var effectiveUserID: UInt32 { geteuid() }
    /// The corresponding C function is `getgid`.
    public static var groupID: UInt32 { getgid() }
    /// The corresponding C function is `getegid`.
    public static var effectiveGroupID: UInt32 { getegid() }

    /// The number of the first argument that is not UTF-8; nil if all are. Such an argument is
    /// repaired by Swift, and is then another topic or another file.
    public static var argumentThatIsNotText: Int? {
        for number in 0..<Int(CommandLine.argc) {
            guard let argument = unsafe CommandLine.unsafeArgv[number] else { break }
            if unsafe String(validatingCString: argument) == nil { return number }
        }
        return nil
    }

    /// Sets a variable of the environment; while there is one thread only.
    ///
    /// The corresponding C function is `setenv`.
    public static func setVariable(_ name: String, _ value: String) {
        _ = unsafe setenv(name, value, 1)
    }

    /// Ends the process with a status, 0 to 255.
    ///
    /// The corresponding C function is `exit`.
    public static func exit(status: Int32) -> Never { Glibc.exit(status) }

    /// Whether our user namespace is the first one: uid 0 is root of the machine only there.
    public static let isInInitialUserNamespace =
        fileIdentity(path: "/proc/self/ns/user")?.inode == initialUserNamespaceInode

    /// The inode number of the first user namespace (the kernel's PROC_USER_INIT_INO).
    private static let initialUserNamespaceInode: UInt64 = 0xEFFF_FFFD

    /// Whether CAP_SETUID and CAP_SETGID are in force.
    ///
    /// The source is `CapEff` of /proc/self/status.
    public static var mayTakeAnyID: Bool {
        guard let bytes = try? readSmallFile("/proc/self/status", maxBytes: 8192) else {
            return false
        }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        let line = lines.first { $0.hasPrefix("CapEff:") }
        let hexadecimal = line?.split { $0 == "\t" || $0 == " " }.last ?? ""
        let capabilities = UInt64(hexadecimal, radix: 16) ?? 0
        let needed: UInt64 = 1 << 6 | 1 << 7
        return capabilities & needed == needed
    }

    /// Does not end on SIGHUP until somebody waits for that signal.
    ///
    /// The corresponding C function is `signal` with `SIG_IGN`.
    public static func ignoreHangUp() {
        _ = signal(SIGHUP, SIG_IGN)
    }

    /// Lets a write that nobody will read fail with EPIPE, and not end the process: a broker goes
    /// on without its log. Programs that it starts inherit that.
    ///
    /// The corresponding C function is `signal` with `SIG_IGN`.
    public static func ignoreBrokenPipes() {
        _ = signal(SIGPIPE, SIG_IGN)
    }

    /// How many descriptors may be open: the limit in force, and how far it can be raised.
    public struct DescriptorLimit: Equatable, Sendable {
        public let soft: UInt64
        public let hard: UInt64
    }

    /// The corresponding C function is `getrlimit` with `RLIMIT_NOFILE`.
    public static var descriptorLimit: DescriptorLimit {
        var limit = rlimit()
        let result = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        precondition(result == 0, "getrlimit failed")
        return DescriptorLimit(soft: UInt64(limit.rlim_cur), hard: UInt64(limit.rlim_max))
    }

    /// Raises the soft limit of open descriptors to the hard one and returns the limit that is
    /// in force afterwards.
    ///
    /// The corresponding C function is `setrlimit` with `RLIMIT_NOFILE`.
    @discardableResult
    public static func raiseDescriptorLimit() -> UInt64 {
        let now = descriptorLimit
        return setSoftDescriptorLimit(now.hard) ? now.hard : now.soft
    }

    /// How many processors this process may run on, up to 1,024.
    ///
    /// The corresponding C function is `sched_getaffinity`.
    public static var processorCount: Int { Int(clinux_processor_count()) }

    /// Gives memory of the heap that is free back to the system: the C library keeps what lies
    /// between blocks in use. Takes milliseconds where there is much of it.
    ///
    /// The corresponding C function is `malloc_trim`.
    public static func returnFreeMemory() {
        clinux_malloc_trim()
    }

    /// Keeps up to so many bytes of freed memory for the next allocations: otherwise large blocks
    /// go to the system and come back, cleared, all the time. For programs that own their
    /// process.
    ///
    /// The corresponding C function is `mallopt` (`M_TRIM_THRESHOLD`, `M_MMAP_THRESHOLD`).
    public static func keepFreedMemory(bytes: Int32) {
        precondition(bytes > 0 && bytes <= 1 << 25, "at most 32 MiB, the largest block of a heap")
        clinux_keep_freed_memory(bytes)
    }

    /// False if the limit may not be set; the hard limit stays.
    package static func setSoftDescriptorLimit(_ soft: UInt64) -> Bool {
        var limit = rlimit(rlim_cur: rlim_t(soft), rlim_max: rlim_t(descriptorLimit.hard))
        return unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
    }
}

/// Whether a descriptor number is a terminal.
///
/// The corresponding C function is `isatty`.
public func isTerminal(_ descriptor: Int32) -> Bool {
    isatty(descriptor) == 1
}

/// The first `maxBytes` of a file, for files of /proc and /sys and small settings.
///
/// The corresponding C functions are `open` and `read`.
public func readSmallFile(_ path: String, maxBytes: Int) throws(KernelError) -> [UInt8] {
    precondition(maxBytes > 0, "1 byte or more")
    let file = OwnedDescriptor(
        adopting: try kernelTry("open") {
            unsafe clinux_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)
        })
    let number = file.rawValue
    var content = [UInt8](repeating: 0, count: maxBytes)
    var filled = 0
    while filled < maxBytes {
        let count = try kernelTry("read") {
            unsafe content.withUnsafeMutableBytes { bytes in
                let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[filled...])
                return unsafe read(number, rest.baseAddress, rest.count)
            }
        }
        if count == 0 { break }
        filled += count
    }
    content.removeLast(maxBytes - filled)
    return content
}

/// Makes or replaces a file of our own with a few bytes.
///
/// The corresponding C functions are `open` and `write`.
public func writeSmallFile(_ path: String, _ bytes: [UInt8]) throws(KernelError) {
    let file = OwnedDescriptor(
        adopting: try kernelTry("open") {
            unsafe clinux_openat(
                AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0o644)
        })
    let number = file.rawValue
    try kernelTry("write") { unsafe write(number, bytes, bytes.count) }
}
