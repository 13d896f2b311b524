import TestSupport

/// Names and filters from a small alphabet, so that they often meet.
enum RandomTopic {
    private static let levels = ["a", "b", "c", "", "é", "$x"]

    static func name(_ random: inout SeededRandom) -> String {
        while true {
            let name = (0..<random.int(in: 1...4)).map { _ in random.pick(levels) }
                .joined(separator: "/")
            if !name.isEmpty { return random.oneIn(40) ? name + "/" + longLevel : name }
        }
    }

    static func filter(_ random: inout SeededRandom) -> String {
        if random.oneIn(6) { return "#" }
        var parts = (0..<random.int(in: 1...4)).map { _ in
            random.oneIn(3) ? "+" : random.pick(levels)
        }
        if random.oneIn(4) { parts.append("#") }
        if random.oneIn(20) { parts.append(longLevel) }
        if parts.contains("#") { parts = Array(parts.prefix { $0 != "#" }) + ["#"] }
        let filter = parts.joined(separator: "/")
        return filter.isEmpty ? "+" : filter
    }

    /// Longer than the topics that the route cache keeps.
    private static let longLevel = String(repeating: "long", count: 40)
}
