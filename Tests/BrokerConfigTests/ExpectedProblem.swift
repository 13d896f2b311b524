import Testing

@testable import BrokerConfig

extension [ConfigurationProblem] {
    /// Expects one in that line whose text holds the words.
    func expect(_ line: Int, _ words: String, location: SourceLocation) {
        #expect(
            contains { $0.line == line && $0.text.contains(words) },
            "\(map(\.description))", sourceLocation: location)
    }
}
