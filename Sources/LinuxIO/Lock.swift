import Glibc

/// A value that one thread at a time may look at.
///
/// The standard library's `Mutex` would do, but on Linux the thread sanitizer cannot see it work
/// and takes everything it protects for a race. It does see `pthread_mutex_t`.
///
/// The corresponding C functions are `pthread_mutex_lock` and `pthread_mutex_unlock`.
@safe
public struct Lock<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
    // Unchecked Sendable: the value went in as `sending`, and is only reached under the mutex.

    @usableFromInline let mutex: UnsafeMutableRawPointer
    @usableFromInline let value: UnsafeMutablePointer<Value>

    public init(_ initial: consuming sending Value) {
        unsafe mutex = makeMutex()
        unsafe value = .allocate(capacity: 1)
        unsafe value.initialize(to: initial)
    }

    deinit {
        unsafe value.deinitialize(count: 1)
        unsafe value.deallocate()
        unsafe destroyMutex(mutex)
    }

    /// Calls `body` while no other thread is in such a call. Not reentrant: calling it from
    /// within `body` never returns.
    ///
    /// Inlinable: otherwise other modules would go through generic code, which looks up
    /// metadata with each call.
    @inlinable @inline(__always)
    public borrowing func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        unsafe lockMutex(mutex)
        defer { unsafe unlockMutex(mutex) }
        return unsafe try body(&value.pointee)
    }
}

private func makeMutex() -> UnsafeMutableRawPointer {
    let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    let result = unsafe pthread_mutex_init(mutex, nil)
    precondition(result == 0, "a mutex with default attributes can be made")
    return UnsafeMutableRawPointer(mutex)
}

private func destroyMutex(_ mutex: UnsafeMutableRawPointer) {
    let mutex = unsafe mutex.assumingMemoryBound(to: pthread_mutex_t.self)
    unsafe pthread_mutex_destroy(mutex)
    unsafe mutex.deallocate()
}

@usableFromInline
func lockMutex(_ mutex: UnsafeMutableRawPointer) {
    unsafe pthread_mutex_lock(mutex.assumingMemoryBound(to: pthread_mutex_t.self))
}

@usableFromInline
func unlockMutex(_ mutex: UnsafeMutableRawPointer) {
    unsafe pthread_mutex_unlock(mutex.assumingMemoryBound(to: pthread_mutex_t.self))
}
