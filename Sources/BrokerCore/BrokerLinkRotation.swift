import BrokerWire

/// Changing the key of a living connection. Protocol/forwarding.md, section 8.
extension Broker {
    /// The keys of a link have changed on disk. A connector whose current key is another one now
    /// asks its peer to go over to it. A connection whose key has been taken away ends.
    package mutating func linkKeysChanged(_ peer: String, into effects: inout Effects) {
        guard let link = linkTable.slots[peer], let id = linkTable.links[link].connection,
            let slot = linkTable.slot(of: id)
        else { return }
        let inUse = [linkTable.connections[slot].sendKey, linkTable.connections[slot].receiveKey]
        guard inUse.allSatisfy({ linkTable.security?.accepts(key: $0, ofLink: peer) == true })
        else {
            let fault = LinkFault(.keyUnknown, "the key in use was taken out of the key file")
            return failLink(slot, fault, into: &effects)
        }
        guard linkTable.connections[slot].isConnector,
            let key = linkTable.security?.currentKey(ofLink: peer),
            key != linkTable.connections[slot].sendKey,
            case .none = linkTable.connections[slot].rotation
        else { return }
        linkTable.connections[slot].rotation = .wanted(key: key)
        markReady(slot, into: &effects)
    }

    mutating func receiveRotation(
        _ frame: LinkFrame, _ body: Span<UInt8>, on slot: Int, into effects: inout Effects
    ) throws(LinkFault) {
        switch (frame.kind, linkTable.connections[slot].rotation) {
        case (.rekey, .none) where !linkTable.connections[slot].isConnector:
            let key = body.loadUInt64(at: frame.fixed)
            let nonce = body.extracting((frame.fixed + 8)..<frame.end).copied()
            answerRotation(slot, key: key, connectorNonce: nonce)
            markReady(slot, into: &effects)
        case (.rekeyed, .asked(let key, let nonce)):
            guard body.loadUInt64(at: frame.fixed) == key else { throw Self.outOfPlace }
            let answer = body.extracting((frame.fixed + 8)..<frame.end).copied()
            guard
                let keys = makeKeys(
                    slot, key: key, salt: nonce + answer, label: "broker-link/1 rekey")
            else { throw LinkFault(.keyUnknown, "the new key has just been removed") }
            // The peer signs with its new key from the next envelope on.
            linkTable.connections[slot].verifier = keys.listener
            linkTable.connections[slot].receiveKey = key
            linkTable.connections[slot].rotation = .ending(key: key, keys: keys)
            markReady(slot, into: &effects)
        case (.rekeyEnd, .awaitingEnd(let key, let keys)):
            linkTable.connections[slot].verifier = keys.connector
            linkTable.connections[slot].receiveKey = key
            linkTable.connections[slot].rotation = .none
            noteRotation(slot, key: key, into: &effects)
        case (.rekeyRefused, .asked(let key, _)):
            guard body.loadUInt64(at: frame.fixed) == key else { throw Self.outOfPlace }
            linkTable.connections[slot].rotation = .none
            effects.note(
                LinkNotice(
                    kind: .rotationRefused, link: peerName(slot), reason: .keyUnknown,
                    explanation: "the peer does not have the new key yet"))
        default:
            throw Self.outOfPlace
        }
    }

    private static var outOfPlace: LinkFault {
        LinkFault(.malformed, "a step of a key rotation out of place")
    }

    private mutating func answerRotation(_ slot: Int, key: UInt64, connectorNonce: [UInt8]) {
        guard let security = linkTable.security,
            security.accepts(key: key, ofLink: peerName(slot))
        else {
            linkTable.connections[slot].rotation = .refusing(key: key)
            return
        }
        let nonce = security.makeRandom(byteCount: LinkLimits.nonceBytes)
        guard
            let keys = makeKeys(
                slot, key: key, salt: connectorNonce + nonce, label: "broker-link/1 rekey")
        else {
            linkTable.connections[slot].rotation = .refusing(key: key)
            return
        }
        linkTable.connections[slot].rotation = .answering(key: key, nonce: nonce, keys: keys)
    }

    /// Appends the frame that is due to a CONTROL body. It is the last of its envelope.
    mutating func appendRotation(_ slot: Int, into body: inout LinkOutput) {
        precondition(linkTable.connections[slot].state == .established)
        switch linkTable.connections[slot].rotation {
        case .none, .asked, .awaitingEnd:
            break
        case .wanted(let key):
            let nonce = linkTable.security?.makeRandom(byteCount: LinkLimits.nonceBytes) ?? []
            body.appendFrame(.rekey, number: key, nonce: nonce)
            linkTable.connections[slot].rotation = .asked(key: key, nonce: nonce)
        case .answering(let key, let nonce, _):
            body.appendFrame(.rekeyed, number: key, nonce: nonce)
        case .ending:
            body.appendFrame(.rekeyEnd, lead: Span())
        case .refusing(let key):
            body.appendFrame(.rekeyRefused, number: key)
            linkTable.connections[slot].rotation = .none
        }
    }

    /// The envelope with the frame above is signed: the next one is under the new key.
    mutating func finishRotation(_ slot: Int, into effects: inout Effects) {
        switch linkTable.connections[slot].rotation {
        case .none, .wanted, .asked, .awaitingEnd, .refusing:
            break
        case .answering(let key, _, let keys):
            precondition(!linkTable.connections[slot].isConnector)
            linkTable.connections[slot].signer = keys.listener
            linkTable.connections[slot].sendKey = key
            linkTable.connections[slot].rotation = .awaitingEnd(key: key, keys: keys)
        case .ending(let key, let keys):
            precondition(linkTable.connections[slot].isConnector)
            linkTable.connections[slot].signer = keys.connector
            linkTable.connections[slot].sendKey = key
            linkTable.connections[slot].rotation = .none
            noteRotation(slot, key: key, into: &effects)
        }
    }

    func isRotationDue(_ slot: Int) -> Bool {
        switch linkTable.connections[slot].rotation {
        case .none, .asked, .awaitingEnd: false
        case .wanted, .answering, .ending, .refusing: true
        }
    }

    private func noteRotation(_ slot: Int, key: UInt64, into effects: inout Effects) {
        let digits = String(key, radix: 16)
        effects.note(
            LinkNotice(
                kind: .rotated, link: peerName(slot), reason: nil,
                explanation: "key "
                    + String(repeating: "0", count: 16 - digits.count) + digits))
    }

    private func peerName(_ slot: Int) -> String {
        linkTable.links[linkTable.connections[slot].link].configuration.peer
    }
}
