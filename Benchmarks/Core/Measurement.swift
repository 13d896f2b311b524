/// What one message took in a scenario.
struct Measurement {
    let scenario: Scenario
    let nanosecondsPerMessage: Double
    let allocationsPerMessage: Double
}

extension Double {
    /// With so many digits behind the point: Foundation is no part of a benchmark of the core.
    func text(_ digits: Int) -> String {
        var scale = 1
        for _ in 0..<digits { scale *= 10 }
        let scaled = Int(self * Double(scale) + 0.5)
        if digits == 0 { return String(scaled) }
        let fraction = String(scaled % scale + scale).dropFirst()
        return "\(scaled / scale).\(fraction)"
    }
}
