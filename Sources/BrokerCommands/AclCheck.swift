import ArgumentParser
import BrokerConfig
import BrokerCore
import BrokerServer
import BrokerWire
import LinuxIO

/// Whom a question is about.
struct SubjectOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Attested user; otherwise you.", valueName: "user"),
        transform: IdentityArgument.uid)
    var uid: UInt32?

    @Option(
        help: ArgumentHelp("Attested group; otherwise the user's own.", valueName: "group"),
        transform: IdentityArgument.gid)
    var gid: UInt32?

    @Option(
        help: ArgumentHelp(
            "User who opened the connection; otherwise the same.", valueName: "user"),
        transform: IdentityArgument.uid)
    var openerUid: UInt32?

    @Option(
        name: .customLong("opener-group"),
        help: ArgumentHelp("Supplementary group of the opener.", valueName: "group"),
        transform: IdentityArgument.gid)
    var openerGroups: [UInt32] = []

    @Option(
        help: ArgumentHelp(
            "Owner of the user namespace that the connection comes from.", valueName: "user"),
        transform: IdentityArgument.uid)
    var namespaceOwner: UInt32?

    @Option(help: ArgumentHelp("Broker that attested the message.", valueName: "name"))
    var origin: String?

    init() {}

    var subject: Subject {
        let user = uid ?? CurrentProcess.userID
        let group = gid ?? Users.primaryGroup(ofUser: user) ?? user
        let groups = openerGroups.sorted()
        var subject = Subject.local(uid: user, gid: group, openerGroups: groups)
        if let opener = openerUid, opener != user {
            subject.openerUID = opener
            subject.openerGID = Users.primaryGroup(ofUser: opener) ?? opener
            subject.isDelegated = true
            subject.isOpenersProcess = false
            if opener == 0 { subject.level = .claimable }
        }
        if let owner = namespaceOwner {
            subject.domain = .other(ownerUID: owner)
            subject.level = .claimable
        }
        if let origin, !origin.isEmpty {
            subject.origin = Array(origin.utf8)
            subject.level = .remote
        }
        return subject
    }
}

/// What is asked: an action, and for most a topic or filter.
struct ActionArguments: ParsableArguments {
    @Argument(help: "publish, subscribe, inspect, block or administer.")
    var action: String

    @Argument(help: "Topic to publish to, or filter to subscribe to.")
    var topic: String = ""

    init() {}

    var value: Action {
        get throws {
            guard let value = Action(name: action) else {
                throw ValidationError(
                    "'\(action)' is none of "
                        + Action.allCases.map(\.name).joined(separator: ", "))
            }
            return value
        }
    }

    /// The topic, checked, and whether it is a filter.
    func target() throws -> (topic: [UInt8], isFilter: Bool) {
        let action = try value
        guard action.needsTopic else {
            if topic.isEmpty { return ([], false) }
            throw ValidationError("to \(action.name) needs no topic")
        }
        guard action == .publish else { return (try filter(), true) }
        let bytes = Array(topic.utf8)
        do throws(Topic.Violation) {
            try Topic.validateName(bytes.span)
        } catch {
            throw refusal(of: error)
        }
        return (bytes, false)
    }

    func filter() throws -> [UInt8] {
        let bytes = Array(topic.utf8)
        do throws(Topic.Violation) {
            try Topic.validateFilter(bytes.span)
        } catch {
            throw refusal(of: error)
        }
        return bytes
    }

    private func refusal(of violation: Topic.Violation) -> ValidationError {
        ValidationError(
            topic.isEmpty
                ? "which topic?"
                : "topic \(Printable.quoted(topic)) cannot be used: \(violation)")
    }
}

/// `broker acl check`
struct AclCheck: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Say whether somebody may do something, and why",
        discussion: """
            Ends with status 0 if it is allowed and 77 if it is denied. A denial names the rule \
            that denies, or the one that came nearest and the rule to add.
            """)

    @OptionGroup var question: ActionArguments
    @OptionGroup var who: SubjectOptions
    @OptionGroup var file: AccessFileOption
    @OptionGroup var connection: ConnectOptions

    @Flag(help: "Ask the running broker instead of the file.")
    var live = false

    @Option(help: "How to print the answer.")
    var format: OutputFormat = .text

    init() {}

    func validate() throws {
        _ = try question.target()
    }

    func run() async throws {
        let action = try question.value
        let (topic, isFilter) = try question.target()
        let subject = who.subject
        var answer: DecisionDocument
        var advice: AccessAdvice?
        if action == .publish && topic.first == Topic.dollar {
            answer = DecisionDocument(.denied(uid: subject.uid, as: .sender, rule: nil), nil)
            answer.rule = "topics that begin with $ are the broker's own"
        } else if live {
            let request = CheckRequest(
                action: action.name, topic: question.topic, isFilter: isFilter,
                subject: SubjectDocument(subject))
            answer = try await connection.administer(
                "acl.check", request, as: DecisionDocument.self)
        } else {
            let policy = try file.policy()
            let decision = policy.decide(action, topic, isFilter: isFilter, subject)
            answer = DecisionDocument(
                decision, decision.rule.map { RuleReference(policy.rules[$0]) })
            answer.note(policy.map.entry(for: subject, as: .sender))
            if !decision.isAllowed {
                advice = AccessAdvice(action, topic, subject, decision, under: policy)
            }
        }
        switch format {
        case .json: try Output().write(prettyJSON(answer))
        case .text: try Output().write(text(answer, advice))
        }
        if !answer.allowed { throw CommandFailure(.notPermitted, "") }
    }

    private func text(_ answer: DecisionDocument, _ advice: AccessAdvice?) -> String {
        let place = answer.line.map { $0 == 0 ? "" : " (line \($0))" } ?? ""
        let rule = answer.rule.map { "rule \(Printable.quoted($0))\(place)" }
        var known = ""
        if let name = answer.mapped, let line = answer.mapLine {
            known =
                "uid \(who.subject.uid) of \(Printable.escaped(who.origin ?? "")) is known as "
                + "\(Printable.quoted(name)) (map in line \(line))\n"
        } else if let origin = who.origin, answer.mapped == nil {
            known = "uid \(who.subject.uid) of \(Printable.escaped(origin)) has no name here\n"
        }
        if answer.allowed { return known + "allowed: \(rule ?? "")\n" }
        let what = question.topic.isEmpty ? "" : " \(Printable.quoted(question.topic))"
        let role = answer.role == "opener" ? ", which opened the connection," : ""
        let cause = rule.map { "\($0) denies it" } ?? "no rule allows it"
        let host = who.origin.map { " of \(Printable.escaped($0))" } ?? ""
        var text =
            known
            + "denied: uid \(answer.uid ?? 0)\(host)\(role) may not "
            + "\(question.action)\(what): \(cause)\n"
        guard answer.rule == nil, let advice else { return text }
        if let nearest = advice.nearest {
            text +=
                "nearest: rule \(Printable.quoted(nearest.name)) (line \(nearest.line)), but "
                + Printable.escaped(advice.obstacle) + "\n"
        }
        return text + "to allow it, add to \(Printable.escaped(file.path)):\n\n" + advice.draft.text
    }
}
