package import BrokerWire
import DequeModule

/// Connections come and go; those that come too fast wait.
extension Broker {
    /// Takes a new connection in, or says why not.
    ///
    /// - Returns: the session, which the shell ends with `connectionClosed`; or the whole packet
    ///   to send before closing.
    package mutating func connectionOpened(
        _ opener: Peer, nowNanoseconds: UInt64, into effects: inout Effects
    ) -> ConnectionOutcome {
        if isShuttingDown {
            return refuse(opener, .serverShuttingDown, "the broker is stopping", &effects)
        }
        if opener.record.uid == SenderRecord.noID || opener.record.gid == SenderRecord.noID {
            return refuse(
                opener, .identityUnknown, PacketIdentity.Missing.noID.explanation, &effects)
        }
        let account: Int
        do {
            account = try quotas.openConnection(
                uid: opener.record.uid, nowNanoseconds: nowNanoseconds)
        } catch {
            return refuse(opener, .quotaExceeded, error.explanation, &effects)
        }
        let slot = freeSessions.popLast() ?? Int32(sessions.count)
        let id = SessionID(slot: slot, generation: nextGeneration)
        nextGeneration &+= 1
        var session = Session(id: id)
        session.number = nextSessionNumber
        nextSessionNumber += 1
        session.state = .greeting
        session.opener = opener
        session.account = account
        session.openedNanoseconds = nowNanoseconds
        precondition(slot == sessions.count || sessions[Int(slot)].state == .vacant)
        if Int(slot) == sessions.count {
            sessions.append(session)
        } else {
            sessions[Int(slot)] = session
        }
        statistics.connectionsAccepted += 1
        if quotas.admitConnection(account, nowNanoseconds: nowNanoseconds) {
            greetingDeadlines.append(id, nowNanoseconds: nowNanoseconds)
        } else {
            sessions[Int(slot)].isHeld = true
            heldConnections[account, default: []].append(id)
            statistics.connectionsHeld += 1
            effects.pause(id)
        }
        return .accepted(id)
    }

    /// Whether a connection of this user would be refused for its quota: there is no need to learn
    /// more of it then.
    package func refusesConnection(of uid: UInt32) -> Bool {
        quotas.refusalOfConnection(uid: uid) != nil
    }

    package enum ConnectionOutcome: Equatable {
        case accepted(SessionID)
        case refused(ReasonCode, explanation: String)
    }

    private mutating func refuse(
        _ opener: Peer, _ reason: ReasonCode, _ explanation: String, _ effects: inout Effects
    ) -> ConnectionOutcome {
        statistics.connectionsRefused += 1
        var session = Session(id: SessionID(slot: -1, generation: 0))
        session.opener = opener
        effects.note(.connectionRefused, session, reason, explanation)
        return .refused(reason, explanation: explanation)
    }

    /// The connection is gone: everything the session held is given back.
    package mutating func connectionClosed(_ id: SessionID, into effects: inout Effects) {
        guard let slot = slot(of: id) else { return }
        releaseHold(of: slot)
        discardSubscriptions(of: slot, into: &effects)
        discardControl(of: slot)
        finishGreeting(of: slot)
        let account = sessions[slot].account
        quotas.closeConnection(account, nowNanoseconds: latestNanoseconds)
        if quotas.accounts[account].connections == 0 { heldConnections[account] = nil }
        precondition(sessions[slot].hasNothingQueued && sessions[slot].subscriptions.isEmpty)
        sessions[slot] = Session(id: SessionID(slot: Int32(slot), generation: 0))
        freeSessions.append(Int32(slot))
    }

    // MARK: Held connections

    /// The session has said HELLO, or ends without.
    mutating func finishGreeting(of slot: Int) {
        guard sessions[slot].state == .greeting else { return }
        let account = sessions[slot].account
        if sessions[slot].isHeld {
            sessions[slot].isHeld = false
            quotas.releaseHeld(account)
        }
        quotas.finishGreeting(account)
    }

    /// Lets those be read whose user has rested enough meanwhile.
    mutating func admitHeldConnections(nowNanoseconds: UInt64, into effects: inout Effects) {
        for account in Array(heldConnections.keys) {
            admitHeldConnections(of: account, nowNanoseconds: nowNanoseconds, into: &effects)
        }
    }

    private mutating func admitHeldConnections(
        of account: Int, nowNanoseconds: UInt64, into effects: inout Effects
    ) {
        while let id = heldConnections[account]?.first {
            // Whoever has gone meanwhile takes nothing out of the rate.
            if let slot = slot(of: id), sessions[slot].isHeld {
                guard quotas.admitHeld(account, nowNanoseconds: nowNanoseconds) else { return }
                sessions[slot].isHeld = false
                greetingDeadlines.append(id, nowNanoseconds: nowNanoseconds)
                effects.resume(id)
            }
            heldConnections[account]?.removeFirst()
        }
        heldConnections[account] = nil
    }

    /// When the next held connection may be read.
    var nextAdmissionNanoseconds: UInt64? {
        var next: UInt64?
        for account in heldConnections.keys {
            let admission = quotas.nextAdmissionNanoseconds(account)
            next = min(next ?? admission, admission)
        }
        return next
    }
}
