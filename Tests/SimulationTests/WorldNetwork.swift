import BrokerWire
import TestSupport

@testable import BrokerCore

/// The fake network: moving bytes, cutting wires, tampering with what is on them.
extension World {
    /// Does what a node's core has asked for.
    func perform(_ node: Node) {
        var turns = 0
        while !node.effects.isEmpty {
            turns += 1
            precondition(turns < 10_000, "effects without end")
            let ready = node.effects.linksReady
            let closing = node.effects.linksClosing
            let ended = node.effects.closing
            note(node.effects.linkNotices)
            node.effects.clear()
            for id in ready { flush(node, id) }
            for id in closing {
                flush(node, id)
                end(of: node, id)?.isClosing = true
            }
            for id in ended {
                for client in node.clients where client.id == id { client.isAlive = false }
                node.broker.connectionClosed(id, into: &node.effects)
            }
        }
    }

    private func end(of node: Node, _ id: LinkConnectionID) -> Wire.End? {
        for wire in wires {
            for end in wire.ends where end.node == node.number && end.connection == id {
                return end
            }
        }
        return nil
    }

    /// Takes what a connection has to send, up to what a socket buffer would hold.
    private func flush(_ node: Node, _ id: LinkConnectionID) {
        guard let end = end(of: node, id), end.output.pendingBytes < 65_536 else { return }
        node.broker.linkOutput(
            id, into: &end.output, nowNanoseconds: now, effects: &node.effects)
    }

    func connect(_ wire: Wire) {
        guard !wire.isUp, !wire.isPartitioned else { return }
        let (first, second) = (nodes[wire.connector], nodes[wire.listener])
        guard
            let dialed = first.broker.linkDialed(
                second.name, nowNanoseconds: now, into: &first.effects),
            let accepted = second.broker.linkAccepted(nowNanoseconds: now)
        else { return }
        wire.isUp = true
        for (end, id) in [(wire.connectorEnd, dialed), (wire.listenerEnd, accepted)] {
            end.connection = id
            end.isClosing = false
            end.output.clear()
            end.inFlight = []
            end.unread = []
        }
        perform(first)
    }

    func cut(_ wire: Wire) {
        guard wire.isUp else { return }
        wire.isUp = false
        for end in wire.ends {
            // What was in flight may be tried again later by somebody who kept it.
            if !end.inFlight.isEmpty, wire.captured.count < 16 {
                wire.captured.append(end.inFlight)
            }
            if let id = end.connection {
                let node = nodes[end.node]
                node.broker.linkClosed(id, into: &node.effects)
            }
            end.connection = nil
            end.inFlight = []
            end.unread = []
            end.output.clear()
        }
    }

    /// Moves some bytes on, in both directions.
    ///
    /// - Returns: whether anything moved.
    func move(
        _ wire: Wire, bytesMax: Int, sends: Bool = true, receives: Bool = true
    ) -> Bool {
        guard wire.isUp else { return false }
        var hasMoved = false
        for end in wire.ends where sends {
            hasMoved = send(end, to: wire.other(end), bytesMax: bytesMax) || hasMoved
        }
        for end in wire.ends where receives && wire.isUp {
            hasMoved = receive(end, of: wire, bytesMax: bytesMax) || hasMoved
        }
        let isOver = wire.ends.contains { $0.isClosing && $0.output.isEmpty && $0.inFlight.isEmpty }
        if isOver, wire.ends.allSatisfy({ $0.inFlight.isEmpty }) {
            cut(wire)
        }
        return hasMoved
    }

    private func send(_ end: Wire.End, to other: Wire.End, bytesMax: Int) -> Bool {
        let node = nodes[end.node]
        if end.output.isEmpty, let id = end.connection, !end.isClosing {
            node.broker.linkOutput(
                id, into: &end.output, nowNanoseconds: now, effects: &node.effects)
            perform(node)
        }
        let count = min(end.output.pendingBytes, bytesMax)
        guard count > 0 else { return false }
        other.inFlight += end.output.pending.extracting(first: count).copied()
        end.output.sent(count)
        return true
    }

    private func receive(_ end: Wire.End, of wire: Wire, bytesMax: Int) -> Bool {
        guard let id = end.connection, !end.inFlight.isEmpty else { return false }
        let count = min(end.inFlight.count, bytesMax)
        end.unread += end.inFlight.prefix(count)
        end.inFlight.removeFirst(count)
        let node = nodes[end.node]
        if end.isClosing {
            end.unread = []
            return true
        }
        if node.forgetsSeen { node.broker.linkTable.seen = SeenMessages() }
        let bytes = end.unread
        let used = node.broker.linkReceived(
            id, bytes.span, nowNanoseconds: now, into: &node.effects)
        end.unread.removeFirst(used)
        perform(node)
        return true
    }

    // MARK: Somebody in between

    func tamper(_ wire: Wire) {
        guard wire.isUp else { return }
        let end = random.pick(wire.ends)
        wire.tamperCount += 1
        switch weather.flipsOnly ? 0 : random.int(in: 0...5) {
        case 0:
            guard !end.inFlight.isEmpty else { return }
            let place = random.int(in: 0...(end.inFlight.count - 1))
            end.inFlight[place] ^= 1 << UInt8(random.int(in: 0...7))
        case 1:
            guard end.inFlight.count > 1 else { return }
            end.inFlight.removeLast(random.int(in: 1...(end.inFlight.count - 1)))
        case 2:
            // Everything again.
            end.inFlight += end.inFlight
        case 3:
            // What one side sent comes back to it.
            end.inFlight += wire.other(end).inFlight
        case 4:
            guard let old = wire.captured.randomElement(using: &random) else { return }
            end.inFlight += old
        default:
            guard end.inFlight.count > 80 else { return }
            let place = random.int(in: 0...(end.inFlight.count - 41))
            end.inFlight.removeSubrange(place..<(place + 40))
        }
    }

    // MARK: Runs

    /// Lets everything run until nothing moves any more.
    func settle() {
        for wire in wires { wire.isPartitioned = false }
        for _ in 0..<2_000 {
            var hasMoved = false
            for wire in wires {
                if !wire.isUp {
                    connect(wire)
                    hasMoved = true
                }
                hasMoved = move(wire, bytesMax: 1 << 20) || hasMoved
            }
            readClients()
            if !hasMoved { return }
        }
        fail("the network does not come to rest")
    }

    func passTime(nanoseconds: UInt64) {
        now += nanoseconds
        for node in nodes {
            node.broker.timePassed(
                nowNanoseconds: now, wallNanoseconds: now, into: &node.effects)
            perform(node)
        }
    }

    /// One whole run: quiet beginning, weather, healing, and the last check.
    func run() {
        populate()
        for node in nodes { perform(node) }
        settle()
        for _ in 0..<weather.steps { step() }
        settle()
        // Whoever did not hear of its peer's end finds out.
        for _ in 0..<5 {
            passTime(nanoseconds: 5_000_000_000)
            settle()
        }
        checkNothingLost()
        checkLossIsTold()
        checkNothingHeld()
    }

    private func step() {
        let wire = random.pick(wires)
        let bytesMax = random.int(in: 1...(wire.isSlow ? 60 : 3_000))
        switch random.int(in: 0...99) {
        case 0..<40: publish()
        case 40..<60: _ = move(wire, bytesMax: bytesMax, receives: false)
        case 60..<80: _ = move(wire, bytesMax: bytesMax, sends: random.bool())
        case 80..<86: weather.flipsOnly ? tamper(wire) : readClients()
        case 86..<90:
            let isStall = random.int(in: 0...99) < weather.stalls
            let milliseconds = random.int(in: isStall ? 4_000...16_000 : 1...400)
            passTime(nanoseconds: UInt64(milliseconds) * 1_000_000)
            checkQueueLimits()
        case 90..<93: if random.int(in: 0...9) < weather.cuts { cut(wire) }
        case 93..<95: connect(wire)
        case 95:
            if random.int(in: 0...9) < weather.partitions {
                cut(wire)
                wire.isPartitioned.toggle()
            }
        case 96..<98: if random.int(in: 0...9) < weather.tampering { tamper(wire) }
        case 98: if random.int(in: 0...9) < weather.restarts { restart(random.pick(nodes)) }
        default: if random.int(in: 0...9) < weather.rotations { rotate(wire) }
        }
    }
}
