import BrokerWire

/// What a new configuration changed, by peer.
package struct LinkChanges: Equatable, Sendable {
    package var added: [String] = []
    package var removed: [String] = []
    /// Changed, and connected anew for it.
    package var restarted: [String] = []
    /// Changed while the connection goes on.
    package var adapted: [String] = []
    /// Messages that waited for peers and are not exported to them any more.
    package var deliveriesWithdrawn = 0

    package var isEmpty: Bool { self == LinkChanges() }
}

/// Setting links up, and changing them while the broker runs.
extension Broker {
    /// Sets the links up, once, before the first session.
    ///
    /// - Precondition: as for `linksChanged`.
    package mutating func configureLinks(
        _ configurations: [LinkConfiguration], security: any LinkSecurity
    ) {
        precondition(linkTable.security == nil && sessions.isEmpty)
        LinkLimits.checkRelations()
        linkTable.security = security
        linkTable.ownPath = Array(configuration.name.utf8)
        for link in configurations { addLink(link, security) }
    }

    /// These are the links from now on. Those that are as before are left alone; what waits for
    /// the peer of one that changes waits on; what waited for one that is gone is lost.
    ///
    /// - Parameter restarting: links to connect anew whatever the core knows of them.
    /// - Precondition: each configuration is without `violation`, no peer comes twice, and the
    ///   security has the keys of each.
    package mutating func linksChanged(
        _ configurations: [LinkConfiguration], restarting: Set<String> = [],
        into effects: inout Effects
    ) -> LinkChanges {
        guard let security = linkTable.security else { return LinkChanges() }
        precondition(Set(configurations.map(\.peer)).count == configurations.count)
        var changes = LinkChanges()
        let kept = Set(configurations.map(\.peer))
        for peer in linkTable.slots.keys.sorted() where !kept.contains(peer) {
            removeLink(peer, into: &effects)
            changes.removed.append(peer)
        }
        for link in configurations {
            guard let index = linkTable.slots[link.peer] else {
                addLink(link, security)
                changes.added.append(link.peer)
                continue
            }
            let old = linkTable.links[index].configuration
            let mustRestart = restarting.contains(link.peer) || link.isToldToPeer(insteadOf: old)
            guard mustRestart || link != old else { continue }
            changes.deliveriesWithdrawn += changeLink(index, to: link, into: &effects)
            if mustRestart {
                let fault = LinkFault(.reconfigured, "the link was changed")
                endConnections(of: index, fault, into: &effects)
                changes.restarted.append(link.peer)
            } else {
                changes.adapted.append(link.peer)
            }
        }
        if !changes.isEmpty { routes.invalidate() }
        statistics.deliveriesWithdrawn += UInt64(changes.deliveriesWithdrawn)
        precondition(linkTable.slots.count == configurations.count)
        return changes
    }

    private mutating func addLink(_ link: LinkConfiguration, _ security: any LinkSecurity) {
        precondition(link.violation(ownName: configuration.name) == nil)
        precondition(linkTable.slots[link.peer] == nil, "there is more than one link to a peer")
        precondition(linkTable.slots.count < LinkLimits.linksMax)
        let index = linkTable.freeLinks.popLast() ?? linkTable.links.count
        let slot = freeSessions.popLast() ?? Int32(sessions.count)
        let place = freeSubscriptions.popLast() ?? Int32(subscriptions.count)
        var session = Session(id: SessionID(slot: slot, generation: nextGeneration))
        nextGeneration &+= 1
        session.link = Int32(index)
        session.state = .active
        session.name = link.peer
        session.isWriteBlocked = true
        session.account = quotas.openLink(queuedBytesMax: link.accountBytesMax)
        session.subscriptions[0] = place
        sessions.put(session, at: Int(slot))
        var subscription = Subscription()
        subscription.session = slot
        subscription.link = Int32(index)
        subscription.policy = .dropOldest
        subscription.queueBytesMax = link.queueBytesMax
        subscription.isSelective = true
        if Int(place) < subscriptions.count {
            subscription.generation = subscriptions[Int(place)].generation &+ 1
        }
        subscriptions.put(subscription, at: Int(place))
        linkTable.links.put(
            Link(
                configuration: link, session: slot, subscription: place,
                epoch: security.randomNumber()), at: index)
        linkTable.slots[link.peer] = index
    }

    /// - Returns: how many messages that waited for the peer were taken back.
    private mutating func changeLink(
        _ index: Int, to link: LinkConfiguration, into effects: inout Effects
    ) -> Int {
        let old = linkTable.links[index].configuration
        let subscription = Int(linkTable.links[index].subscription)
        let account = sessions[Int(linkTable.links[index].session)].account
        precondition(link.peer == old.peer)
        linkTable.links[index].configuration = link
        subscriptions[subscription].queueBytesMax = link.queueBytesMax
        quotas.limitLink(account, queuedBytesMax: link.accountBytesMax)
        if !link.holdsPublishers {
            stopHolding(link: index, into: &effects)
        } else if linkTable.links[index].connection != nil {
            subscriptions[subscription].policy = .block
        }
        guard link.exports != old.exports else { return 0 }
        for filter in linkTable.links[index].heard.keys { reenter(filter, of: index) }
        withdrawFromBatches(of: index)
        return withdrawDeliveries(of: subscription, into: &effects)
    }

    private mutating func removeLink(_ peer: String, into effects: inout Effects) {
        guard let index = linkTable.slots.removeValue(forKey: peer) else { return }
        let fault = LinkFault(.reconfigured, "the link was removed")
        endConnections(of: index, fault, into: &effects)
        for filter in Array(linkTable.links[index].heard.keys) {
            forget(filter, of: index, into: &effects)
        }
        let subscription = Int(linkTable.links[index].subscription)
        let slot = Int(linkTable.links[index].session)
        statistics.messagesLost += UInt64(queuedDeliveries(of: subscription))
        discard(subscription, into: &effects)
        linkTable.links[index].resend = PacketPool.none
        release(index, upTo: linkTable.links[index].nextBatch - 1, nowNanoseconds: nil)
        quotas.closeLink(sessions[slot].account)
        precondition(sessions[slot].hasNothingQueued && sessions[slot].subscriptions.isEmpty)
        sessions[slot] = Session(id: SessionID(slot: Int32(slot), generation: 0))
        freeSessions.append(Int32(slot))
        linkTable.freeLinks.append(index)
    }

    /// Ends all connections of a link, those that have not passed the handshake as well.
    private mutating func endConnections(
        of index: Int, _ fault: LinkFault, into effects: inout Effects
    ) {
        for slot in linkTable.connections.indices
        where linkTable.connections[slot].link == index
            && linkTable.connections[slot].state != .vacant
        {
            failLink(slot, fault, into: &effects)
        }
        precondition(linkTable.links[index].connection == nil)
    }
}

extension LinkConfiguration {
    /// Whether something differs that the peer was told, or would do, in the handshake.
    fileprivate func isToldToPeer(insteadOf old: LinkConfiguration) -> Bool {
        isConnector != old.isConnector || imports != old.imports || hopsMax != old.hopsMax
    }

    /// What a link may hold in memory: its queue, what was sent and not acknowledged, and as much
    /// again as its queue for what publishers had sent before they were held back.
    fileprivate var accountBytesMax: Int {
        2 * (queueBytesMax + Limits.packetBytesMax) + LinkLimits.windowBytes
    }
}

extension Array {
    /// Replaces an element, or appends the next one.
    fileprivate mutating func put(_ element: Element, at index: Int) {
        precondition(index <= count)
        if index == count { append(element) } else { self[index] = element }
    }
}
