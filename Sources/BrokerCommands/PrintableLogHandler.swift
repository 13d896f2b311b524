import Logging

/// Hands log lines on with everything made harmless that clients, peers and files have put into
/// them: one line stays one line, and nothing reaches the terminal that it would obey. Whoever
/// logs has put quotes where a value is somebody else's choice; they stay as they are.
struct PrintableLogHandler<Base: LogHandler>: LogHandler {
    private var base: Base

    init(_ base: Base) {
        self.base = base
    }

    var metadata: Logger.Metadata {
        get { base.metadata }
        set { base.metadata = newValue }
    }

    var logLevel: Logger.Level {
        get { base.logLevel }
        set { base.logLevel = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { base[metadataKey: key] }
        set { base[metadataKey: key] = newValue }
    }

    func log(event: LogEvent) {
        var event = event
        event.metadata = event.metadata?.mapValues { .string(Printable.harmless("\($0)")) }
        base.log(event: event)
    }
}
