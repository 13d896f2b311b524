import BrokerWire
import TestSupport

/// Frames in the form in which the vectors of the protocol write them down.
extension InspectedPacket {
    func json(in packet: [UInt8]) -> [JSONValue] {
        frames.map { .object($0.payload.json(in: packet)) }
    }
}

extension InspectedPayload {
    fileprivate func json(in packet: [UInt8]) -> [String: JSONValue] {
        switch self {
        case .hello(let frame):
            [
                "type": "HELLO", "versionMin": .integer(frame.versionMin),
                "versionMax": .integer(frame.versionMax), "name": .text(packet[frame.name]),
            ]
        case .welcome(let frame): frame.json
        case .publish(let frame):
            [
                "type": "PUBLISH", "token": .integer(frame.token),
                "topic": .text(packet[frame.topic]), "payload": .hex(packet[frame.payload]),
                "acknowledge": .bool(frame.wantsAcknowledgement),
            ]
        case .reply(let frame): frame.json
        case .subscribe(let frame): frame.json
        case .unsubscribe(let frame):
            [
                "type": "UNSUBSCRIBE", "token": .integer(frame.token),
                "subscription": .integer(frame.subscription),
            ]
        case .sender(let frame):
            [
                "type": "SENDER", "sender": .object(frame.record.json),
                "origin": .text(packet[frame.origin]),
                "user": .text(packet[frame.user]),
            ]
        case .deliver(let frame):
            [
                "type": "DELIVER", "sequence": .wide(frame.sequence),
                "subscription": .integer(frame.subscription),
                "topic": .text(packet[frame.topic]), "payload": .hex(packet[frame.payload]),
            ]
        case .lost(let frame):
            [
                "type": "LOST", "subscription": .integer(frame.subscription),
                "count": .wide(frame.count),
            ]
        case .ping(let frame): ["type": "PING", "nonce": .wide(frame.nonce)]
        case .pong(let frame): ["type": "PONG", "nonce": .wide(frame.nonce)]
        case .disconnect(let frame):
            [
                "type": "DISCONNECT", "reason": .string(frame.reason.description),
                "text": .string(frame.explanation),
            ]
        case .statusRequest(let frame):
            ["type": "STATUSREQUEST", "token": .integer(frame.token)]
        case .status(let frame):
            [
                "type": "STATUS", "token": .integer(frame.token), "more": .bool(frame.hasMore),
                "fragment": .hex(packet[frame.fragment]),
            ]
        case .ended(let frame):
            [
                "type": "ENDED", "subscription": .integer(frame.subscription),
                "reason": .string(frame.reason.description), "text": .string(frame.explanation),
            ]
        case .adminRequest(let frame):
            [
                "type": "ADMINREQUEST", "token": .integer(frame.token),
                "command": .text(packet[frame.command]), "arguments": .hex(packet[frame.arguments]),
            ]
        case .adminReply(let frame):
            [
                "type": "ADMINREPLY", "token": .integer(frame.token),
                "more": .bool(frame.hasMore), "fragment": .hex(packet[frame.fragment]),
            ]
        }
    }
}

extension WelcomeFrame {
    fileprivate var json: [String: JSONValue] {
        [
            "type": "WELCOME", "version": .integer(version),
            "topicBytesMax": .integer(topicBytesMax), "packetBytesMax": .integer(packetBytesMax),
            "messageBytesMax": .integer(messageBytesMax),
            "subscriptionsMax": .integer(subscriptionsMax),
            "queueBytesMax": .integer(queueBytesMax), "session": .wide(session),
            "instance": .wide(instance), "sender": .object(client.json),
            "brokerName": .string(brokerName), "brokerVersion": .string(brokerVersion),
        ]
    }
}

extension ReplyFrame {
    fileprivate var json: [String: JSONValue] {
        let type = FrameType(rawValue: request).map { "\($0)".uppercased() }
        return [
            "type": "REPLY", "token": .integer(token), "count": .integer(count),
            "sequence": .wide(sequence), "reason": .string(reason.description),
            "request": type.map { .string($0) } ?? .integer(request), "text": .string(explanation),
        ]
    }
}

extension SubscribeFrame {
    fileprivate var json: [String: JSONValue] {
        let names = ["disconnect", "drop-oldest", "block"]
        return [
            "type": "SUBSCRIBE", "token": .integer(token), "subscription": .integer(subscription),
            "queueBytesMax": .integer(queueBytesMax), "overflow": .string(names[Int(overflow)]),
            "filters": .array(filters.map { .text($0[...]) }),
            "uidRanges": .ranges(uidRanges), "gidRanges": .ranges(gidRanges),
        ]
    }
}

extension SenderRecord {
    fileprivate var json: [String: JSONValue] {
        let (number, owner): (Int, UInt32) =
            switch domain {
            case .unknown: (0, Self.noID)
            case .own: (1, Self.noID)
            case .other(let ownerUID): (2, ownerUID ?? Self.noID)
            }
        return [
            "pid": .integer(pid), "uid": .integer(uid), "gid": .integer(gid),
            "openerPID": .integer(opener.pid), "openerUID": .integer(opener.uid),
            "openerGID": .integer(opener.gid), "process": .wide(process),
            "openerProcess": .wide(opener.process), "time": .wide(timeNanoseconds),
            "level": .string("\(level)"), "delegated": .bool(isDelegated),
            "domain": .integer(number), "domainOwner": .integer(owner),
        ]
    }
}

extension JSONValue: ExpressibleByStringLiteral {
    package init(stringLiteral value: String) { self = .string(value) }

    fileprivate static func integer(_ value: some BinaryInteger) -> Self { .number(Int(value)) }
    /// JSON readers lose digits of numbers of 64 bits, so the vectors hold them as text.
    fileprivate static func wide(_ value: UInt64) -> Self { .string(String(value)) }
    fileprivate static func hex(_ bytes: ArraySlice<UInt8>) -> Self {
        .string(HexText.text(Array(bytes)))
    }
    fileprivate static func text(_ bytes: ArraySlice<UInt8>) -> Self {
        .string(String(decoding: bytes, as: UTF8.self))
    }
    fileprivate static func ranges(_ ranges: [(first: UInt32, last: UInt32)]) -> Self {
        .array(ranges.map { .array([.integer($0.first), .integer($0.last)]) })
    }
}
