import CLinux
import Glibc
import SystemPackage

/// A kernel thread of our own, for a loop that must not share the thread pool of Swift's
/// concurrency (it blocks in `epoll_wait`).
public final class SystemThread: Sendable {
    /// For a thread that others wait for.
    public static let shortestSliceNanoseconds: UInt64 = 100_000

    private let handle: Lock<pthread_t?>

    /// Starts a thread. The name (up to 15 bytes are kept) shows in `ps -L` and in debuggers.
    ///
    /// - Parameters:
    ///   - timerSlackNanoseconds: how much later than asked for it may be woken; nil: the slack of
    ///     the calling thread, usually 50 microseconds. `PR_SET_TIMERSLACK`.
    ///   - sliceNanoseconds: how long it wants to run at a time, 100 microseconds to 100
    ///     milliseconds. A short slice is served sooner, and gives no more of the processor.
    ///     `sched_setattr` (Linux 6.12; before, and under a real-time policy, without effect).
    ///
    /// - Throws: EAGAIN if no more threads can be made: others may have used them up.
    ///
    /// The corresponding C function is `pthread_create`.
    public init(
        name: String, timerSlackNanoseconds: Int? = nil, sliceNanoseconds: UInt64? = nil,
        _ body: @escaping @Sendable () -> Void
    ) throws(KernelError) {
        precondition(timerSlackNanoseconds.map { $0 > 0 } ?? true, "0 means the default")
        let work = Work(
            name: name, timerSlackNanoseconds: timerSlackNanoseconds,
            sliceNanoseconds: sliceNanoseconds, body: body)
        let argument = unsafe Unmanaged.passRetained(work).toOpaque()
        var handle = pthread_t()
        let result = unsafe pthread_create(
            &handle, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let work = unsafe Unmanaged<Work>.fromOpaque(argument).takeRetainedValue()
                _ = unsafe clinux_set_thread_name(work.name)
                if let slack = work.timerSlackNanoseconds { _ = clinux_set_timer_slack(slack) }
                if let slice = work.sliceNanoseconds { _ = clinux_set_slice(slice) }
                work.body()
                return nil
            }, argument)
        guard result == 0 else {
            unsafe Unmanaged<Work>.fromOpaque(argument).release()
            throw KernelError(call: "pthread_create", errno: Errno(rawValue: result))
        }
        self.handle = Lock(handle)
    }

    /// The same, for a program that can do nothing without the thread: it ends.
    public static func start(
        name: String, timerSlackNanoseconds: Int? = nil, sliceNanoseconds: UInt64? = nil,
        _ body: @escaping @Sendable () -> Void
    ) -> SystemThread {
        do throws(KernelError) {
            return try SystemThread(
                name: name, timerSlackNanoseconds: timerSlackNanoseconds,
                sliceNanoseconds: sliceNanoseconds, body)
        } catch {
            preconditionFailure("no more threads can be made: \(error)")
        }
    }

    /// Waits until the thread has ended; returns at once the second time. Not to be called
    /// from the thread itself.
    ///
    /// The corresponding C function is `pthread_join`.
    public func join() {
        let joined = handle.withLock { handle in
            defer { handle = nil }
            return handle
        }
        guard let joined else { return }
        let result = pthread_join(joined, nil)
        precondition(result == 0, "a thread cannot join itself")
    }

    deinit {
        // Nobody will join it any more: let its memory go when it ends.
        handle.withLock { handle in
            if let handle { _ = pthread_detach(handle) }
        }
    }

    private final class Work: Sendable {
        let name: String
        let timerSlackNanoseconds: Int?
        let sliceNanoseconds: UInt64?
        let body: @Sendable () -> Void

        init(
            name: String, timerSlackNanoseconds: Int?, sliceNanoseconds: UInt64?,
            body: @escaping @Sendable () -> Void
        ) {
            self.name = name
            self.timerSlackNanoseconds = timerSlackNanoseconds
            self.sliceNanoseconds = sliceNanoseconds
            self.body = body
        }
    }
}
