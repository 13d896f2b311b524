/// How long the core takes for one message: decode, decide, route, append.
///
///     CoreBenchmark [--format text|json] [--only NAME]
@main
enum CoreBenchmark {
    static func main() {
        let arguments = CommandLine.arguments
        let only = value(of: "--only", in: arguments)
        let measurements = Scenario.all
            .filter { only == nil || $0.name == only }
            .map { scenario in
                var load = Load(scenario)
                return load.measure(scenario)
            }
        if value(of: "--format", in: arguments) == "json" {
            printJSON(measurements)
        } else {
            printTable(measurements)
        }
    }

    private static func value(of option: String, in arguments: [String]) -> String? {
        guard let index = arguments.firstIndex(of: option) else { return nil }
        return arguments.dropFirst(index + 1).first
    }

    private static func printTable(_ measurements: [Measurement]) {
        print(row("scenario", "ns/message", "budget", "allocations/message"))
        for measurement in measurements {
            let isBudgeted = measurement.scenario.payloadBytes == 128
            print(
                row(
                    measurement.scenario.name, rounded(measurement.nanosecondsPerMessage, 1),
                    isBudgeted ? rounded(measurement.scenario.budgetNanoseconds, 0) : "-",
                    rounded(measurement.allocationsPerMessage, 4)))
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
                + "\"nanosecondsPerMessage\": \(rounded(measurement.nanosecondsPerMessage, 2)), "
                + "\"allocationsPerMessage\": \(rounded(measurement.allocationsPerMessage, 6))}"
        }
        print("[\n" + items.joined(separator: ",\n") + "\n]")
    }

    private static func rounded(_ value: Double, _ digits: Int) -> String {
        var scale = 1
        for _ in 0..<digits { scale *= 10 }
        let scaled = Int(value * Double(scale) + 0.5)
        if digits == 0 { return String(scaled) }
        let fraction = String(scaled % scale + scale).dropFirst()
        return "\(scaled / scale).\(fraction)"
    }
}
