import ArgumentParser
import BrokerConfig
import LinuxIO

/// `broker acl lint`
struct AclLint: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lint", abstract: "Look for rules that are probably not meant",
        discussion: """
            Rules that never hold or add nothing, that reach further than they need to, and users \
            that are not there. Ends with status 1 if something was found.
            """)

    @OptionGroup var file: AccessFileOption

    init() {}

    func run() throws {
        let findings = AccessLint(try file.load().file) { Users.name(ofUser: $0) }.findings
        let lines = findings.map { finding in
            finding.line == 0
                ? "\(file.path): \(finding.text)\n"
                : "\(file.path):\(finding.line): \(finding.text)\n"
        }
        try Output().write(lines.joined())
        if !findings.isEmpty { throw CommandFailure(.failure, "") }
    }
}
