import BrokerWire

/// The handshake of a link, and the envelopes that follow it. Protocol/forwarding.md, sections 3
/// and 4.
extension Broker {
    /// Bytes have arrived on the stream of a link.
    ///
    /// - Returns: how many of them were used up; the shell keeps the rest and brings it again with
    ///   what comes after it.
    package mutating func linkReceived(
        _ id: LinkConnectionID, _ bytes: Span<UInt8>, nowNanoseconds: UInt64,
        into effects: inout Effects
    ) -> Int {
        var offset = 0
        while let slot = linkTable.slot(of: id), mayRead(slot),
            bytes.count - offset >= LinkRecordHeader.byteCount
        {
            let rest = bytes.extracting(offset...)
            do throws(LinkFault) {
                let header = try LinkRecordHeader(reading: rest)
                try checkExpected(header, on: slot)
                guard rest.count >= header.recordBytes else { break }
                try receiveRecord(
                    header, rest.extracting(first: header.recordBytes), on: slot,
                    nowNanoseconds: nowNanoseconds, into: &effects)
                offset += header.recordBytes
                // Only what was verified counts: a length that somebody has altered would else
                // be waited for as long as anything arrives.
                linkTable.connections[slot].lastReceivedNanoseconds = nowNanoseconds
            } catch {
                failLink(slot, error, into: &effects)
            }
        }
        endDoomed(nowNanoseconds: nowNanoseconds, into: &effects)
        guard let slot = linkTable.slot(of: id), linkTable.connections[slot].state != .closing
        else { return bytes.count }
        if linkTable.connections[slot].link >= 0,
            linkTable.links[linkTable.connections[slot].link].owesAcknowledgement
        {
            markReady(slot, into: &effects)
        }
        return offset
    }

    /// A full `block` subscription holds a link back as it holds a publisher back.
    private func mayRead(_ slot: Int) -> Bool {
        switch linkTable.connections[slot].state {
        case .vacant, .closing: false
        case .awaitingHello, .awaitingReply, .awaitingOpen: true
        case .established:
            sessions[Int(linkTable.links[linkTable.connections[slot].link].session)].isReading
        }
    }

    /// Whether this kind of record may come now. Asked before there is room for its body.
    private func checkExpected(
        _ header: LinkRecordHeader, on slot: Int
    ) throws(LinkFault) {
        let isExpected =
            switch (linkTable.connections[slot].state, header.kind) {
            case (.awaitingHello, .hello), (.awaitingReply, .hello), (.awaitingOpen, .open),
                (.awaitingHello, .refusal), (.awaitingReply, .refusal), (.awaitingOpen, .refusal),
                (.established, .data), (.established, .control):
                true
            default: false
            }
        guard isExpected else {
            throw LinkFault(.malformed, "a record of kind \(header.kind) is not expected now")
        }
    }

    private mutating func receiveRecord(
        _ header: LinkRecordHeader, _ record: Span<UInt8>, on slot: Int,
        nowNanoseconds: UInt64, into effects: inout Effects
    ) throws(LinkFault) {
        let body = record.extracting(
            LinkRecordHeader.byteCount..<(LinkRecordHeader.byteCount + header.bodyBytes))
        switch header.kind {
        case .hello:
            if linkTable.connections[slot].isConnector {
                try receiveReply(header, record, body, on: slot, into: &effects)
            } else {
                try receiveHello(header, record, body, on: slot, into: &effects)
            }
        case .refusal:
            throw Self.readRefusal(body)
        case .open, .data, .control:
            try verify(header, record, on: slot)
            try receiveEnvelope(
                header.kind, body, on: slot, nowNanoseconds: nowNanoseconds, into: &effects)
        }
    }

    /// What the peer, or somebody in between, says: shown as such, believed in nothing.
    private static func readRefusal(_ body: Span<UInt8>) -> LinkFault {
        let reason = LinkFault.Reason(rawValue: body.loadUInt16(at: 0)) ?? .malformed
        let text = body.extracting(4...).text().debugDescription
        return LinkFault(reason, "the other side refused (not verified): \(text)")
    }

    /// Tag first, in constant time; then what the header says; nothing of the body.
    private mutating func verify(
        _ header: LinkRecordHeader, _ record: Span<UInt8>, on slot: Int
    ) throws(LinkFault) {
        let signedBytes = record.count - LinkRecordHeader.tagBytes
        let tag = LinkTag(reading: record, at: signedBytes)
        guard let verifier = linkTable.connections[slot].verifier,
            verifier.verifies(tag, of: record.extracting(first: signedBytes))
        else {
            throw LinkFault(
                .tagMismatch, "an envelope of \(record.count) bytes is not signed by the peer")
        }
        let expected = linkTable.connections[slot].receivedSequence + 1
        guard header.sequence == expected, header.isClean,
            header.keyID == linkTable.connections[slot].receiveKey,
            header.epoch == linkTable.connections[slot].peerEpoch
        else {
            throw LinkFault(
                .sequenceWrong, "envelope \(header.sequence) came instead of \(expected)")
        }
        precondition(expected > 0, "a sequence has run full")
        linkTable.connections[slot].receivedSequence = expected
    }

    // MARK: HELLO

    mutating func sayHello(_ slot: Int, key: UInt64, into effects: inout Effects) {
        guard let security = linkTable.security else { return }
        let nonce = security.makeRandom(byteCount: LinkLimits.nonceBytes)
        let link = linkTable.links[linkTable.connections[slot].link]
        let name = Array(configuration.name.utf8)
        var output = LinkOutput()
        let header = LinkRecordHeader(
            kind: .hello, keyID: key, epoch: link.epoch, sequence: 0,
            bodyBytes: 4 + LinkLimits.nonceBytes + name.count)
        header.write(to: &output)
        output.append(linkTable.connections[slot].isConnector ? 1 : 2)
        for _ in 0..<3 { output.append(0) }
        output.append(copying: nonce.span)
        output.append(copying: name.span)
        let hello = output.pending.copied()
        linkTable.connections[slot].ownNonce = nonce
        linkTable.connections[slot].ownHello = hello
        linkTable.connections[slot].pending += hello
        linkTable.connections[slot].sendKey = key
        linkTable.connections[slot].receiveKey = key
        markReady(slot, into: &effects)
    }

    private struct PeerHello {
        let name: String
        let nonce: [UInt8]

        init(
            _ header: LinkRecordHeader, _ body: Span<UInt8>, role: UInt8
        ) throws(LinkFault) {
            guard header.sequence == 0, header.epoch != 0, header.isClean,
                body[1] == 0, body[2] == 0, body[3] == 0
            else { throw LinkFault(.malformed, "HELLO does not follow the protocol") }
            guard body[0] == role else {
                throw LinkFault(.roleWrong, "role \(body[0]) where \(role) belongs")
            }
            let name = body.extracting((4 + LinkLimits.nonceBytes)...)
            guard LinkName.isValid(name) else {
                throw LinkFault(.malformed, "HELLO holds no valid name")
            }
            self.name = name.text()
            nonce = body.extracting(4..<(4 + LinkLimits.nonceBytes)).copied()
        }
    }

    /// The listener's side.
    private mutating func receiveHello(
        _ header: LinkRecordHeader, _ record: Span<UInt8>, _ body: Span<UInt8>, on slot: Int,
        into effects: inout Effects
    ) throws(LinkFault) {
        let hello = try PeerHello(header, body, role: 1)
        guard hello.name != configuration.name else {
            throw LinkFault(.nameConflict, "both brokers are named \(hello.name)")
        }
        guard let link = linkTable.slots[hello.name],
            !linkTable.links[link].configuration.isConnector,
            linkTable.connections[slot].candidates?.contains(hello.name) ?? true
        else { throw LinkFault(.nameUnknown, "no link waits for a broker \(hello.name)") }
        guard let security = linkTable.security,
            security.accepts(key: header.keyID, ofLink: hello.name)
        else { throw LinkFault(.keyUnknown, "link \(hello.name) has no key of this id") }
        linkTable.connections[slot].link = link
        linkTable.connections[slot].peerHello = record.copied()
        linkTable.connections[slot].peerEpoch = header.epoch
        sayHello(slot, key: header.keyID, into: &effects)
        try deriveKeys(slot, connectorNonce: hello.nonce, listenerNonce: nil)
        sayOpen(slot)
        linkTable.connections[slot].state = .awaitingOpen
    }

    /// The connector's side.
    private mutating func receiveReply(
        _ header: LinkRecordHeader, _ record: Span<UInt8>, _ body: Span<UInt8>, on slot: Int,
        into effects: inout Effects
    ) throws(LinkFault) {
        let hello = try PeerHello(header, body, role: 2)
        let peer = linkTable.links[linkTable.connections[slot].link].configuration.peer
        guard hello.name == peer else {
            throw LinkFault(.nameUnknown, "broker \(hello.name) answered instead of \(peer)")
        }
        guard header.keyID == linkTable.connections[slot].sendKey else {
            throw LinkFault(.keyUnknown, "the other side answered with another key id")
        }
        linkTable.connections[slot].peerHello = record.copied()
        linkTable.connections[slot].peerEpoch = header.epoch
        try deriveKeys(slot, connectorNonce: nil, listenerNonce: hello.nonce)
        linkTable.connections[slot].state = .awaitingOpen
    }

    private mutating func deriveKeys(
        _ slot: Int, connectorNonce: [UInt8]?, listenerNonce: [UInt8]?
    ) throws(LinkFault) {
        let own = linkTable.connections[slot].ownNonce
        let keys = makeKeys(
            slot, key: linkTable.connections[slot].sendKey,
            salt: (connectorNonce ?? own) + (listenerNonce ?? own), label: "broker-link/1")
        guard let keys else { throw LinkFault(.keyUnknown, "the key has just been removed") }
        let isConnector = linkTable.connections[slot].isConnector
        linkTable.connections[slot].signer = isConnector ? keys.connector : keys.listener
        linkTable.connections[slot].verifier = isConnector ? keys.listener : keys.connector
    }

    /// Keys over the transcript: both HELLO records, whole.
    func makeKeys(_ slot: Int, key: UInt64, salt: [UInt8], label: String) -> LinkSessionKeys? {
        let connection = linkTable.connections[slot]
        let transcript =
            connection.isConnector
            ? connection.ownHello + connection.peerHello
            : connection.peerHello + connection.ownHello
        return linkTable.security?.deriveKeys(
            key: key, ofLink: linkTable.links[connection.link].configuration.peer, salt: salt,
            connectorInfo: Array("\(label) connector\0".utf8) + transcript,
            listenerInfo: Array("\(label) listener\0".utf8) + transcript)
    }

    // MARK: OPEN

    private mutating func sayOpen(_ slot: Int) {
        let link = linkTable.links[linkTable.connections[slot].link]
        let imports = link.configuration.imports
        let (epoch, batch) = (link.receivedEpoch, link.receivedBatch)
        let hopsMax = link.configuration.hopsMax
        var output = LinkOutput()
        seal(.open, on: slot, into: &output) { body in
            body.append(littleEndian: epoch)
            body.append(littleEndian: batch)
            body.append(littleEndian: UInt16(hopsMax))
            body.append(littleEndian: UInt16(imports.count))
            for filter in imports {
                body.append(littleEndian: UInt16(filter.count))
                body.append(copying: filter.span)
            }
        }
        linkTable.connections[slot].pending += output.pending.copied()
    }

    private mutating func receiveEnvelope(
        _ kind: LinkRecordHeader.Kind, _ body: Span<UInt8>, on slot: Int,
        nowNanoseconds: UInt64, into effects: inout Effects
    ) throws(LinkFault) {
        let link = linkTable.connections[slot].link
        linkTable.links[link].statistics.bytesReceived += UInt64(body.count)
        switch kind {
        case .open:
            let open = try LinkOpen(reading: body)
            if linkTable.connections[slot].isConnector { sayOpen(slot) }
            try establish(slot, open, into: &effects)
        case .data:
            try receiveBatch(body, on: slot, nowNanoseconds: nowNanoseconds, into: &effects)
        case .control:
            try receiveControl(body, on: slot, nowNanoseconds: nowNanoseconds, into: &effects)
        case .hello, .refusal:
            preconditionFailure("not an envelope")
        }
    }

    /// Both sides have proved that they hold the key.
    private mutating func establish(
        _ slot: Int, _ open: LinkOpen, into effects: inout Effects
    ) throws(LinkFault) {
        let link = linkTable.connections[slot].link
        precondition(linkTable.connections[slot].receivedSequence == 1)
        let id = linkTable.connections[slot].id
        if let old = linkTable.links[link].connection, let oldSlot = linkTable.slot(of: old) {
            failLink(
                oldSlot, LinkFault(.replaced, "the peer has connected anew"), into: &effects)
        }
        if !linkTable.connections[slot].isConnector { linkTable.unfinishedCount -= 1 }
        linkTable.connections[slot].state = .established
        linkTable.links[link].connection = id
        linkTable.links[link].statistics.connections += 1
        let peerEpoch = linkTable.connections[slot].peerEpoch
        if linkTable.links[link].receivedEpoch != peerEpoch {
            linkTable.links[link].receivedEpoch = peerEpoch
            linkTable.links[link].receivedBatch = 0
        }
        let ownEpoch = linkTable.links[link].epoch
        try resume(link, behind: open.receivedEpoch == ownEpoch ? open.receivedBatch : 0)
        linkTable.links[link].peerHopsMax = open.hopsMax
        renewInterest(link, peerImports: open.imports)
        sessions[Int(linkTable.links[link].session)].isWriteBlocked = false
        if linkTable.links[link].configuration.holdsPublishers {
            subscriptions[Int(linkTable.links[link].subscription)].policy = .block
        }
        effects.linksEstablished.append(id)
        effects.note(
            LinkNotice(
                kind: .established, link: linkTable.links[link].configuration.peer,
                reason: nil, explanation: ""))
        markReady(slot, into: &effects)
    }

    // MARK: Signing

    /// Appends one envelope: header, the body that `write` appends, tag.
    mutating func seal(
        _ kind: LinkRecordHeader.Kind, on slot: Int, into output: inout LinkOutput,
        write: (inout LinkOutput) -> Void
    ) {
        guard let signer = linkTable.connections[slot].signer else {
            preconditionFailure("an envelope before the keys")
        }
        let start = output.end
        let sequence = linkTable.connections[slot].sentSequence + 1
        let link = linkTable.links[linkTable.connections[slot].link]
        LinkRecordHeader(
            kind: kind, keyID: linkTable.connections[slot].sendKey, epoch: link.epoch,
            sequence: sequence, bodyBytes: 0
        ).write(to: &output)
        write(&output)
        let bodyBytes = output.end - start - LinkRecordHeader.byteCount
        precondition(kind.bodyBytes.contains(bodyBytes))
        output.replace(at: start + 32, littleEndian: UInt32(bodyBytes))
        let tag = signer.tag(of: output.span(from: start))
        tag.write(to: &output)
        linkTable.connections[slot].sentSequence = sequence
    }
}

/// The body of OPEN.
struct LinkOpen: Equatable {
    let receivedEpoch: UInt64
    let receivedBatch: UInt64
    let hopsMax: Int
    let imports: [[UInt8]]

    init(reading body: Span<UInt8>) throws(LinkFault) {
        receivedEpoch = body.loadUInt64(at: 0)
        receivedBatch = body.loadUInt64(at: 8)
        hopsMax = Int(body.loadUInt16(at: 16))
        let count = Int(body.loadUInt16(at: 18))
        guard (1...LinkLimits.pathNamesMax).contains(hopsMax), count <= LinkLimits.filtersMax
        else { throw LinkFault(.malformed, "OPEN states a limit that is out of range") }
        var filters: [[UInt8]] = []
        var offset = 20
        for _ in 0..<count {
            guard body.count - offset >= 2 else { throw LinkOpen.truncated }
            let length = Int(body.loadUInt16(at: offset))
            guard body.count - offset - 2 >= length else { throw LinkOpen.truncated }
            let filter = body.extracting((offset + 2)..<(offset + 2 + length))
            do throws(Topic.Violation) {
                try Topic.validateFilter(filter)
            } catch {
                throw LinkFault(.malformed, "OPEN holds an invalid filter: \(error)")
            }
            filters.append(filter.copied())
            offset += 2 + length
        }
        guard offset == body.count else { throw LinkOpen.truncated }
        imports = filters
    }

    private static var truncated: LinkFault {
        LinkFault(.malformed, "the filters of OPEN do not fit its length")
    }
}
