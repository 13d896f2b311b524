import BrokerWire

/// What `broker serve` needs to know.
package struct ServerConfiguration: Sendable {
    package var socketPath: String
    /// Permission bits of the socket. Connecting is no right: the rules decide what a uid may do.
    package var socketMode: UInt32 = 0o666
    package var socketGroupID: UInt32?
    /// Everybody may publish and subscribe (`--no-acl`).
    package var isOpen = false
    /// Path of the access file; nil: only root and the broker's own uid may do anything.
    package var accessFile: String?
    /// Told to clients; at most 128 bytes.
    package var name: String
    package var version: String
    /// Bytes that may wait for one subscription.
    package var queueBytesMax = Limits.queueBytesPerSubscriptionMax
    /// Connections that may wait to be accepted.
    package var backlog: Int32 = 1_024
    package var pace = Pace()

    /// Path of the file with the links to other brokers; nil: there are none.
    package var linkFile: String?
    /// Told when the broker is ready, and that it lives; nil: nobody asked.
    package var serviceManager: ServiceManager?

    package init(socketPath: String, name: String, version: String) {
        self.socketPath = socketPath
        self.name = name
        self.version = version
    }
}

/// How the reactor divides its time.
package struct Pace: Sendable {
    /// How long it looks for more before it sleeps, while messages come in quick succession.
    package var pollNanosecondsMax: UInt64 = 50_000
    /// How much of its time is for users who want more than others who speak, 1 to 100; 100:
    /// whatever the others do not want.
    package var busyPercentMax = 33

    package init() {}
}

/// Why the broker cannot run, in words that name the fix.
package struct ServerError: Error, CustomStringConvertible {
    package let description: String
    /// Another broker, or another program, listens on the path already.
    package let isSocketInUse: Bool

    init(_ description: String, isSocketInUse: Bool = false) {
        self.description = description
        self.isSocketInUse = isSocketInUse
    }
}
