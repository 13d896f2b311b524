import LinuxIO
import SystemPackage

/// How the scenarios are staged: who is started when, and what is looked at.
extension Stage {
    /// Whom to be where a scenario speaks of a user without privilege.
    var someUser: UInt32? { isRoot ? Self.firstUser : nil }
    var anotherUser: UInt32? { isRoot ? Self.secondUser : nil }

    /// One process plays one role to its end; then its first packet is looked at.
    func perform(
        _ role: ActorRole, user: UInt32? = nil, other: UInt32? = nil
    ) throws -> Observation {
        try perform(role, user: user, other: other) { received, connection, observation in
            observation.note(try received.next(from: connection))
        }
    }

    func perform(
        _ role: ActorRole, user: UInt32? = nil, other: UInt32? = nil,
        _ receive: (inout Received, borrowing OwnedDescriptor, inout Observation) throws -> Void
    ) throws -> Observation {
        var observation = Observation()
        let path = newPath()
        let listener = try listen(path)
        let actor = try start(ActorOrder(role, path, user: user, other: other))
        try read(actor, until: "done", into: &observation)
        let connection = try accept(listener, into: &observation)
        var received = Received()
        try receive(&received, connection, &observation)
        actor.endInput()
        actor.wait()
        return observation
    }

    /// The process that opened the connection is gone before its child writes.
    func openerExits() throws -> Observation {
        var observation = Observation()
        let path = newPath()
        let listener = try listen(path)
        let actor = try start(ActorOrder(.leave, path, user: someUser))
        try read(actor, until: "opener", into: &observation)
        let connection = try accept(listener, into: &observation)
        // "done" and the child's word come in either order.
        try read(actor, until: "done", into: &observation)
        if observation.truth == nil { try read(actor, until: "writer", into: &observation) }
        actor.wait()
        actor.tell("")
        var received = Received()
        observation.note(try received.next(from: connection))
        return observation
    }

    /// Connects, writes, exits and is reaped before anybody accepts.
    func sendsBeforeAccept() throws -> Observation {
        var observation = Observation()
        let path = newPath()
        let listener = try listen(path)
        let actor = try start(ActorOrder(.send, path, user: someUser))
        try read(actor, until: "done", into: &observation)
        actor.endInput()
        actor.wait()
        let connection = try accept(listener, into: &observation)
        var received = Received()
        observation.note(try received.next(from: connection))
        return observation
    }

    /// Nobody asks for credentials until the message has been sent.
    func asksTooLate() throws -> Observation {
        var observation = Observation()
        let path = newPath()
        let listener = try listen(path, records: false)
        let actor = try start(ActorOrder(.sendWhenTold, path, user: someUser))
        try read(actor, until: "ready", into: &observation)
        let connection = try accept(listener, into: &observation)
        actor.tell("")
        try read(actor, until: "done", into: &observation)
        try SocketOptions.enableCredentialRecording(connection)
        var received = Received()
        observation.note(try received.next(from: connection))
        actor.endInput()
        actor.wait()
        return observation
    }

    /// One process opens a connection and hands it to another.
    func handsOver(to role: ActorRole, user: UInt32?, other: UInt32?) throws -> Observation {
        var observation = Observation()
        let path = newPath()
        let listener = try listen(path)
        let (ours, theirs) = try Channel.pair()
        let giver = try start(ActorOrder(.give, path, user: user, channel: ours))
        try read(giver, until: "done", into: &observation)
        let taker = try start(ActorOrder(role, user: other, channel: theirs))
        try read(taker, until: "done", into: &observation)
        let connection = try accept(listener, into: &observation)
        var received = Received()
        let wanted = role == .deputy ? Deputy.argument : RolePlay.payload
        // A program may write its message in several pieces.
        for _ in 0..<8 {
            guard let packet = try received.next(from: connection) else { break }
            if String(decoding: packet.text, as: UTF8.self).contains(wanted) {
                observation.note(packet)
                break
            }
        }
        for actor in [giver, taker] {
            actor.endInput()
            actor.wait()
        }
        return observation
    }

    /// Only allowed claims arrive.
    func triesForbiddenClaims() throws -> Observation {
        let path = newPath()
        var observation = Observation()
        let listener = try listen(path)
        let actor = try start(ActorOrder(.claimRefused, path, user: someUser))
        for what in ["uid", "gid", "pid"] {
            let answer = try read(actor, untilOneOf: ["refused", "accepted"], &observation)
            observation.expect(answer == "refused \(what)", "the kernel \(answer)")
        }
        try read(actor, until: "done", into: &observation)
        let connection = try accept(listener, into: &observation)
        var received = Received()
        let packet = try received.next(from: connection)
        let text = String(decoding: packet?.text ?? [], as: UTF8.self)
        observation.expect(text == RolePlay.payload, "the packet '\(text)' arrived")
        observation.note(packet)
        actor.endInput()
        actor.wait()
        return observation
    }

    /// In a pid namespace of its own, a process claims another one's pid.
    func claimsSiblingsPID() throws -> Observation {
        try perform(.pidClaim, user: someUser) { received, connection, observation in
            let victim = try received.next(from: connection)
            let claimed = try received.next(from: connection)
            observation.note(claimed)
            let isVictims = claimed?.identity?.pid == victim?.identity?.pid
            observation.expect(
                victim != nil && isVictims, "the claimed pid is not that of the victim")
            let differs = claimed?.identity?.pid != observation.truth?.pid
            observation.expect(differs, "the claim had no effect")
            if let identity = claimed?.identity, let truth = observation.truth {
                observation.reports["claim"] = ActorReport(
                    line: "claim \(identity.pid) \(truth.uid) \(truth.gid) 0 0")
            }
        }
    }
}

extension Observation {
    /// Takes a packet for the message that the row shows.
    mutating func note(_ packet: Received.Piece?) {
        message = packet?.identity
        senderProcess = packet?.attestation.senderProcessInode
    }
}
