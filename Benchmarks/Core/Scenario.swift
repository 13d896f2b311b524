/// What the broker is loaded with, and what is published.
struct Scenario {
    /// Something that takes place after each packet of messages.
    enum Change: String {
        case none
        /// A subscription comes, and the one before it goes.
        case filters
        /// The same rules are put in force anew.
        case rules
    }

    var name: String
    /// Sessions that each receive every message.
    var receivers = 1
    /// Filters that match nothing, besides those of the receivers.
    var idleFilters = 10
    /// Sessions that do nothing.
    var idleSessions = 0
    /// Different topics, published in turn.
    var topics = 1
    var payloadBytes = 128
    /// Messages in a packet; nil: as many as fit.
    var messagesPerPacket: Int?
    /// Packets that are taken in before what is queued is sent.
    var packetsPerOutput = 1
    var acknowledge = false
    /// Access rules, one of which concerns those who take part; 0: everybody may everything.
    var rules = 0
    var change = Change.none

    /// The rows of the table, and what the guard counts.
    static let all = [
        Scenario(name: "one receiver"),
        Scenario(name: "two receivers", receivers: 2),
        Scenario(name: "eight receivers", receivers: 8),
        Scenario(name: "no receiver", receivers: 0),
        Scenario(name: "acknowledged", acknowledge: true),
        Scenario(name: "10,000 filters", idleFilters: 10_000),
        Scenario(name: "1,000 topics", topics: 1_000),
        Scenario(name: "1,000 topics, 10,000 filters", idleFilters: 10_000, topics: 1_000),
        Scenario(name: "20,000 topics", topics: 20_000),
        Scenario(name: "1,024 bytes", payloadBytes: 1_024),
        Scenario(name: "one message in a packet", messagesPerPacket: 1),
        Scenario(
            name: "one message in a packet, gathered", messagesPerPacket: 1, packetsPerOutput: 64),
        Scenario(name: "10 rules", rules: 10),
        Scenario(name: "10,000 rules", rules: 10_000),
        Scenario(name: "each topic new", topics: 1_000, change: .filters),
        Scenario(name: "each topic new, 100 rules", topics: 1_000, rules: 100, change: .filters),
    ]

    /// What the design allows for 128 bytes: 60 ns a message and 15 ns for each further receiver.
    var budgetNanoseconds: Double {
        60 + 15 * Double(max(0, receivers - 1))
    }
}
