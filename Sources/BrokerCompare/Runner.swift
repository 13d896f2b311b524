package import LinuxIO
import SystemPackage

/// Plays scenarios one after the other and holds what was seen against what is documented.
package struct Runner {
    private let features: KernelFeatures
    private let release: KernelRelease
    private let isRoot: Bool
    private let transcript: (String) -> Void

    /// - Parameter transcript: told every line that a process prints, behind the name of the
    ///   scenario that it plays in.
    package init(features: KernelFeatures, transcript: @escaping (String) -> Void) {
        self.features = features
        self.transcript = transcript
        isRoot =
            CurrentProcess.effectiveUserID == 0 && features.uidMapIsIdentity
            && CurrentProcess.mayTakeAnyID
        release = KernelRelease(features.kernelRelease)
    }

    package func run(_ scenarios: [Scenario]) -> CompareReport {
        CompareReport(
            kernel: features.kernelRelease, uidMap: Self.singleSpaced(features.uidMap),
            scenarios: scenarios.map { run($0) })
    }

    /// The lines of /proc/self/uid_map without their columns.
    private static func singleSpaced(_ map: String) -> String {
        map.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
            .joined(separator: "\n")
    }

    private func run(_ scenario: Scenario) -> CompareReport.Row {
        if let missing = scenario.needs.lazy.compactMap({ missing($0) }).first {
            return row(scenario, .skipped, Observation(), why: missing)
        }
        do {
            let stage = try Stage(isRoot: isRoot) { [transcript] line in
                transcript("\(scenario.name): \(line)")
            }
            let observation = try scenario.play(stage)
            let deviations = observation.deviations + differences(scenario, observation)
            guard deviations.isEmpty else {
                return row(
                    scenario, .deviates, observation, why: deviations.joined(separator: "; "))
            }
            return row(scenario, .ok, observation, why: scenario.why)
        } catch let skipped as ScenarioSkipped {
            return row(scenario, .skipped, Observation(), why: "not possible: \(skipped.reason)")
        } catch let broken as ScenarioBroken {
            return row(scenario, .deviates, Observation(), why: broken.reason)
        } catch {
            return row(scenario, .deviates, Observation(), why: "\(error)")
        }
    }

    private func row(
        _ scenario: Scenario, _ status: CompareReport.Status, _ observation: Observation,
        why: String
    ) -> CompareReport.Row {
        var isOpener: Bool?
        if let sender = observation.senderProcess, let opener = observation.openerProcess {
            isOpener = sender == opener
        }
        return CompareReport.Row(
            name: scenario.name, status: status, connection: observation.connection,
            message: observation.message, process: observation.senderProcess,
            truth: observation.truth, verdict: scenario.verdict.rawValue, why: why,
            isOpener: isOpener, explanation: scenario.explanation)
    }

    // MARK: what is documented

    private func differences(_ scenario: Scenario, _ seen: Observation) -> [String] {
        var differences: [String] = []
        if seen.truth == nil { differences.append("the writer did not say who it is") }
        for (name, identity, expected) in [
            ("SO_PEERCRED", seen.connection, scenario.connection),
            ("SCM_CREDENTIALS", seen.message, scenario.message),
        ] {
            let wanted = self.identity(expected, seen)
            if identity != wanted {
                let (is_, should) = (identity?.text ?? "nothing", wanted?.text ?? "nothing")
                differences.append("\(name) is \(is_), documented is \(should)")
            }
        }
        if let sender = seen.senderProcess, let opener = seen.openerProcess {
            switch scenario.process {
            case .opener where sender != opener:
                differences.append("the process is not the opener's")
            case .another where sender == opener:
                differences.append("the process is the opener's")
            case .opener, .another, .unchecked: break
            }
        }
        return differences
    }

    private func identity(_ expected: Scenario.Expected, _ seen: Observation) -> Identity? {
        switch expected {
        case .effective(let word): seen.reports[word]?.effective
        case .real(let word): seen.reports[word]?.real
        case .unrecorded: .unrecorded
        }
    }

    // MARK: what is there

    /// Why a need is not met; nil if it is.
    private func missing(_ need: Scenario.Need) -> String? {
        switch need {
        case .root:
            if isRoot { return nil }
            let isRootHere = CurrentProcess.effectiveUserID == 0
            return isRootHere
                ? "needs root of the first user namespace, with CAP_SETUID and CAP_SETGID"
                : "needs root"
        case .ordinaryUser:
            let isUser = CurrentProcess.effectiveUserID != 0
            return isUser ? nil : "needs an ordinary user with ids in /etc/subuid"
        case .rootOrUser:
            let isEither = isRoot || CurrentProcess.effectiveUserID != 0
            return isEither ? nil : "needs an ordinary user, or root who may be one"
        case .mappedIDs:
            let groupMap = try? readSmallFile("/proc/self/gid_map", maxBytes: 16)
            let isMapped = !features.uidMap.isEmpty && groupMap?.isEmpty == false
            return isMapped ? nil : "needs a uid and a gid that are mapped here"
        case .program(let path):
            return ActorProcess.canStart(path) ? nil : "needs \(path)"
        case .engine(let name):
            return ContainerEngine.path(of: name) == nil ? "needs \(name)" : nil
        case .kernel(let major, let minor, let what):
            let isNew = release.isAtLeast(major, minor)
            return isNew ? nil : "needs Linux \(major).\(minor) (\(what))"
        case .userNamespaces:
            let path = "/proc/sys/user/max_user_namespaces"
            let count = try? readSmallFile(path, maxBytes: 16)
            return count?.first == UInt8(ascii: "0") ? "user namespaces are turned off" : nil
        case .ioUring:
            let path = "/proc/sys/kernel/io_uring_disabled"
            guard let value = try? readSmallFile(path, maxBytes: 16).first else { return nil }
            let isOff = value == UInt8(ascii: "2") || value == UInt8(ascii: "1") && !isRoot
            return isOff ? "io_uring is turned off (\(path))" : nil
        }
    }
}

/// `6.18.44-whatever` as numbers.
struct KernelRelease {
    private let major: Int
    private let minor: Int

    init(_ text: String) {
        let parts = text.split { !$0.isNumber }.prefix(2).map { Int($0) ?? 0 }
        major = parts.first ?? 0
        minor = parts.count > 1 ? parts[1] : 0
    }

    func isAtLeast(_ major: Int, _ minor: Int) -> Bool {
        (self.major, self.minor) >= (major, minor)
    }
}
