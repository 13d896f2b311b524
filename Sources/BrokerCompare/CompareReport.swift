/// What `broker compare` found: the document that it prints as JSON.
package struct CompareReport: Encodable, Sendable {
    package let kernel: String
    /// /proc/self/uid_map as it is: whose numbers all others are.
    package let uidMap: String
    package let scenarios: [Row]

    package init(kernel: String, uidMap: String, scenarios: [Row]) {
        self.kernel = kernel
        self.uidMap = uidMap
        self.scenarios = scenarios
    }

    package var deviates: Bool { scenarios.contains { $0.status == .deviates } }

    private enum CodingKeys: String, CodingKey {
        case kernel
        case uidMap = "uid_map"
        case scenarios
    }

    /// What became of a scenario.
    package enum Status: String, Encodable, Sendable {
        case ok
        case deviates
        case skipped
    }

    package struct Row: Encodable, Sendable {
        package let name: String
        package let status: Status
        package let connection: Identity?
        package let message: Identity?
        /// The inode number of the sender's process descriptor: unique until reboot.
        package let process: UInt64?
        package let truth: Identity?
        package let verdict: String
        /// What the row teaches; why it was skipped; how it deviates.
        package let why: String
        /// The process that sent is the one that opened the connection; nil: not known.
        package let isOpener: Bool?
        package let explanation: String

        private enum CodingKeys: String, CodingKey {
            case name, status, connection, message, process, truth, verdict, why
        }

        /// All fields are always there; what is not known is null.
        package func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(name, forKey: .name)
            try container.encode(status, forKey: .status)
            try container.encode(connection, forKey: .connection)
            try container.encode(message, forKey: .message)
            try container.encode(process, forKey: .process)
            try container.encode(truth, forKey: .truth)
            try container.encode(verdict, forKey: .verdict)
            try container.encode(why, forKey: .why)
        }
    }
}
