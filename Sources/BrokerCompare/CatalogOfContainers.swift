extension Catalog {
    static let ofContainers: [Scenario] = []
}
