import BrokerConfig
import BrokerCore
import BrokerWire
import FoundationEssentials
import LinuxIO
import Logging

/// The access rules in the life of the reactor: what administrators ask, and what the keeper of
/// the file has read.
extension Reactor {
    /// Puts what was read into force, or says why the old rules and links stay.
    mutating func configurationRead(_ outcome: ReloadOutcome) {
        var document = documentOfRulesInForce
        if let rules = outcome.rules {
            rulesRead(rules, outcome.cause, &document)
            service.rulesRead(rulesStatus)
        }
        if let links = outcome.links { document.links = linksRead(links, outcome.cause) }
        for request in outcome.requests { answer(request, document) }
    }

    private var documentOfRulesInForce: ReloadDocument {
        ReloadDocument(
            applied: true, changed: false, path: rulesStatus.path, rules: rulesStatus.rules,
            warnings: rulesStatus.warnings, subscriptionsEnded: 0, deliveriesWithdrawn: 0)
    }

    /// - Parameter document: says what came of it.
    private mutating func rulesRead(
        _ reading: RulesReading, _ cause: ReloadCause, _ document: inout ReloadDocument
    ) {
        switch reading {
        case .unusable(let failure):
            if cause.isWish || failure.description != rulesStatus.error {
                logger.error(
                    "access rules unchanged: the file is not usable",
                    metadata: [LogKey.cause: "\(cause.rawValue)", LogKey.error: "\(failure)"])
            }
            rulesStatus.error = failure.description
            document.applied = false
            document.error = failure.description
        case .asBefore:
            rulesStatus.error = nil
            logger.notice(
                "access rules are as before",
                metadata: [
                    LogKey.cause: "\(cause.rawValue)", LogKey.rules: "\(rulesStatus.rules)",
                ])
        case .changed(let rules):
            let change = put(rules, cause)
            document.changed = true
            document.rules = rulesStatus.rules
            document.warnings = rulesStatus.warnings
            document.subscriptionsEnded = change.subscriptionsEnded
            document.deliveriesWithdrawn = change.deliveriesWithdrawn
        }
    }

    /// Puts rules into force.
    private mutating func put(_ rules: CompiledRules, _ cause: ReloadCause) -> Broker.PolicyChange {
        let old = broker.policy
        let change = broker.policyChanged(
            rules.policy, quotas: rules.quotas, nowNanoseconds: nowNanoseconds, into: &effects)
        keeper?.discard(old)
        let changes = rulesStatus.changes + 1
        rulesStatus = rules.status
        rulesStatus.changes = changes
        logger.notice(
            "access rules changed",
            metadata: [
                LogKey.cause: "\(cause.rawValue)",
                LogKey.rules: "\(rulesStatus.rules)",
                LogKey.warnings: "\(rules.warningCount)",
                LogKey.subscriptionsEnded: "\(change.subscriptionsEnded)",
                LogKey.deliveriesWithdrawn: "\(change.deliveriesWithdrawn)",
            ])
        return change
    }

    mutating func administer(_ request: Effects.AdminRequest) {
        switch String(decoding: request.command, as: UTF8.self) {
        case "acl.reload":
            if let keeper {
                keeper.reload(for: request)
            } else {
                var document = documentOfRulesInForce
                document.applied = false
                document.error =
                    "the broker was started without an access file and without links: start it "
                    + "again with --acl FILE or --config FILE"
                answer(request, document)
            }
        case "acl.check":
            guard let question = parse(CheckRequest.self, request),
                let action = Action(name: question.action)
            else { return refuse(request, "no question that can be answered") }
            if let reason = violation(of: question, action) { return refuse(request, reason) }
            answer(request, check(action, question))
        case "acl.recent":
            guard let question = parse(RecentRequest.self, request) else {
                return refuse(request, "no number to begin with")
            }
            answer(request, recent(since: question.since))
        case let other:
            refuse(request, "unknown command \(other.prefix(64).debugDescription)")
        }
    }

    /// Why it cannot be decided: rules speak of topics and filters that there can be.
    private func violation(of question: CheckRequest, _ action: Action) -> String? {
        guard action.needsTopic else {
            return question.isFilter ? "'\(action.name)' is not about topics" : nil
        }
        let topic = Array(question.topic.utf8)
        do throws(Topic.Violation) {
            if question.isFilter {
                try Topic.validateFilter(topic.span)
            } else {
                try Topic.validateName(topic.span)
            }
            return nil
        } catch {
            return "no question that can be answered: the topic is invalid: \(error)"
        }
    }

    private func check(_ action: Action, _ question: CheckRequest) -> DecisionDocument {
        let topic = Array(question.topic.utf8)
        let decision = broker.policy.decide(
            action, topic, isFilter: question.isFilter, question.subject.subject)
        var answer = DecisionDocument(
            decision, decision.rule.map { RuleReference(broker.policy.rules[$0]) })
        answer.note(broker.policy.map.entry(for: question.subject.subject, as: .sender))
        return answer
    }

    private func recent(since number: UInt64) -> RecentDocument {
        RecentDocument(
            next: broker.decisions.next,
            decisions: broker.decisions.records(since: number).map { record in
                RecentDocument.Record(
                    number: record.number, action: record.action.name,
                    topic: String(decoding: record.topic, as: UTF8.self),
                    subject: SubjectDocument(record.subject),
                    decision: DecisionDocument(record.decision, record.rule))
            },
            subscriptions: broker.liveSubscriptions.map { live in
                RecentDocument.Subscription(
                    session: live.session, subscription: live.number,
                    filters: live.filters.map { String(decoding: $0, as: UTF8.self) },
                    blocks: live.policy == .block, subject: SubjectDocument(live.subject))
            })
    }

    private func parse<Question: Decodable>(
        _ type: Question.Type, _ request: Effects.AdminRequest
    ) -> Question? {
        try? JSONDecoder().decode(type, from: Data(request.arguments))
    }

    private mutating func answer(_ request: Effects.AdminRequest, _ document: some Encodable) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            let bytes = Array(try encoder.encode(document))
            broker.answerAdministration(
                request, document: bytes.span, nowNanoseconds: nowNanoseconds, into: &effects)
        } catch {
            preconditionFailure("strings and numbers always encode: \(error)")
        }
    }

    private mutating func refuse(_ request: Effects.AdminRequest, _ explanation: String) {
        broker.refuseAdministration(request, .optionInvalid, explanation, into: &effects)
    }
}
