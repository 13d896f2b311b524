/// How long the core takes for one message: decode, decide, route, append.
///
///     CoreBenchmark [--format text|json] [--only NAME]    time and allocations
///     CoreBenchmark --count MESSAGES [--only NAME]        fixed work, for the guard
///     CoreBenchmark --list                                names of the scenarios
///     CoreBenchmark --curves [--only NAME]                cost against size, as JSON
@main
enum CoreBenchmark {
    static func main() {
        let arguments = CommandLine.arguments
        let only = value(of: "--only", in: arguments)
        let scenarios = Scenario.all.filter { only == nil || $0.name == only }
        if let messages = value(of: "--count", in: arguments).flatMap({ Int($0) }) {
            count(scenarios, messages: messages)
        } else if arguments.contains("--list") {
            for scenario in scenarios { print(scenario.name) }
        } else if arguments.contains("--curves") {
            print(Curve.json(of: Curve.all.filter { only == nil || $0.name == only }))
        } else {
            measure(scenarios, asJSON: value(of: "--format", in: arguments) == "json")
        }
    }

    private static func value(of option: String, in arguments: [String]) -> String? {
        guard let index = arguments.firstIndex(of: option) else { return nil }
        return arguments.dropFirst(index + 1).first
    }

    /// The same work whenever it is run, in a function that callgrind is told to count.
    private static func count(_ scenarios: [Scenario], messages: Int) {
        for scenario in scenarios {
            var load = Load(scenario)
            let rounds = max(1, messages / load.messagesPerRound)
            // What grows has grown.
            load.run(rounds: max(2, rounds / 4))
            let allocations = load.countedRounds(rounds)
            print("\(scenario.name)\t\(rounds * load.messagesPerRound)\t\(allocations)")
        }
    }

    private static func measure(_ scenarios: [Scenario], asJSON: Bool) {
        let measurements = scenarios.map { scenario in
            var load = Load(scenario)
            return load.measure()
        }
        if asJSON { printJSON(measurements) } else { printTable(measurements) }
    }

    private static func printTable(_ measurements: [Measurement]) {
        print(row("scenario", "ns/message", "budget", "allocations/message"))
        for measurement in measurements {
            let isBudgeted = measurement.scenario.payloadBytes == 128
            print(
                row(
                    measurement.scenario.name, measurement.nanosecondsPerMessage.text(1),
                    isBudgeted ? measurement.scenario.budgetNanoseconds.text(0) : "-",
                    measurement.allocationsPerMessage.text(4)))
        }
    }

    private static func row(_ columns: String...) -> String {
        let widths = [30, 12, 8, 21]
        return zip(columns, widths).enumerated().map { index, cell in
            let padding = String(repeating: " ", count: max(0, cell.1 - cell.0.count))
            return index == 0 ? cell.0 + padding : padding + cell.0
        }.joined()
    }

    private static func printJSON(_ measurements: [Measurement]) {
        let items = measurements.map { measurement in
            "  {\"scenario\": \"\(measurement.scenario.name)\", "
                + "\"nanosecondsPerMessage\": \(measurement.nanosecondsPerMessage.text(2)), "
                + "\"allocationsPerMessage\": \(measurement.allocationsPerMessage.text(6))}"
        }
        print("[\n" + items.joined(separator: ",\n") + "\n]")
    }
}
