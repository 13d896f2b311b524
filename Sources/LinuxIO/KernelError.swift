import CLinux
import Glibc
public import SystemPackage

/// A system call that did not succeed: which one, and the kernel's reason.
public struct KernelError: Error, Equatable, CustomStringConvertible {
    /// The call as its manual page names it, with the option where there is one
    /// (`bind`, `setsockopt SO_PASSCRED`).
    public let call: String
    public let errno: Errno

    public init(call: String, errno: Errno) {
        self.call = call
        self.errno = errno
    }

    /// `bind: Address already in use (EADDRINUSE)`
    public var description: String {
        "\(call): \(errno.description) (\(symbol))"
    }

    private var symbol: String {
        guard let name = unsafe clinux_errno_name(errno.rawValue) else {
            return "errno \(errno.rawValue)"
        }
        return unsafe String(cString: name)
    }
}

/// Runs one system call and turns -1 into a `KernelError`.
///
/// This is the one place where EINTR is retried. EBADF and EFAULT cannot be outcomes: they say
/// that this program used a descriptor or an address that is not its own, and going on would
/// risk acting on somebody else's connection.
///
/// - Parameter isOurs: false for a descriptor that others opened, perhaps for reading where we
///   write: that is EBADF too.
@inline(__always)
func kernelCall<Value: SignedInteger & FixedWidthInteger>(
    _ name: String, isOurs: Bool = true, _ body: () -> Value
) -> Result<Value, KernelError> {
    while true {
        let value = body()
        if value >= 0 { return .success(value) }
        let number = errno
        if number == EINTR { continue }
        precondition(number != EBADF || !isOurs, "\(name): not an open descriptor")
        precondition(number != EFAULT, "\(name): not our memory")
        return .failure(KernelError(call: name, errno: Errno(rawValue: number)))
    }
}

/// `kernelCall` for the callers that pass every failure on.
@inline(__always)
@discardableResult
func kernelTry<Value: SignedInteger & FixedWidthInteger>(
    _ name: String, _ body: () -> Value
) throws(KernelError) -> Value {
    try kernelCall(name, body).get()
}
