import Foundation

/// What `broker compare --format json` printed.
struct PrintedReport: Decodable {
    let kernel: String
    let uidMap: String
    let scenarios: [PrintedRow]

    private enum CodingKeys: String, CodingKey {
        case kernel
        case uidMap = "uid_map"
        case scenarios
    }

    init(_ text: String) throws {
        self = try JSONDecoder().decode(PrintedReport.self, from: Data(text.utf8))
    }
}

struct PrintedRow: Decodable {
    let name: String
    let status: String
    let connection: IDs?
    let message: IDs?
    let process: UInt64?
    let truth: IDs?
    let verdict: String
    let why: String
}

struct IDs: Decodable, Equatable, CustomStringConvertible {
    let pid: Int32
    let uid: UInt32
    let gid: UInt32

    var description: String { "\(pid) \(uid) \(gid)" }
}

/// What a process printed of itself: `WORD pid uid gid euid egid`.
struct Said {
    let word: String
    let real: IDs
    let effective: IDs

    init?(_ line: String) {
        let fields = line.split(separator: " ")
        let numbers = fields.dropFirst().compactMap { UInt32($0) }
        guard fields.count == 6, numbers.count == 5 else { return nil }
        word = String(fields[0])
        real = IDs(pid: Int32(numbers[0]), uid: numbers[1], gid: numbers[2])
        effective = IDs(pid: Int32(numbers[0]), uid: numbers[3], gid: numbers[4])
    }
}

/// One run of all scenarios, with what their processes said on standard error.
struct WholeRun {
    let result: BrokerProgram.Result
    let report: PrintedReport
    private let said: [String: [String: Said]]

    init(through launcher: [String] = []) throws {
        result = try BrokerProgram.run(
            ["compare", "--format", "json", "--verbose"], through: launcher)
        report = try PrintedReport(result.output)
        var said: [String: [String: Said]] = [:]
        for line in result.errors.split(separator: "\n") {
            let parts = line.components(separatedBy: ": ")
            guard parts.count == 3, let words = Said(parts[2]) else { continue }
            said[parts[1], default: [:]][words.word] = words
        }
        self.said = said
    }

    func row(_ name: String) -> PrintedRow? {
        report.scenarios.first { $0.name == name }
    }

    func said(_ word: String, in scenario: String) -> Said? {
        said[scenario]?[word]
    }

    /// As the user who runs the tests.
    static let own = Result { try WholeRun() }
    /// As a user without privilege, for root.
    static let ordinary = Result { try WholeRun(through: isRoot ? asSomeUser : []) }
}
