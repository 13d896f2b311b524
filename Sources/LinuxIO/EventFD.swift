import CLinux
import Glibc
import SystemPackage

/// A counter that wakes a thread waiting in `Epoll`: any thread signals, the waiter drains.
public struct EventFD: ~Copyable, Sendable {
    /// Readable while signals are pending.
    public let descriptor: OwnedDescriptor

    /// The corresponding C function is `eventfd` (`EFD_CLOEXEC | EFD_NONBLOCK`).
    public init() throws(KernelError) {
        descriptor = OwnedDescriptor(
            adopting: try kernelTry("eventfd") {
                eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
            })
    }

    /// Makes the descriptor readable. Signals that were not drained yet count as one.
    ///
    /// The corresponding C function is `write`. EAGAIN (counter at its maximum) means that a
    /// signal is pending, which is all we want.
    public borrowing func signal() {
        let number = descriptor.rawValue
        var one: UInt64 = 1
        let result = kernelCall("write eventfd") {
            unsafe write(number, &one, MemoryLayout<UInt64>.size)
        }
        if case .failure(let error) = result {
            precondition(error.errno == .wouldBlock, "eventfd cannot be written")
        }
    }

    /// Takes all pending signals; does nothing if there are none.
    ///
    /// The corresponding C function is `read`.
    public borrowing func drain() {
        let number = descriptor.rawValue
        var count: UInt64 = 0
        let result = kernelCall("read eventfd") {
            unsafe read(number, &count, MemoryLayout<UInt64>.size)
        }
        if case .failure(let error) = result {
            precondition(error.errno == .wouldBlock, "eventfd cannot be read")
        }
    }
}
