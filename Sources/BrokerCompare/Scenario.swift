/// One situation in which somebody writes to a connection, and what Linux is documented to say
/// of it. The runner plays it with real processes and compares.
package struct Scenario: Sendable {
    package let name: String
    /// One line: what this situation teaches.
    package let why: String
    /// A paragraph, with the manual page or the kernel's rule behind it.
    package let explanation: String
    package let verdict: Verdict
    let needs: [Need]
    /// What SO_PEERCRED must say.
    let connection: Expected
    /// What SCM_CREDENTIALS must say.
    let message: Expected
    /// How the sender's process must relate to the opener's, where the kernel tells.
    let process: ExpectedProcess
    let play: @Sendable (Stage) throws -> Observation

    /// Which of the two a program may rely on.
    package enum Verdict: String, Sendable {
        case either = "rely on either"
        case message = "rely on the message"
        case connection = "rely on the connection"
        case weaker = "rely on the weaker of both"
        case neither = "rely on neither"
    }

    /// Ids in terms of what the processes said of themselves.
    enum Expected: Equatable, Sendable {
        /// Process, effective user and group of the party that reported under this word.
        case effective(String)
        /// Process, real user and group of that party.
        case real(String)
        /// What the kernel shows for credentials it did not record.
        case unrecorded
    }

    enum ExpectedProcess: Sendable {
        case opener
        case another
        /// It is not delivered, or says nothing here.
        case unchecked
    }

    /// What a scenario cannot run without.
    enum Need: Equatable, Sendable {
        case root
        case ordinaryUser
        /// Not root of a user namespace, who may claim its own ids.
        case rootOrUser
        /// Ids that are mapped in our user namespace.
        case mappedIDs
        /// A program, by its path.
        case program(String)
        /// At least this kernel, for this.
        case kernel(Int, Int, String)
        case userNamespaces
        case ioUring
        /// A container engine, found by its name.
        case engine(String)
    }
}

/// What was seen and said in one scenario.
struct Observation {
    var connection: Identity?
    var message: Identity?
    /// Inode numbers of process descriptors; nil where the kernel has none.
    var senderProcess: UInt64?
    var openerProcess: UInt64?
    /// What the processes said, by the word they said it under.
    var reports: [String: ActorReport] = [:]
    /// Differences from the documentation that are no matter of the ids above.
    var deviations: [String] = []

    /// Who really wrote, by his own account.
    var truth: Identity? { reports["writer"]?.real }

    mutating func expect(_ condition: Bool, _ deviation: @autoclosure () -> String) {
        if !condition { deviations.append(deviation()) }
    }
}

/// A scenario cannot run here after all: the kernel or a tool refused a step of the setting-up.
struct ScenarioSkipped: Error {
    let reason: String
}

/// Something that never happens in the scenario as documented.
struct ScenarioBroken: Error {
    let reason: String
}

extension Scenario {
    /// What it needs, for people; empty if nothing.
    package var needsText: String {
        needs.map { need in
            switch need {
            case .root: "root"
            case .ordinaryUser: "an ordinary user, with ids in /etc/subuid"
            case .rootOrUser: "not root without capabilities"
            case .mappedIDs: "mapped ids"
            case .program(let path): path
            case .kernel(let major, let minor, let what): "Linux \(major).\(minor): \(what)"
            case .userNamespaces: "user namespaces"
            case .ioUring: "io_uring"
            case .engine(let name): name
            }
        }.joined(separator: ", ")
    }
}
