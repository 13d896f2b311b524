import BrokerCompare

/// The rows of `broker compare` for people.
enum CompareText {
    static func table(_ report: CompareReport, explain: Bool) -> String {
        var table = TextTable([
            "SCENARIO", "SO_PEERCRED", "SCM_CREDENTIALS", "PROCESS", "REALLY WROTE", "VERDICT",
        ])
        for row in report.scenarios {
            table.append([
                row.name, row.connection?.text ?? "-", row.message?.text ?? "-",
                process(row), row.truth?.text ?? "-", verdict(row),
            ])
        }
        var lines = table.text.split(separator: "\n").map { String($0) }
        var text = "\(lines.removeFirst())\n"
        for (line, row) in zip(lines, report.scenarios) {
            text += "\(line)\n    \(row.why)\n"
            if explain { text += wrapped(row.explanation) }
        }
        return text + "\n" + summary(report)
    }

    static func list(_ scenarios: [Scenario], explain: Bool) -> String {
        var text = ""
        for scenario in scenarios {
            let needs = scenario.needsText
            text += "\(scenario.name)\(needs.isEmpty ? "" : "  (\(needs))")\n"
            text += "    \(scenario.why)\n"
            if explain { text += wrapped(scenario.explanation) }
        }
        return text
    }

    private static func verdict(_ row: CompareReport.Row) -> String {
        switch row.status {
        case .ok: row.verdict
        case .deviates: "DEVIATES"
        case .skipped: "skipped"
        }
    }

    private static func process(_ row: CompareReport.Row) -> String {
        switch row.isOpener {
        case .some(true): "opener's"
        case .some(false): "another"
        case .none: "-"
        }
    }

    private static func summary(_ report: CompareReport) -> String {
        let counts = [CompareReport.Status.ok, .deviates, .skipped].map { status in
            report.scenarios.count { $0.status == status }
        }
        return "Ids are pid uid gid, as seen from here. Linux \(report.kernel): "
            + "\(counts[0]) as documented, \(counts[1]) deviate, \(counts[2]) skipped.\n"
    }

    /// A paragraph, indented, in lines of up to 78 columns.
    static func wrapped(_ paragraph: String) -> String {
        var text = ""
        var line = "       "
        for word in paragraph.split(separator: " ") {
            if line.count + 1 + word.count > 78 {
                text += line + "\n"
                line = "       "
            }
            line += " " + word
        }
        return text + line + "\n"
    }
}
