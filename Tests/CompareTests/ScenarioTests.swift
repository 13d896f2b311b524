import Foundation
import LinuxIO
import Testing

/// What the printed rows must be, in terms of what the processes printed of themselves.
private struct Documented: Sendable, CustomTestStringConvertible {
    enum IDsOf: Sendable {
        case effective(String)
        case real(String)
        case nobody
    }

    let name: String
    let connection: IDsOf
    let message: IDsOf
    let needsRoot: Bool

    init(_ name: String, _ connection: IDsOf, _ message: IDsOf, needsRoot: Bool = false) {
        self.name = name
        self.connection = connection
        self.message = message
        self.needsRoot = needsRoot
    }

    var testDescription: String { name }

    static let all: [Documented] = [
        Documented("same-process", .effective("opener"), .real("writer")),
        Documented("forked-child", .effective("opener"), .real("writer")),
        Documented("exec", .effective("opener"), .real("writer")),
        Documented("handed-over", .effective("opener"), .real("writer")),
        Documented("opener-exited", .effective("opener"), .real("writer")),
        Documented("pid-reused", .effective("opener"), .real("writer"), needsRoot: true),
        Documented("confused-deputy", .effective("opener"), .real("writer")),
        Documented("before-accept", .effective("opener"), .real("writer")),
        Documented("asked-late", .effective("opener"), .nobody),
        Documented("torn-stream", .effective("opener"), .real("writer")),
        Documented("whole-packets", .effective("opener"), .real("writer")),
        Documented("setuid-drop", .effective("opener"), .real("writer"), needsRoot: true),
        Documented("seteuid", .effective("opener"), .real("writer"), needsRoot: true),
        Documented("set-uid-program", .effective("opener"), .real("writer"), needsRoot: true),
        Documented("thread", .effective("opener"), .real("writer"), needsRoot: true),
        Documented("claim-own", .effective("opener"), .real("claim")),
        Documented("claim-refused", .effective("opener"), .real("writer")),
        Documented("claim-by-root", .effective("opener"), .real("claim"), needsRoot: true),
        Documented("user-namespace", .effective("writer"), .real("writer")),
        Documented("user-namespace-unmapped", .effective("writer"), .real("writer")),
        Documented("user-namespace-range", .effective("writer"), .real("writer"), needsRoot: true),
        Documented("user-namespace-claim", .effective("writer"), .real("claim"), needsRoot: true),
        Documented("pid-namespace", .effective("writer"), .real("writer"), needsRoot: true),
        Documented("sqpoll-drop", .effective("opener"), .real("ring"), needsRoot: true),
        Documented("sqpoll-shared", .effective("opener"), .real("ring")),
    ]
}

@Suite("Scenarios, against what their processes say of themselves")
struct ScenarioTests {
    @Test("a row shows the ids that its processes printed", arguments: Documented.all)
    private func row(_ documented: Documented) throws {
        for run in [try WholeRun.own.get(), try WholeRun.ordinary.get()] {
            let row = try #require(run.row(documented.name))
            if row.status == "skipped" {
                #expect(documented.needsRoot, "\(row.why)")
                continue
            }
            #expect(row.status == "ok", "\(row.why)")
            #expect(row.truth == run.said("writer", in: row.name)?.real)
            #expect(row.truth != nil)
            #expect(row.connection == ids(documented.connection, run, row.name))
            #expect(row.message == ids(documented.message, run, row.name))
        }
    }

    private func ids(
        _ whose: Documented.IDsOf, _ run: WholeRun, _ scenario: String
    ) -> IDs? {
        switch whose {
        case .effective(let word): run.said(word, in: scenario)?.effective
        case .real(let word): run.said(word, in: scenario)?.real
        case .nobody: IDs(pid: 0, uid: 65534, gid: 65534)
        }
    }

    @Test("the claimed pid of a namespace is not the writer's")
    func pidClaim() throws {
        let row = try #require(try WholeRun.own.get().row("pid-claim"))
        #expect(row.status == "ok", "\(row.why)")
        #expect(row.message?.pid != row.truth?.pid)
        #expect(row.message?.uid == row.truth?.uid)
        #expect(row.connection == row.truth)
    }

    @Test("root sees every row as documented", .enabled(if: isRoot))
    func asRoot() throws {
        let run = try WholeRun.own.get()
        #expect(run.result.status == 0)
        let local = run.report.scenarios.filter { row in
            !row.name.hasPrefix("podman") && !row.name.hasPrefix("docker")
        }
        #expect(local.count == Documented.all.count + 1)
        for row in local { #expect(row.status == "ok", "\(row.name): \(row.why)") }
    }

    @Test("an ordinary user sees ten rows and more, and why the others are skipped")
    func asOrdinaryUser() throws {
        let run = try WholeRun.ordinary.get()
        #expect(run.result.status == 0, "\(run.result.output)")
        #expect(run.report.scenarios.count { $0.status == "ok" } >= 10)
        for row in run.report.scenarios where row.status == "skipped" {
            #expect(row.why.hasPrefix("needs ") || row.why.hasPrefix("not possible"))
            #expect(row.truth == nil)
        }
        let user = isRoot ? UInt32(someUser) : CurrentProcess.userID
        for row in run.report.scenarios where row.truth != nil {
            #expect(row.truth?.uid == user)
        }
    }

    @Test(
        "the two identities differ", .enabled(if: isRoot),
        arguments: [
            ("setuid-drop", "rely on the message"), ("seteuid", "rely on the weaker of both"),
            ("handed-over", "rely on the message"), ("pid-reused", "rely on the message"),
            ("confused-deputy", "rely on the weaker of both"),
            ("sqpoll-drop", "rely on the weaker of both"),
        ])
    func differ(_ name: String, _ verdict: String) throws {
        let row = try #require(try WholeRun.own.get().row(name))
        #expect(row.connection?.uid != row.message?.uid)
        #expect(row.verdict == verdict)
    }

    @Test("a reused pid is the same number with another process behind it", .enabled(if: isRoot))
    func reusedPID() throws {
        let row = try #require(try WholeRun.own.get().row("pid-reused"))
        #expect(row.connection?.pid == row.message?.pid)
        #expect(row.connection?.uid != row.message?.uid)
        let table = try BrokerProgram.run(["compare", "pid-reused"])
        #expect(table.output.contains("another") || !KernelFeatures.probe().pidfdInode)
    }

    @Test(
        "nothing deviates where less is allowed; what cannot be done is skipped",
        .enabled(if: isRoot),
        arguments: [
            ["/usr/bin/unshare", "-Ur"],
            ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all"],
            ["/usr/bin/unshare", "--pid", "--fork", "--mount-proc"],
            asSomeUser + ["/usr/bin/unshare", "-U"],
            asSomeUser + ["/usr/bin/unshare", "-U", "--map-user=1000"],
        ])
    func restricted(_ launcher: [String]) throws {
        let local = Documented.all.map(\.name) + ["pid-claim"]
        let result = try BrokerProgram.run(
            ["compare", "--format", "json"] + local, through: launcher)
        #expect(result.status == 0, "\(result.errors)")
        let rows = try PrintedReport(result.output).scenarios
        for row in rows { #expect(row.status != "deviates", "\(row.name): \(row.why)") }
        #expect(rows.count { $0.status == "ok" } >= 10)
    }

    @Test("the report names the kernel and the uid map it was made under")
    func header() throws {
        let report = try WholeRun.own.get().report
        let release = try String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8)
        #expect(report.kernel + "\n" == release)
        let map = try String(contentsOfFile: "/proc/self/uid_map", encoding: .utf8)
        #expect(report.uidMap.split(separator: " ") == map.split(whereSeparator: \.isWhitespace))
    }

    @Test("all fields are in every object, skipped or not")
    func fields() throws {
        let text = try WholeRun.ordinary.get().result.output
        let document = try JSONSerialization.jsonObject(with: Data(text.utf8))
        let rows = try #require((document as? [String: Any])?["scenarios"] as? [[String: Any]])
        let names: Set = [
            "name", "status", "connection", "message", "process", "truth", "verdict", "why",
        ]
        for row in rows { #expect(Set(row.keys) == names) }
    }
}

@Suite("The command line of compare")
struct CompareCommandTests {
    @Test("an unknown scenario is wrong usage and is named")
    func unknown() throws {
        let result = try BrokerProgram.run(["compare", "no-such"])
        #expect(result.status == 64)
        #expect(result.errors.contains("'no-such'"))
        #expect(result.output.isEmpty)
    }

    @Test("--list names all scenarios and runs none")
    func list() throws {
        let result = try BrokerProgram.run(["compare", "--list"])
        #expect(result.status == 0)
        let lines = result.output.split(separator: "\n")
        for row in Documented.all {
            #expect(lines.contains { $0 == row.name || $0.hasPrefix(row.name + "  (") })
        }
    }

    @Test("the table has a line of why for each row, and a paragraph on demand")
    func table() throws {
        let brief = try BrokerProgram.run(["compare", "same-process", "exec"])
        #expect(brief.status == 0)
        let lines = brief.output.split(separator: "\n")
        #expect(lines[0].hasPrefix("SCENARIO"))
        #expect(lines[1].hasPrefix("same-process"))
        #expect(lines[3].hasPrefix("exec"))
        #expect(brief.output.contains("2 as documented, 0 deviate, 0 skipped"))
        let explained = try BrokerProgram.run(["compare", "exec", "--explain"])
        #expect(explained.output.contains("execve(2)"))
    }
}
