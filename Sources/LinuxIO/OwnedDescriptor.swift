import CLinux
import Glibc

/// An open file descriptor with exactly one owner; it is closed when the owner goes away.
///
/// Close-on-exec is the rule: every descriptor that this module opens has it.
public struct OwnedDescriptor: ~Copyable, Sendable {
    /// The number, valid as long as this value lives. For logs, tables and tests; closing it
    /// behind the owner's back is an error that traps at the next use.
    public let rawValue: Int32

    /// Takes over the duty to close `rawValue`, which must be open and owned by nobody else.
    public init(adopting rawValue: Int32) {
        precondition(rawValue >= 0, "a descriptor is not negative")
        self.rawValue = rawValue
    }

    /// Adopts a descriptor that this process was started with (socket activation) and makes it
    /// close-on-exec; nil if no such descriptor is open.
    ///
    /// The corresponding C function is `fcntl` with `F_SETFD`.
    public init?(inherited rawValue: Int32) {
        guard rawValue >= 0, clinux_add_descriptor_flags(rawValue, FD_CLOEXEC) >= 0 else {
            return nil
        }
        self.rawValue = rawValue
    }

    deinit {
        closeDescriptor(rawValue)
    }

    /// Gives up ownership without closing.
    public consuming func relinquish() -> Int32 {
        let number = rawValue
        discard self
        return number
    }

    /// A second descriptor of the same open file, close-on-exec.
    ///
    /// The corresponding C function is `fcntl` with `F_DUPFD_CLOEXEC`.
    public borrowing func duplicate() throws(KernelError) -> OwnedDescriptor {
        let number = rawValue
        return OwnedDescriptor(
            adopting: try kernelTry("fcntl F_DUPFD_CLOEXEC") {
                fcntl(number, F_DUPFD_CLOEXEC, 0)
            })
    }
}

/// Closes a descriptor number.
///
/// Never retried: Linux has freed the number even when `close` reports EINTR. Errors of the
/// last write (EIO, ENOSPC) do not exist for sockets and pidfds; EBADF is a double close.
///
/// The corresponding C function is `close`.
func closeDescriptor(_ number: Int32) {
    if close(number) < 0 {
        precondition(errno != EBADF, "a descriptor was closed twice")
    }
}
