import BrokerCompare
import LinuxIO
import SystemPackage
import UnixSignals

/// `broker compare --listen PATH`: shows who is behind the connections and messages of any
/// client.
struct CompareListen {
    let path: String
    let type: Actor.SocketType
    let format: OutputFormat
    /// Ends after this many messages.
    let messagesMax: Int?

    func run() async throws {
        let failure = Lock<(any Error)?>(nil)
        let stop = try Stop()
        let observer = try opened()
        Diagnostics(command: "compare").note(
            "listening on \(path) (\(type.rawValue)); try: broker compare --connect \(path)"
                + (type == .stream ? " --type stream" : ""))
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
        let (ended, end) = AsyncStream.makeStream(of: Void.self)
        let box = ObserverBox(observer)
        let thread = SystemThread.start(name: "observer") { [self] in
            do {
                try box.run(until: stop, renderer())
            } catch {
                failure.withLock { $0 = error }
            }
            end.finish()
        }
        let waiting = Task {
            for await _ in signals { break }
            stop.event.signal()
        }
        for await _ in ended {}
        waiting.cancel()
        thread.join()
        if let error = failure.withLock({ $0 }) { throw error }
    }

    private func opened() throws -> Observer {
        do {
            return try Observer(path: path, type: type)
        } catch let error as SocketPathError {
            throw CommandFailure(.failure, "\(error)")
        }
    }

    private func renderer() -> ObserverRenderer {
        ObserverRenderer(format: format, messagesMax: messagesMax)
    }

    private final class Stop: Sendable {
        let event: EventFD

        init() throws {
            event = try EventFD()
        }
    }

    /// Carries the observer to its thread.
    private final class ObserverBox: Sendable {
        private let observer: Lock<Observer>

        init(_ observer: consuming sending Observer) {
            self.observer = Lock(observer)
        }

        func run(until stop: Stop, _ renderer: ObserverRenderer) throws {
            var renderer = renderer
            var failure: (any Error)?
            try observer.withLock { observer in
                try observer.run(until: stop.event) { event in
                    do {
                        return try renderer.tell(event, unless: stop.event)
                    } catch {
                        failure = error
                        return .stop
                    }
                }
            }
            if let failure { throw failure }
        }
    }
}
