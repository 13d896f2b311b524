import BasicContainers
package import BrokerWire

/// Decisions, what is remembered of them, and the change of rules while sessions live.
extension Broker {
    /// The rules in force.
    package var policy: AccessPolicy { access.policy }

    func subject(of record: SenderRecord, session slot: Int) -> Subject {
        Subject(record, openerGroups: sessions[slot].opener.groups)
    }

    /// A sender at the origin of the message in hand. Of its opener's groups nothing is known.
    @inline(__always)
    func remoteSubject(of record: SenderRecord, link: Int) -> Subject {
        precondition(link >= 0 && record.level == .remote)
        return Subject(record, origin: Array(linkTable.inbound.origin.utf8), link: link)
    }

    /// Whether the subscriber may be given messages of the topic. A link is nobody whose uid
    /// could be judged: its filters in the trie are those that both sides let through.
    mutating func mayReceive(_ index: Int, _ topic: Span<UInt8>, stamp: UInt64) -> Bool {
        if subscriptions[index].link >= 0 { return true }
        if !access.isCurrent(subscriptions[index].rights) {
            guard let subject = subscriptions[index].subject else { return false }
            subscriptions[index].rights = access.place(of: subject)
        }
        return access.mayReceive(topic, at: subscriptions[index].rights, stamp: stamp)
    }

    /// The decision on a request that needs no topic; a refusal is answered here.
    mutating func permit(
        _ action: Action, _ what: String, token: UInt32, request: FrameType,
        _ context: PacketContext, into effects: inout Effects
    ) -> Bool {
        precondition(!action.needsTopic)
        let slot = context.session
        let subject = subject(of: context.record, session: slot)
        let decision = access.rights(of: subject).decide(action, topic: Span())
        note(decision, action, Span(), subject)
        var reason = ReasonCode.notPermitted
        var text = explain(what, decision)
        if decision.isAllowed {
            guard let exceeded = chargeDocument(context) else { return true }
            (reason, text) = (.quotaExceeded, exceeded.explanation)
        }
        statistics.requestsRefused += 1
        effects.note(
            .requestRefused, sessions[slot], reason, text,
            denial: decision.isAllowed ? nil : denial(decision, action, [], subject))
        reply(
            slot,
            ReplyFrame(token: token, reason: reason, request: request, explanation: text),
            into: &effects)
        return false
    }

    /// The answer to such a request is a document that tells of every session and subscription:
    /// it counts as that many messages. Not for whoever is to mend a quota that is too small.
    private mutating func chargeDocument(_ context: PacketContext) -> QuotaExceeded? {
        let opener = sessions[context.session].opener.record.uid
        guard context.isRateLimited, opener != 0, opener != policy.brokerUID else { return nil }
        return quotas.chargeMessages(
            sessions[context.session].account, count: 10 + sessionCount + subscriptionCount)
    }

    // MARK: Words

    /// `uid 1000 may not publish to "a": rule "no a" (line 7) denies it`
    func explain(_ action: String, _ decision: Decision) -> String {
        guard case .denied(let uid, let role, let rule) = decision else { return "" }
        let who =
            switch role {
            case .sender: "uid \(uid)"
            case .opener: "uid \(uid), which opened the connection,"
            }
        return "\(who) may not \(action): \(because(of: rule))"
    }

    private func because(of rule: Int?) -> String {
        if let rule { return "\(access.references[rule].text) denies it" }
        switch policy.source {
        case .ownerOnly:
            let owner = policy.brokerUID == 0 ? "" : " and uid \(policy.brokerUID)"
            return "no rules are configured, so only root\(owner) may"
        case .open, .rules:
            return "no rule allows it"
        }
    }

    static func quoted(_ filter: [UInt8]) -> String {
        filter.span.text().prefix(utf8Bytes: 256).debugDescription
    }

    /// A subscription and who made it.
    package struct LiveSubscription: Sendable {
        package let session: UInt64
        package let number: UInt32
        package let filters: [[UInt8]]
        package let policy: OverflowPolicy
        package let subject: Subject
    }

    package var liveSubscriptions: [LiveSubscription] {
        subscriptions.compactMap { subscription in
            subscription.subject.map { subject in
                LiveSubscription(
                    session: sessions[Int(subscription.session)].number,
                    number: subscription.number, filters: subscription.filters,
                    policy: subscription.policy, subject: subject)
            }
        }
    }

    // MARK: Memory

    /// - Parameter counting: refused publishes are counted one by one, decided only once.
    mutating func note(
        _ decision: Decision, _ action: Action, _ topic: Span<UInt8>, _ subject: Subject,
        counting: Bool = true
    ) {
        let rule = decision.rule.map { access.references[$0] }
        decisions.record(action, topic, subject, decision, rule)
        if counting && !decision.isAllowed { decisions.countDenial(action, uid: subject.uid) }
    }

    func denial(
        _ decision: Decision, _ action: Action, _ topic: [UInt8], _ subject: Subject
    ) -> Effects.Denial {
        Effects.Denial(
            action: action, uid: subject.uid, topic: topic,
            rule: decision.rule.map { access.references[$0] })
    }

    // MARK: Administration

    mutating func requestAdministration(
        _ request: AdminRequestFrame, _ packet: Span<UInt8>, _ context: PacketContext,
        into effects: inout Effects
    ) {
        guard
            permit(
                .administer, "administer the broker", token: request.token,
                request: .adminRequest, context, into: &effects)
        else { return }
        effects.adminRequests.append(
            Effects.AdminRequest(
                session: sessions[context.session].id, token: request.token,
                command: packet.extracting(request.command).copied(),
                arguments: packet.extracting(request.arguments).copied()))
    }

    /// Says no to a request that was allowed but cannot be carried out.
    package mutating func refuseAdministration(
        _ request: Effects.AdminRequest, _ reason: ReasonCode, _ explanation: String,
        into effects: inout Effects
    ) {
        guard let slot = slot(of: request.session), sessions[slot].state == .active else { return }
        reply(
            slot,
            ReplyFrame(
                token: request.token, reason: reason, request: .adminRequest,
                explanation: explanation), into: &effects)
    }

    // MARK: A change of rules

    /// What a change of rules took away from live subscriptions.
    package struct PolicyChange: Equatable, Sendable {
        package var subscriptionsEnded = 0
        package var deliveriesWithdrawn = 0
    }

    /// Other rules are in force from now on, as a whole. Subscriptions that could bring nothing
    /// any more are ended, and queued messages that may not be delivered any more are removed.
    package mutating func policyChanged(
        _ policy: AccessPolicy, quotas settings: QuotaSettings? = nil, nowNanoseconds: UInt64,
        into effects: inout Effects
    ) -> PolicyChange {
        precondition(policy.brokerUID == access.policy.brokerUID)
        access.replace(policy)
        if let settings { quotas.replace(settings, nowNanoseconds: nowNanoseconds) }
        routes.invalidate()
        statistics.policyChanges += 1
        var change = PolicyChange()
        for index in subscriptions.indices where subscriptions[index].subject != nil {
            if let explanation = lostRight(of: index) {
                change.deliveriesWithdrawn += queuedDeliveries(of: index)
                end(index, .notPermitted, explanation, into: &effects)
                change.subscriptionsEnded += 1
            } else {
                change.deliveriesWithdrawn += withdrawDeliveries(of: index, into: &effects)
            }
        }
        statistics.subscriptionsEnded += UInt64(change.subscriptionsEnded)
        statistics.deliveriesWithdrawn += UInt64(change.deliveriesWithdrawn)
        endDoomed(nowNanoseconds: nowNanoseconds, into: &effects)
        return change
    }

    /// Why a subscription has to end; nil: it may still bring something.
    private mutating func lostRight(of index: Int) -> String? {
        guard let subject = subscriptions[index].subject else { return nil }
        let rights = access.rights(of: subject)
        let filters = subscriptions[index].filters
        guard filters.contains(where: { rights.decideSubscription(to: $0).isAllowed }) else {
            let decision = rights.decideSubscription(to: filters[0])
            return explain("subscribe to \(Self.quoted(filters[0])) any more", decision)
        }
        guard subscriptions[index].policy == .block else { return nil }
        for filter in filters {
            let decision = rights.decideBlocking(on: filter)
            if !decision.isAllowed {
                return explain("hold publishers to \(Self.quoted(filter)) back any more", decision)
            }
        }
        return nil
    }

    func queuedDeliveries(of index: Int) -> Int {
        contents(of: subscriptions[index].queue).messages
    }

    /// Ends one subscription of a session that goes on.
    private mutating func end(
        _ index: Int, _ reason: ReasonCode, _ explanation: String, into effects: inout Effects
    ) {
        precondition(subscriptions[index].subject != nil, "only a live one can end")
        let slot = Int(subscriptions[index].session)
        let number = subscriptions[index].number
        effects.note(
            .subscriptionEnded, sessions[slot], reason,
            "subscription \(number) was ended: \(explanation)")
        discard(index, into: &effects)
        guard sessions[slot].state == .active else { return }
        let bytes = FrameHeader.byteCount + FrameType.ended.fixedBytes + Limits.explanationBytesMax
        queueControl(slot, bytes: bytes, into: &effects) {
            $0.appendEnded(subscription: number, reason: reason, explanation: explanation)
        }
    }
}
