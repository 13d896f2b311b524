import BrokerCompare
import LinuxIO

/// `broker compare --cost`: nanoseconds per message of each way to know the sender.
struct CompareCost {
    let format: OutputFormat

    func run() throws {
        let report: CostReport
        do {
            report = try CostMeasurement(features: KernelFeatures.probe()).run()
        } catch {
            throw CommandFailure(.failure, "cannot measure: \(error)")
        }
        switch format {
        case .text: try Output().write(Self.text(report))
        case .json: try Output().write(try prettyJSON(report))
        }
    }

    private static let barColumns = 30

    static func text(_ report: CostReport) -> String {
        let none = report.mechanisms.first?.nanoseconds ?? 0
        let most = report.mechanisms.compactMap(\.nanoseconds).max() ?? 1
        var table = TextTable(["MECHANISM", "NS/MESSAGE", "MORE", "", "KNOWS"])
        for row in report.mechanisms {
            guard let nanoseconds = row.nanoseconds else {
                table.append([row.name, "-", "-", "not in this kernel", row.knows])
                continue
            }
            table.append([
                row.name, "\(Int(nanoseconds.rounded()))", more(nanoseconds - none),
                bar(nanoseconds / most), row.knows,
            ])
        }
        return table.text + """

            One thread sends itself \(report.messages) messages of \(report.messageBytes) bytes \
            in each way and receives each at once; the best of the rounds. Linux \
            \(report.kernel).

            """
    }

    private static func more(_ nanoseconds: Double) -> String {
        let whole = Int(nanoseconds.rounded())
        return whole > 0 ? "+\(whole)" : "\(whole)"
    }

    private static func bar(_ share: Double) -> String {
        let columns = Int((share * Double(barColumns)).rounded())
        return String(repeating: "▇", count: min(barColumns, max(1, columns)))
    }
}
