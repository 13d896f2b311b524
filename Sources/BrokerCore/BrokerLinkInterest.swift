import BrokerWire

/// Who wants what: announced from broker to broker, so that a message is sent only where somebody
/// subscribes. Protocol/forwarding.md, section 7.
extension Broker {
    // MARK: Ours

    /// A local subscription with these filters has begun (`count` 1) or ended (-1).
    mutating func localInterestChanged(
        _ filters: [[UInt8]], by count: Int, into effects: inout Effects
    ) {
        guard !linkTable.links.isEmpty else { return }
        for filter in filters where filter.first != Topic.dollar {
            let before = linkTable.localInterest[filter] ?? 0
            let after = before + count
            precondition(after >= 0)
            linkTable.localInterest[filter] = after == 0 ? nil : after
            if (before == 0) != (after == 0) {
                interestChanged(filter, exceptAt: -1, into: &effects)
            }
        }
    }

    /// The distance of a filter may have changed for all links but one.
    private mutating func interestChanged(
        _ filter: [UInt8], exceptAt except: Int, into effects: inout Effects
    ) {
        for link in linkTable.links.indices where link != except {
            guard let id = linkTable.links[link].connection, let slot = linkTable.slot(of: id)
            else { continue }
            linkTable.links[link].toAnnounce.insert(filter)
            markReady(slot, into: &effects)
        }
    }

    /// A new connection: everything is announced anew.
    mutating func renewInterest(_ link: Int, peerImports: [[UInt8]]) {
        if linkTable.links[link].peerImports != peerImports {
            linkTable.links[link].peerImports = peerImports
            for filter in linkTable.links[link].heard.keys { reenter(filter, of: link) }
            routes.invalidate()
        }
        for filter in linkTable.links[link].heard.keys {
            linkTable.links[link].heard[filter]?.isFresh = false
        }
        linkTable.links[link].announced = [:]
        linkTable.links[link].toAnnounce = Set(linkTable.localInterest.keys)
        for other in linkTable.links.indices where other != link {
            linkTable.links[link].toAnnounce.formUnion(linkTable.links[other].heard.keys)
        }
        linkTable.links[link].owesInterestEnd = true
    }

    /// What the peer is to be told of a filter: the distance to the nearest subscriber that is
    /// not behind the peer itself; nil: nobody there, or too far away.
    private func distance(_ filter: [UInt8], for link: Int) -> UInt8? {
        guard
            linkTable.links[link].configuration.imports.contains(where: {
                Topic.intersection($0, filter) != nil
            })
        else { return nil }
        if linkTable.localInterest[filter] != nil { return 0 }
        var nearest: UInt8?
        for other in linkTable.links.indices where other != link {
            guard let heard = linkTable.links[other].heard[filter] else { continue }
            nearest = min(nearest ?? .max, heard.distance + 1)
        }
        guard let nearest, Int(nearest) < linkTable.links[link].configuration.hopsMax else {
            return nil
        }
        return nearest
    }

    /// Appends announcements until `bytesMax`; the rest comes with the next envelope.
    mutating func appendInterest(_ link: Int, into body: inout LinkOutput, bytesMax: Int) {
        while body.pendingBytes < bytesMax, let filter = linkTable.links[link].toAnnounce.popFirst()
        {
            let wanted = distance(filter, for: link)
            let told = linkTable.links[link].announced[filter]
            guard wanted != told else { continue }
            if let wanted {
                let isNew = told == nil
                guard
                    !isNew
                        || linkTable.links[link].announced.count < LinkLimits.announcedFiltersMax
                else { continue }
                linkTable.links[link].announced[filter] = wanted
                body.appendFrame(.interest, lead: filter.span, fixed: [wanted, 0, 0, 0])
            } else {
                linkTable.links[link].announced[filter] = nil
                body.appendFrame(.disinterest, lead: filter.span)
            }
        }
        precondition(linkTable.links[link].announced.count <= LinkLimits.announcedFiltersMax)
        if linkTable.links[link].toAnnounce.isEmpty, linkTable.links[link].owesInterestEnd {
            linkTable.links[link].owesInterestEnd = false
            body.appendFrame(.interestEnd, lead: Span())
        }
    }

    // MARK: The peer's

    mutating func receiveInterest(
        _ frame: LinkFrame, _ body: Span<UInt8>, from link: Int, into effects: inout Effects
    ) throws(LinkFault) {
        guard frame.kind != .interestEnd else {
            let stale = linkTable.links[link].heard.filter { !$0.value.isFresh }.keys
            for filter in stale { forget(filter, of: link, into: &effects) }
            return
        }
        let filter = body.extracting(frame.lead).copied()
        guard frame.kind == .interest else {
            forget(filter, of: link, into: &effects)
            return
        }
        do throws(Topic.Violation) {
            try Topic.validateFilter(filter.span)
        } catch {
            throw LinkFault(.malformed, "INTEREST holds an invalid filter: \(error)")
        }
        guard filter.first != Topic.dollar else {
            throw LinkFault(.malformed, "INTEREST in topics that begin with $")
        }
        let distance = min(body[frame.fixed], UInt8(LinkLimits.pathNamesMax))
        if let known = linkTable.links[link].heard[filter] {
            linkTable.links[link].heard[filter]?.isFresh = true
            linkTable.links[link].heard[filter]?.distance = distance
            guard known.distance != distance else { return }
        } else {
            guard linkTable.links[link].heard.count < LinkLimits.announcedFiltersMax else {
                throw LinkFault(.limitExceeded, "the peer announces too many filters")
            }
            linkTable.links[link].heard[filter] = Link.HeardInterest(
                distance: distance, isFresh: true, entries: [])
            reenter(filter, of: link)
            routes.invalidate()
        }
        interestChanged(filter, exceptAt: link, into: &effects)
    }

    mutating func forget(
        _ filter: [UInt8], of link: Int, into effects: inout Effects
    ) {
        guard let heard = linkTable.links[link].heard.removeValue(forKey: filter) else { return }
        for entry in heard.entries { trie.remove(entry) }
        routes.invalidate()
        interestChanged(filter, exceptAt: link, into: &effects)
    }

    /// Enters what the peer wants into the trie, as far as our exports and its imports allow.
    mutating func reenter(_ filter: [UInt8], of link: Int) {
        for entry in linkTable.links[link].heard[filter]?.entries ?? [] { trie.remove(entry) }
        var allowed: Set<[UInt8]> = []
        for export in linkTable.links[link].configuration.exports {
            guard let exported = Topic.intersection(filter, export) else { continue }
            for imported in linkTable.links[link].peerImports {
                if let both = Topic.intersection(exported, imported) {
                    allowed.insert(both)
                }
            }
        }
        let subscription = UInt32(linkTable.links[link].subscription)
        linkTable.links[link].heard[filter]?.entries = allowed.map {
            trie.insert($0.span, subscription: subscription)
        }
    }
}
