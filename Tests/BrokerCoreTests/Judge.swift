import BrokerWire
import TestSupport

@testable import BrokerCore

/// Says what the broker has to do, in the most obvious and slowest way: no cache, no trie, no
/// queues. It knows who is subscribed to what and keeps everything each subscription must see.
struct Judge {
    /// One subscription from its REPLY to its end.
    struct Stream {
        let client: Int
        let token: UInt32
        let frame: SubscribeFrame
        var expected: [Message] = []
        var isOpen = true
    }

    struct Message: Equatable {
        let sequence: UInt64
        let topic: String
        let payloadBytes: Int
        /// The number at the beginning of the payload.
        let marker: UInt32
        let uid: UInt32
        let gid: UInt32
        let openerUID: UInt32
        let isDelegated: Bool
    }

    /// What a client must be answered, one by one.
    enum Answer: Equatable {
        case reply(token: UInt32, request: FrameType, reason: ReasonCode, sequence: UInt64)
        case pong(UInt64)
    }

    /// One frame of a packet, as the driver sent it.
    enum Frame {
        case publish(token: UInt32, acknowledge: Bool, topic: String, payload: [UInt8])
        case subscribe(SubscribeFrame)
        case unsubscribe(token: UInt32, number: UInt32)
        case ping(UInt64)
    }

    struct Sender {
        let client: Int
        let attestation: Attestation
        let opener: Peer

        /// Section 6 of the protocol: different processes or different uids.
        var isDelegated: Bool {
            let opener = opener.record
            let isOtherProcess =
                attestation.process != 0 && opener.process != 0
                && attestation.process != opener.process
            return attestation.uid != opener.uid || attestation.pid != opener.pid
                || isOtherProcess
        }
    }

    let brokerUID: UInt32
    let isOpenToAll: Bool
    let messageBytesMax: Int
    let queueBytesMax: Int
    var streams: [Stream] = []
    var answers: [Int: [Answer]] = [:]
    /// Subscription that each UNSUBSCRIBE named, by token.
    var unsubscribed: [UInt32: UInt32] = [:]

    /// Works through the frames of a packet that the broker has taken.
    ///
    /// - Parameters:
    ///   - sequence: of the next message to be accepted.
    ///   - publishCount: publishes that the broker looked at: fewer than there are if the packet
    ///     ended its own session.
    mutating func take(
        _ frames: [Frame], from sender: Sender, sequence: UInt64, publishCount: Int
    ) {
        var sequence = sequence
        var publishesLeft = publishCount
        for frame in frames {
            switch frame {
            case .publish(let token, let acknowledge, let topic, let payload):
                if publishesLeft == 0 { return }
                publishesLeft -= 1
                let reason = publish(topic, payload, from: sender, sequence: sequence)
                let isAccepted = reason.isSuccess
                if acknowledge || !isAccepted {
                    answers[sender.client, default: []].append(
                        .reply(
                            token: token, request: .publish, reason: reason,
                            sequence: isAccepted ? sequence : 0))
                }
                if isAccepted { sequence += 1 }
            case .subscribe(let frame):
                let reason = subscribe(frame, from: sender)
                answers[sender.client, default: []].append(
                    .reply(token: frame.token, request: .subscribe, reason: reason, sequence: 0))
            case .unsubscribe(let token, let number):
                unsubscribed[token] = number
                let stream = openStream(sender.client, number)
                if let stream { streams[stream].isOpen = false }
                let reason = stream == nil ? ReasonCode.subscriptionUnknown : .success
                answers[sender.client, default: []].append(
                    .reply(token: token, request: .unsubscribe, reason: reason, sequence: 0))
            case .ping(let nonce):
                answers[sender.client, default: []].append(.pong(nonce))
            }
        }
    }

    mutating func end(_ client: Int) {
        for index in streams.indices where streams[index].client == client {
            streams[index].isOpen = false
        }
    }

    func openStream(_ client: Int, _ number: UInt32) -> Int? {
        streams.firstIndex {
            $0.isOpen && $0.client == client && $0.frame.subscription == number
        }
    }

    private mutating func publish(
        _ topic: String, _ payload: [UInt8], from sender: Sender, sequence: UInt64
    ) -> ReasonCode {
        let name = Array(topic.utf8)
        if !TopicReference.isValidName(name) { return .topicNameInvalid }
        if name.first == UInt8(ascii: "$") || !isAllowed(sender) { return .notPermitted }
        if name.count + payload.count > messageBytesMax { return .packetTooLarge }
        let attestation = sender.attestation
        let message = Message(
            sequence: sequence, topic: topic, payloadBytes: payload.count,
            marker: Self.marker(of: payload), uid: attestation.uid, gid: attestation.gid,
            openerUID: sender.opener.record.uid, isDelegated: sender.isDelegated)
        var receivers = 0
        for index in streams.indices where streams[index].isOpen {
            let wish = streams[index].frame
            guard wish.filters.contains(where: { TopicReference.matches(filter: $0, name: name) }),
                admits(wish.uidRanges, attestation.uid), admits(wish.gidRanges, attestation.gid)
            else { continue }
            streams[index].expected.append(message)
            receivers += 1
        }
        return receivers == 0 ? .noMatchingSubscribers : .success
    }

    private mutating func subscribe(_ frame: SubscribeFrame, from sender: Sender) -> ReasonCode {
        if !frame.filters.allSatisfy(TopicReference.isValidFilter) { return .topicFilterInvalid }
        if frame.overflow > 2 || Int(frame.queueBytesMax) > queueBytesMax {
            return .optionInvalid
        }
        if openStream(sender.client, frame.subscription) != nil { return .subscriptionInUse }
        if !isAllowed(sender) { return .notPermitted }
        streams.append(Stream(client: sender.client, token: frame.token, frame: frame))
        return .success
    }

    /// The attested uid needs the right; and so does an opener with another uid, if it is neither
    /// root nor the broker.
    private func isAllowed(_ sender: Sender) -> Bool {
        let uids = [sender.attestation.uid, sender.opener.record.uid]
        let privileged: Set<UInt32> = [0, brokerUID]
        if isOpenToAll { return true }
        return uids.allSatisfy(privileged.contains)
    }

    private func admits(_ ranges: [(first: UInt32, last: UInt32)], _ id: UInt32) -> Bool {
        ranges.isEmpty || ranges.contains { ($0.first...$0.last).contains(id) }
    }

    static func marker(of payload: [UInt8]) -> UInt32 {
        payload.prefix(4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }
}
