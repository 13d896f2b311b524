/// One row of the table: what the broker is loaded with.
struct Scenario {
    let name: String
    /// Sessions that each receive every message.
    let receivers: Int
    /// Filters that match nothing, besides those of the receivers.
    let idleFilters: Int
    /// Different topics, published in turn.
    let topics: Int
    var payloadBytes = 128
    var acknowledge = false
    /// Access rules, one of which concerns those who take part; 0: everybody may everything.
    var rules = 0

    static let all = [
        Scenario(name: "one receiver", receivers: 1, idleFilters: 10, topics: 1),
        Scenario(name: "two receivers", receivers: 2, idleFilters: 10, topics: 1),
        Scenario(name: "eight receivers", receivers: 8, idleFilters: 10, topics: 1),
        Scenario(name: "no receiver", receivers: 0, idleFilters: 10, topics: 1),
        Scenario(name: "acknowledged", receivers: 1, idleFilters: 10, topics: 1, acknowledge: true),
        Scenario(name: "10,000 filters", receivers: 1, idleFilters: 10_000, topics: 1),
        Scenario(name: "1,000 topics", receivers: 1, idleFilters: 10, topics: 1_000),
        Scenario(
            name: "1,000 topics, 10,000 filters", receivers: 1, idleFilters: 10_000,
            topics: 1_000),
        Scenario(name: "20,000 topics", receivers: 1, idleFilters: 10, topics: 20_000),
        Scenario(
            name: "1,024 bytes", receivers: 1, idleFilters: 10, topics: 1, payloadBytes: 1_024),
        Scenario(name: "10 rules", receivers: 1, idleFilters: 10, topics: 1, rules: 10),
        Scenario(name: "10,000 rules", receivers: 1, idleFilters: 10, topics: 1, rules: 10_000),
    ]

    /// What DESIGN allows for 128 bytes: 60 ns a message and 15 ns for each further receiver.
    var budgetNanoseconds: Double {
        60 + 15 * Double(max(0, receivers - 1))
    }
}

struct Measurement {
    let scenario: Scenario
    let nanosecondsPerMessage: Double
    let allocationsPerMessage: Double
}
