internal import LinuxIO

/// A result that one side provides once and one task waits for: an acknowledgement, room in
/// the queue, the end of the handshake. Either may come first. A task that is cancelled stops
/// waiting; a result that comes afterwards goes nowhere.
final class OneShot<Value: Sendable>: Sendable {
    typealias Outcome = Result<Value, BrokerClientError>

    private enum State {
        case open
        case awaited(CheckedContinuation<Outcome, Never>)
        case resolved(Outcome)
        case abandoned
    }

    private let state = Lock(State.open)

    /// Nobody will ever take the result.
    var isAbandoned: Bool {
        state.withLock { state in
            if case .abandoned = state { true } else { false }
        }
    }

    /// Only the first call counts: the end of a session may race with an answer.
    func resolve(_ outcome: Outcome) {
        let waiter = state.withLock { state -> CheckedContinuation<Outcome, Never>? in
            switch state {
            case .open:
                state = .resolved(outcome)
                return nil
            case .awaited(let continuation):
                state = .resolved(outcome)
                return continuation
            case .resolved, .abandoned:
                return nil
            }
        }
        waiter?.resume(returning: outcome)
    }

    /// To be awaited by one task, once.
    ///
    /// - Throws: what the other side resolved with, or `.cancelled`.
    func value() async throws(BrokerClientError) -> Value {
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                if let known = wait(continuation) { continuation.resume(returning: known) }
            }
        } onCancel: {
            abandon()
        }
        return try outcome.get()
    }

    private func wait(_ continuation: CheckedContinuation<Outcome, Never>) -> Outcome? {
        state.withLock { state in
            switch state {
            case .open:
                state = .awaited(continuation)
                return nil
            case .resolved(let outcome):
                return outcome
            case .abandoned:
                return .failure(.cancelled)
            case .awaited:
                preconditionFailure("two tasks wait for one result")
            }
        }
    }

    private func abandon() {
        let waiter = state.withLock { state -> CheckedContinuation<Outcome, Never>? in
            switch state {
            case .open:
                state = .abandoned
                return nil
            case .awaited(let continuation):
                state = .abandoned
                return continuation
            case .resolved, .abandoned:
                return nil  // the result was faster than the cancellation
            }
        }
        waiter?.resume(returning: .failure(.cancelled))
    }
}
