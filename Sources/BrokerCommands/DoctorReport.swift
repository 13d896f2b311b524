import LinuxIO

/// One thing that was looked at, and what it means.
struct DoctorFinding: Encodable, Equatable {
    enum State: String, Encodable {
        case ok
        /// A guarantee holds in part, or a limit is low.
        case warn
        /// A guarantee does not hold.
        case missing
    }

    let name: String
    let state: State
    let value: String
    /// What it means for the guarantees.
    let meaning: String
    /// How to change it; nil if there is nothing to change.
    let fix: String?

    init(_ name: String, _ state: State, _ value: String, _ meaning: String, fix: String? = nil) {
        self.name = name
        self.state = state
        self.value = value
        self.meaning = meaning
        self.fix = state == .ok ? nil : fix
    }

    private enum CodingKeys: String, CodingKey {
        case name, state, value, meaning, fix
    }

    /// `fix` is there also when it is null: every finding has the same fields.
    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(name, forKey: .name)
        try container.encode(state, forKey: .state)
        try container.encode(value, forKey: .value)
        try container.encode(meaning, forKey: .meaning)
        try container.encode(fix, forKey: .fix)
    }
}

/// What `broker doctor` found.
struct DoctorReport {
    let kernelRelease: String
    var findings: [DoctorFinding]

    init(kernelRelease: String, findings: [DoctorFinding]) {
        self.kernelRelease = kernelRelease
        self.findings = findings
    }

    init(_ features: KernelFeatures) {
        kernelRelease = features.kernelRelease
        findings = KernelFindings(features).all
    }

    /// Nothing is missing that a guarantee rests on.
    var isSound: Bool { findings.allSatisfy { $0.state != .missing } }

    func render(_ format: OutputFormat) throws -> String {
        switch format {
        case .text: text
        case .json:
            try prettyJSON(
                Document(checks: findings, kernel: kernelRelease, ok: isSound))
        }
    }

    private struct Document: Encodable {
        let checks: [DoctorFinding]
        let kernel: String
        let ok: Bool
    }

    private var text: String {
        let width = findings.map(\.name.count).max() ?? 0
        var text = "Linux \(Printable.escaped(kernelRelease))\n\n"
        for finding in findings {
            let state = finding.state.rawValue.padded(to: 7)
            let name = finding.name.padded(to: width)
            text += "\(state)  \(name)  \(Printable.escaped(finding.value))\n"
            let indent = String(repeating: " ", count: 9)
            text += "\(indent)\(Printable.escaped(finding.meaning))\n"
            if let fix = finding.fix { text += "\(indent)fix: \(Printable.escaped(fix))\n" }
        }
        return text + "\n" + verdict + "\n"
    }

    private var verdict: String {
        let missing = findings.filter { $0.state == .missing }.map(\.name)
        if !missing.isEmpty {
            return "A guarantee is broken here: " + missing.joined(separator: ", ") + "."
        }
        let warned = findings.filter { $0.state == .warn }.map(\.name)
        if warned.isEmpty { return "Everything the guarantees rest on is here." }
        return "The guarantees hold; look at: " + warned.joined(separator: ", ") + "."
    }
}

extension String {
    fileprivate func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}
