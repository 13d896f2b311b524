import ArgumentParser

/// How results are printed. Every rendering switches over this without a default.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable, Sendable {
    case text
    case json
}
