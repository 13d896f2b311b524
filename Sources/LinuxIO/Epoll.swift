import CLinux
import Glibc

/// A set of descriptors and the events that wait on them; level triggered unless asked otherwise.
///
/// Each descriptor carries a token of the caller's (a slot and its generation, say). The token,
/// never the descriptor number, says whom an event is for: numbers are reused at once.
/// Descriptors must be removed before they are closed.
@safe
public struct Epoll: ~Copyable, @unchecked Sendable {
    // Unchecked Sendable: the buffer is owned by this one value, which cannot be copied.

    /// What a descriptor is watched for. Errors and hang-up are always reported.
    public struct Interest: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        public static let readable = Interest(rawValue: EPOLLIN.rawValue)
        public static let writable = Interest(rawValue: EPOLLOUT.rawValue)
        /// The peer will send no more (it closed, or shut down its writing side).
        public static let peerHangUp = Interest(rawValue: EPOLLRDHUP.rawValue)
        /// Report what changes, not what is: read until nothing is left. `modify` reports again
        /// what is.
        public static let edge = Interest(rawValue: EPOLLET.rawValue)
    }

    /// What a descriptor is ready for.
    public struct Readiness: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        public static let readable = Readiness(rawValue: EPOLLIN.rawValue)
        public static let writable = Readiness(rawValue: EPOLLOUT.rawValue)
        /// Both directions are closed. Packets may still be queued: read on to the end.
        public static let hangUp = Readiness(rawValue: EPOLLHUP.rawValue)
        /// The peer will send no more; reported only with `Interest.peerHangUp`.
        public static let peerHangUp = Readiness(rawValue: EPOLLRDHUP.rawValue)
        public static let error = Readiness(rawValue: EPOLLERR.rawValue)
    }

    private let descriptor: OwnedDescriptor
    private let events: UnsafeMutableBufferPointer<epoll_event>
    private var readyCount = 0
    /// `epoll_pwait2` has not been refused.
    private var hasFineTimeouts = true

    /// An empty set that reports up to `eventsMax` events at a time.
    ///
    /// The corresponding C function is `epoll_create1` (`EPOLL_CLOEXEC`).
    public init(eventsMax: Int) throws(KernelError) {
        precondition(eventsMax > 0 && eventsMax <= Int(Int32.max), "1 event or more")
        descriptor = OwnedDescriptor(
            adopting: try kernelTry("epoll_create1") { epoll_create1(Int32(EPOLL_CLOEXEC)) })
        unsafe events = .allocate(capacity: eventsMax)
        unsafe events.initialize(repeating: epoll_event())
    }

    deinit {
        unsafe events.deallocate()
    }

    /// Starts to watch a descriptor.
    ///
    /// The corresponding C function is `epoll_ctl` with `EPOLL_CTL_ADD`.
    public func add(
        _ fd: borrowing OwnedDescriptor, token: UInt64, interest: Interest
    ) throws(KernelError) {
        try control("epoll_ctl add", EPOLL_CTL_ADD, fd.rawValue, token, interest)
    }

    /// Replaces the token and interest of a watched descriptor.
    ///
    /// The corresponding C function is `epoll_ctl` with `EPOLL_CTL_MOD`.
    public func modify(
        _ fd: borrowing OwnedDescriptor, token: UInt64, interest: Interest
    ) throws(KernelError) {
        try control("epoll_ctl modify", EPOLL_CTL_MOD, fd.rawValue, token, interest)
    }

    /// Stops to watch a descriptor. An event already reported by `wait` stays reported.
    ///
    /// The corresponding C function is `epoll_ctl` with `EPOLL_CTL_DEL`.
    public func remove(_ fd: borrowing OwnedDescriptor) throws(KernelError) {
        try control("epoll_ctl remove", EPOLL_CTL_DEL, fd.rawValue, 0, [])
    }

    /// Waits for events; a negative timeout waits for ever. Returns how many are ready, 0 when
    /// the time is over or a signal arrived.
    ///
    /// The corresponding C function is `epoll_wait`. EINTR is not retried: the caller's loop
    /// looks at its timers and flags first.
    public mutating func wait(timeoutMilliseconds: Int32) -> Int {
        let result = unsafe epoll_wait(
            descriptor.rawValue, events.baseAddress, Int32(events.count), timeoutMilliseconds)
        precondition(result >= 0 || errno == EINTR, "epoll_wait failed")
        readyCount = max(0, Int(result))
        return readyCount
    }

    /// As above, to the microsecond; nil waits for ever.
    ///
    /// The corresponding C function is `epoll_pwait2` (Linux 5.11). Where the kernel or a filter
    /// of system calls refuses it, the time is rounded up to milliseconds.
    public mutating func wait(timeoutNanoseconds: UInt64?) -> Int {
        guard let timeoutNanoseconds, timeoutNanoseconds > 0 else {
            return wait(timeoutMilliseconds: timeoutNanoseconds == nil ? -1 : 0)
        }
        if hasFineTimeouts {
            var timeout = timespec(
                tv_sec: Int(timeoutNanoseconds / 1_000_000_000),
                tv_nsec: Int(timeoutNanoseconds % 1_000_000_000))
            let result = unsafe epoll_pwait2(
                descriptor.rawValue, events.baseAddress, Int32(events.count), &timeout, nil)
            if result >= 0 || errno == EINTR {
                readyCount = max(0, Int(result))
                return readyCount
            }
            precondition(errno == ENOSYS || errno == EPERM, "epoll_pwait2 failed")
            hasFineTimeouts = false
        }
        let milliseconds = timeoutNanoseconds / 1_000_000 + 1
        return wait(timeoutMilliseconds: Int32(clamping: milliseconds))
    }

    /// As above, and looks for events as long as the window says before it sleeps.
    public mutating func wait(timeoutNanoseconds: UInt64?, after window: inout PollWindow) -> Int {
        if window.nanosecondsMax == 0 || timeoutNanoseconds == 0 {
            return wait(timeoutNanoseconds: timeoutNanoseconds)
        }
        let start = Clock.monotonicNanoseconds()
        let limit = min(window.nanoseconds, timeoutNanoseconds ?? .max)
        while Clock.monotonicNanoseconds() - start < limit {
            if wait(timeoutMilliseconds: 0) > 0 {
                window.found()
                return readyCount
            }
        }
        let count = wait(timeoutNanoseconds: timeoutNanoseconds)
        window.slept(nanoseconds: count > 0 ? Clock.monotonicNanoseconds() - start : nil)
        return count
    }

    /// The token of one event of the latest `wait`.
    public func token(at index: Int) -> UInt64 {
        precondition(index >= 0 && index < readyCount, "no such event")
        return unsafe events[index].data.u64
    }

    /// What one event of the latest `wait` reports.
    public func readiness(at index: Int) -> Readiness {
        precondition(index >= 0 && index < readyCount, "no such event")
        return unsafe Readiness(rawValue: events[index].events)
    }

    private func control(
        _ name: String, _ operation: Int32, _ number: Int32, _ token: UInt64, _ interest: Interest
    ) throws(KernelError) {
        var event = unsafe epoll_event(
            events: interest.rawValue, data: epoll_data_t(u64: token))
        let epoll = descriptor.rawValue
        try kernelTry(name) { unsafe epoll_ctl(epoll, operation, number, &event) }
    }
}
