internal import DequeModule
internal import LinuxIO
internal import Synchronization

/// Counts the subscriptions that hold more than they may. While there is one the client's
/// thread does not read the socket.
final class ReceiveGate: Sendable {
    private let fullCount = Atomic<Int>(0)
    private let reopened: @Sendable () -> Void

    /// - Parameter reopened: wakes the thread; called on the consumer's.
    init(reopened: @escaping @Sendable () -> Void) {
        self.reopened = reopened
    }

    var isOpen: Bool { fullCount.load(ordering: .acquiring) == 0 }

    func enter() {
        fullCount.add(1, ordering: .acquiringAndReleasing)
    }

    func leave() {
        let left = fullCount.subtract(1, ordering: .acquiringAndReleasing).newValue
        precondition(left >= 0)
        if left == 0 { reopened() }
    }
}

/// The queue between the client's thread and the one task that consumes: elements go in with
/// their weight in bytes, and come out in order. It never blocks the thread: beyond `bytesMax`
/// it closes the gate instead, and opens it when half is consumed.
final class Handover<Element: Sendable>: Sendable {
    typealias Next = Result<Element?, BrokerClientError>
    private typealias Consumer = CheckedContinuation<Next, Never>

    private struct State {
        var elements: Deque<(element: Element, bytes: Int)> = []
        var bytes = 0
        var isOverfull = false
        /// The consumer, if it waits; then `elements` is empty.
        var consumer: Consumer?
        /// Set once: what the consumer gets behind the last element.
        var end: Next?
    }

    private let state = Lock(State())
    private let bytesMax: Int
    private let gate: ReceiveGate?

    init(bytesMax: Int, gate: ReceiveGate?) {
        self.bytesMax = bytesMax
        self.gate = gate
    }

    var count: Int { state.withLock { $0.elements.count } }

    /// Nothing that comes now would be consumed.
    var hasEnded: Bool { state.withLock { $0.end != nil } }

    /// Elements that come after the end are dropped: they were on their way.
    func push(_ element: Element, bytes: Int) {
        let consumer = state.withLock { state -> Consumer? in
            if state.end != nil { return nil }
            if let consumer = state.consumer.take() { return consumer }
            state.elements.append((element, bytes))
            state.bytes += bytes
            if state.bytes > bytesMax, !state.isOverfull {
                state.isOverfull = true
                // Under the lock: who sees `isOverfull` may leave the gate.
                gate?.enter()
            }
            return nil
        }
        consumer?.resume(returning: .success(element))
    }

    /// No element comes any more. What is there can still be consumed.
    func finish(_ error: BrokerClientError?) {
        end(error, keepsElements: true)
    }

    /// As `finish`, and drops what is there.
    func discard() {
        end(nil, keepsElements: false)
    }

    /// The next element; nil at the end, or when the task is cancelled. One task at a time.
    func next() async throws(BrokerClientError) -> Element? {
        let next = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let (known, reopens) = wait(continuation)
                if reopens { gate?.leave() }
                if let known { continuation.resume(returning: known) }
            }
        } onCancel: {
            let consumer = state.withLock { $0.consumer.take() }
            consumer?.resume(returning: .success(nil))
        }
        return try next.get()
    }

    private func wait(_ continuation: Consumer) -> (Next?, Bool) {
        state.withLock { state in
            // Under the lock: the handler of a later cancellation finds the consumer.
            if Task.isCancelled { return (.success(nil), false) }
            if let (element, bytes) = state.elements.popFirst() {
                state.bytes -= bytes
                let reopens = state.isOverfull && state.bytes <= bytesMax / 2
                if reopens { state.isOverfull = false }
                return (.success(element), reopens)
            }
            if let end = state.end {
                state.end = .success(nil)  // an error is thrown once
                return (end, false)
            }
            precondition(state.consumer == nil, "two tasks consume one sequence")
            state.consumer = continuation
            return (nil, false)
        }
    }

    private func end(_ error: BrokerClientError?, keepsElements: Bool) {
        let end: Next = error.map { .failure($0) } ?? .success(nil)
        let (consumer, reopens) = state.withLock { state in
            if !keepsElements {
                state.elements = []
                state.bytes = 0
            }
            let reopens = state.isOverfull && !keepsElements
            if reopens { state.isOverfull = false }
            if state.end != nil { return (Consumer?.none, reopens) }
            let consumer = state.consumer.take()
            state.end = consumer == nil ? end : .success(nil)
            return (consumer, reopens)
        }
        if reopens { gate?.leave() }
        consumer?.resume(returning: end)
    }
}
