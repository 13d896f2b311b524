/// All scenarios, in the order in which they tell the story.
package enum Catalog {
    package static let all: [Scenario] =
        ofProcesses + ofWriters + ofIDs + ofClaims + ofNamespaces + ofRings + ofContainers

    // The containers come last: they take longest and are most often skipped.

    /// The scenarios of these names, in the order of the names; all without names.
    ///
    /// - Returns: nil in place of the scenarios, and the first name that there is not.
    package static func named(_ names: [String]) -> (scenarios: [Scenario]?, unknown: String?) {
        if names.isEmpty { return (all, nil) }
        var scenarios: [Scenario] = []
        for name in names {
            guard let scenario = all.first(where: { $0.name == name }) else {
                return (nil, name)
            }
            scenarios.append(scenario)
        }
        return (scenarios, nil)
    }
}
