/// Counters since the broker started. Every message, refusal and loss is in one of them.
package struct Statistics: Equatable, Sendable {
    package internal(set) var packetsReceived: UInt64 = 0
    package internal(set) var bytesReceived: UInt64 = 0
    package internal(set) var packetsSent: UInt64 = 0
    package internal(set) var bytesSent: UInt64 = 0
    package internal(set) var messagesAccepted: UInt64 = 0
    package internal(set) var messagesDelivered: UInt64 = 0
    package internal(set) var messagesDelegated: UInt64 = 0
    package internal(set) var messagesLost: UInt64 = 0
    package internal(set) var publishesRefused: UInt64 = 0
    package internal(set) var subscribesRefused: UInt64 = 0
    package internal(set) var requestsRefused: UInt64 = 0
    package internal(set) var packetsMalformed: UInt64 = 0
    package internal(set) var packetsUnattested: UInt64 = 0
    package internal(set) var packetsEmpty: UInt64 = 0
    package internal(set) var packetsIgnored: UInt64 = 0
    package internal(set) var descriptorsClosed: UInt64 = 0
    package internal(set) var connectionsAccepted: UInt64 = 0
    package internal(set) var connectionsRefused: UInt64 = 0
    package internal(set) var connectionsHeld: UInt64 = 0
    package internal(set) var handshakesTimedOut: UInt64 = 0
    package internal(set) var subscribersTooSlow: UInt64 = 0
    package internal(set) var publishersPaused: UInt64 = 0
    package internal(set) var routeCacheMisses: UInt64 = 0
    package internal(set) var policyChanges: UInt64 = 0
    package internal(set) var subscriptionsEnded: UInt64 = 0
    package internal(set) var deliveriesWithdrawn: UInt64 = 0
    package internal(set) var messagesRemote: UInt64 = 0
    package internal(set) var linkFaults: UInt64 = 0

    /// All counters by name, for status and `$SYS/broker/counters/…`.
    package var named: [(name: String, value: UInt64)] {
        [
            ("packetsReceived", packetsReceived), ("bytesReceived", bytesReceived),
            ("packetsSent", packetsSent), ("bytesSent", bytesSent),
            ("messagesAccepted", messagesAccepted), ("messagesDelivered", messagesDelivered),
            ("messagesDelegated", messagesDelegated), ("messagesLost", messagesLost),
            ("publishesRefused", publishesRefused), ("subscribesRefused", subscribesRefused),
            ("requestsRefused", requestsRefused), ("packetsMalformed", packetsMalformed),
            ("packetsUnattested", packetsUnattested), ("packetsEmpty", packetsEmpty),
            ("packetsIgnored", packetsIgnored), ("descriptorsClosed", descriptorsClosed),
            ("connectionsAccepted", connectionsAccepted),
            ("connectionsRefused", connectionsRefused), ("connectionsHeld", connectionsHeld),
            ("handshakesTimedOut", handshakesTimedOut),
            ("subscribersTooSlow", subscribersTooSlow), ("publishersPaused", publishersPaused),
            ("routeCacheMisses", routeCacheMisses), ("policyChanges", policyChanges),
            ("subscriptionsEnded", subscriptionsEnded),
            ("deliveriesWithdrawn", deliveriesWithdrawn), ("messagesRemote", messagesRemote),
            ("linkFaults", linkFaults),
        ]
    }
}
