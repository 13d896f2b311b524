import CMeasurement

/// What one message costs while one thing grows and all others stay.
struct Curve {
    let name: String
    /// What grows.
    let axis: String
    let unit: String
    let sizes: [Int]
    let measure: (Int) -> Double

    static var all: [Curve] {
        [
            message(
                "receivers", axis: "subscribers that receive it",
                sizes: [1, 3, 10, 30, 100, 300, 1_000]
            ) {
                $0.receivers = $1
            },
            message("filters", axis: "filters of others", sizes: decades(10, 100_000)) {
                $0.idleFilters = $1
            },
            message(
                "filters, each topic new", axis: "filters of others", sizes: decades(10, 100_000)
            ) {
                $0.idleFilters = $1
                $0.topics = 400
                $0.change = .filters
            },
            message("rules", axis: "access rules", sizes: decades(10, 10_000)) { $0.rules = $1 },
            message("rules, each topic new", axis: "access rules", sizes: decades(10, 10_000)) {
                $0.rules = $1
                $0.topics = 400
                $0.change = .filters
            },
            message("sessions", axis: "idle sessions in the core", sizes: decades(10, 10_000)) {
                $0.idleSessions = $1
            },
            message("topics", axis: "topics in use", sizes: decades(1, 100_000)) { $0.topics = $1 },
            message(
                "message size", axis: "bytes of payload",
                sizes: [16, 64, 256, 1_024, 4_096, 16_384, 65_536]
            ) {
                $0.payloadBytes = $1
            },
            change("change of a filter", axis: "filters of others", sizes: decades(10, 100_000)) {
                $0.idleFilters = $1
                $0.change = .filters
            },
            change("change of rules", axis: "access rules", sizes: decades(10, 10_000)) {
                $0.rules = $1
                $0.change = .rules
            },
            change(
                "change of rules, filters", axis: "filters of live subscriptions",
                sizes: decades(10, 100_000)
            ) {
                $0.idleFilters = $1
                $0.rules = 10
                $0.change = .rules
            },
            memory(
                "memory of a session", axis: "idle sessions in the core", sizes: [1_000, 10_000]
            ) {
                Load(Scenario(name: "", idleSessions: $0)).bytesPerIdleSession
            },
            memory(
                "memory of a filter", axis: "filters, ten to a subscription",
                sizes: [1_000, 10_000, 100_000]
            ) {
                Load(Scenario(name: "", idleFilters: $0)).bytesPerIdleSubscription / 10
            },
        ]
    }

    private static func message(
        _ name: String, axis: String, sizes: [Int], _ set: @escaping (inout Scenario, Int) -> Void
    ) -> Curve {
        Curve(name: name, axis: axis, unit: "ns a message", sizes: sizes) { size in
            var scenario = Scenario(name: name)
            set(&scenario, size)
            var load = Load(scenario)
            let messages = 400_000 / max(1, scenario.receivers / 4, scenario.payloadBytes / 512)
            return load.measure(messages: messages, repeats: 5).nanosecondsPerMessage
        }
    }

    /// Nanoseconds of the change itself.
    private static func change(
        _ name: String, axis: String, sizes: [Int], _ set: @escaping (inout Scenario, Int) -> Void
    ) -> Curve {
        Curve(name: name, axis: axis, unit: "ns a change", sizes: sizes) { size in
            var scenario = Scenario(name: name)
            set(&scenario, size)
            var load = Load(scenario)
            var best = Double.infinity
            for _ in 0..<50 {
                load.run(rounds: 1)
                let start = cmeasurement_nanoseconds()
                load.change(scenario.change)
                best = min(best, Double(cmeasurement_nanoseconds() - start))
            }
            return best
        }
    }

    private static func memory(
        _ name: String, axis: String, sizes: [Int], _ measure: @escaping (Int) -> Double
    ) -> Curve {
        Curve(name: name, axis: axis, unit: "bytes", sizes: sizes, measure: measure)
    }

    /// 10, 30, 100, 300, …
    private static func decades(_ first: Int, _ last: Int) -> [Int] {
        var sizes: [Int] = []
        var decade = first
        while decade <= last {
            sizes += [decade, 3 * decade]
            decade *= 10
        }
        return sizes.filter { $0 <= last }
    }

    static func json(of curves: [Curve]) -> String {
        let items = curves.map { curve in
            let points = curve.sizes.map { "[\($0), \(curve.measure($0).text(2))]" }
            return "  {\"name\": \"\(curve.name)\", \"axis\": \"\(curve.axis)\", "
                + "\"unit\": \"\(curve.unit)\",\n   \"points\": ["
                + points.joined(separator: ", ") + "]}"
        }
        return "[\n" + items.joined(separator: ",\n") + "\n]"
    }
}
