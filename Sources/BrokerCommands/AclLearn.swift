import ArgumentParser
import BrokerConfig
import BrokerCore
import BrokerServer

/// `broker acl learn`
struct AclLearn: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "learn", abstract: "Watch what is denied and print rules that would permit it",
        discussion: """
            The rules are for review: what was denied may have been an attack. They are printed, \
            and nothing is changed.
            """)

    @Option(help: ArgumentHelp("How long to watch: 1 to 86400 seconds.", valueName: "seconds"))
    var seconds: Int = 10

    @OptionGroup var connection: ConnectOptions

    init() {}

    func validate() throws {
        guard (1...86_400).contains(seconds) else {
            throw ValidationError("--seconds is 1 to 86400 seconds")
        }
    }

    func run() async throws {
        let clock = ContinuousClock()
        let end = clock.now.advanced(by: .seconds(seconds))
        var next = try await recent(since: .max).next
        var denials: [AccessLesson.Denial] = []
        var missed: UInt64 = 0
        repeat {
            try await clock.sleep(for: .milliseconds(200))
            let news = try await recent(since: next)
            if let first = news.decisions.first, first.number > next {
                missed = missed.saturatingAdd(first.number - next)
            }
            next = news.next
            denials += news.decisions.filter { !$0.decision.allowed }.map(AccessLesson.Denial.init)
        } while clock.now < end
        if missed > 0 {
            Diagnostics(command: "acl learn").note(
                "\(missed) decisions came too fast to be seen")
        }
        let lesson = AccessLesson(denials)
        for text in lesson.unteachable { Diagnostics(command: "acl learn").note(text) }
        let rules = lesson.rules.map(\.text).joined(separator: "\n")
        try Output().write(rules.isEmpty ? "# nothing was denied\n" : rules)
    }

    private func recent(since number: UInt64) async throws -> RecentDocument {
        try await connection.administer(
            "acl.recent", RecentRequest(since: number), as: RecentDocument.self)
    }
}

/// The fewest rules that permit exactly what was denied: those with the same users and the same
/// action are one, and so are those with the same topics. Topics in which each user's own uid is a
/// level are the same, with `%u` for it.
struct AccessLesson {
    struct Denial: Hashable {
        let action: String
        let topic: String
        /// Who lacked the right.
        let uid: UInt32
        /// The broker that attested the uid; empty: this one.
        var origin = ""
        /// The rule that denies it; nil: none allows it.
        let rule: String?

        /// The topic as a pattern, with `%u` for each level that is the uid.
        fileprivate var ownTopic: [String] {
            topic.split(separator: "/", omittingEmptySubsequences: false).map { level in
                level == String(uid) ? "%u" : String(level).replacing("%", with: "%%")
            }
        }
    }

    private(set) var rules: [RuleDraft] = []
    /// What no further rule would permit.
    private(set) var unteachable: [String] = []

    init(_ denials: [Denial]) {
        let unique = Set(denials)
        unteachable = unique.filter { $0.rule != nil }.map { denial in
            let host = denial.origin.isEmpty ? "" : " of \(denial.origin)"
            return "uid \(denial.uid)\(host) may not \(denial.action) "
                + "\(Printable.quoted(denial.topic)): rule "
                + "\(Printable.quoted(denial.rule ?? "")) denies it, and no rule can lift that"
        }.sorted()
        struct Wish: Hashable {
            let action: String
            /// Level by level.
            let topic: [String]
            let origin: String
        }
        var users: [Wish: Set<UInt32>] = [:]
        for denial in unique where denial.rule == nil {
            let wish = Wish(action: denial.action, topic: denial.ownTopic, origin: denial.origin)
            users[wish, default: []].insert(denial.uid)
        }
        struct Key: Hashable {
            let action: String
            let origin: String
            let users: Set<UInt32>
        }
        var topics: [Key: [String]] = [:]
        for (wish, users) in users {
            let key = Key(action: wish.action, origin: wish.origin, users: users)
            // What is one user's alone is said with its number.
            let own = users.count == 1 ? users.first.map { String($0) } : nil
            let levels = wish.topic.map { level in level == "%u" ? own ?? level : level }
            topics[key, default: []].append(levels.joined(separator: "/"))
        }
        rules = topics.map { key, topics in
            let uids = key.users.sorted().map(String.init)
            var draft = RuleDraft(
                name: "learned: \(key.action) by \(uids.prefix(4).joined(separator: ", "))"
                    + (key.origin.isEmpty ? "" : " of \(key.origin)")
                    + (topics.first.map { " to \($0.prefix(40))" } ?? ""))
            draft.uids = uids
            if !key.origin.isEmpty { draft.origins = [key.origin] }
            draft.allows = Action(name: key.action).map { [$0] } ?? []
            draft.topics = topics.filter { !$0.isEmpty }.sorted()
            return draft
        }.sorted { ($0.uids.first ?? "", $0.name) < ($1.uids.first ?? "", $1.name) }
    }
}

extension AccessLesson.Denial {
    init(_ record: RecentDocument.Record) {
        self.init(
            action: record.action, topic: record.topic,
            uid: record.decision.uid ?? record.subject.uid, origin: record.subject.origin,
            rule: record.decision.rule)
    }
}
