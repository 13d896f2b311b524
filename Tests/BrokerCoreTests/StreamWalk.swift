import BrokerWire

/// Follows what one client received, frame by frame, against what the judge expects.
struct StreamWalk {
    private let judge: Judge
    private let client: Int
    private var answers: ArraySlice<Judge.Answer>
    /// By the client's number, the stream that is live at this place.
    private(set) var current: [UInt32: Int] = [:]
    /// Messages of each stream that were delivered or reported lost.
    private(set) var seen: [Int: Int] = [:]
    private(set) var disconnectReason: ReasonCode?

    init(judge: Judge, client: Int) {
        self.judge = judge
        self.client = client
        answers = (judge.answers[client] ?? [])[...]
    }

    var answersLeft: Int { answers.count }

    /// - Returns: what is wrong with this frame, or nil.
    mutating func take(_ item: Received) -> String? {
        switch item {
        case .reply(let reply): return take(reply)
        case .pong(let nonce): return take(answer: .pong(nonce))
        case .deliver(let delivery): return take(delivery)
        case .lost(let number, let count): return take(lost: count, of: number)
        case .disconnect(let reason, _):
            disconnectReason = reason
            return nil
        case .welcome, .status, .ended, .adminReply: return "unexpected \(item)"
        }
    }

    private mutating func take(answer: Judge.Answer) -> String? {
        let expected = answers.popFirst()
        return expected == answer
            ? nil : "answered \(answer), expected \(expected.map { "\($0)" } ?? "nothing")"
    }

    private mutating func take(_ reply: ReplyFrame) -> String? {
        guard let request = FrameType(rawValue: reply.request) else { return "a strange request" }
        for offset in 0..<reply.count {
            let hasSequence = request == .publish && reply.reason.isSuccess
            let complaint = take(
                answer: .reply(
                    token: reply.token &+ offset, request: request, reason: reply.reason,
                    sequence: hasSequence ? reply.sequence + UInt64(offset) : reply.sequence))
            if let complaint { return complaint }
        }
        if reply.reason == .success && request == .subscribe {
            let stream = judge.streams.firstIndex {
                $0.client == client && $0.token == reply.token
            }
            guard let stream else { return "an answer to no subscription" }
            current[judge.streams[stream].frame.subscription] = stream
        }
        if reply.reason == .success && request == .unsubscribe {
            if let number = judge.unsubscribed[reply.token] { current[number] = nil }
        }
        return nil
    }

    private mutating func take(_ delivery: Received.Delivery) -> String? {
        guard let stream = current[delivery.subscription] else {
            return "delivery for subscription \(delivery.subscription), which is not live"
        }
        let next = seen[stream] ?? 0
        let expected = judge.streams[stream].expected
        let message = Judge.Message(
            sequence: delivery.sequence, topic: delivery.topic,
            payloadBytes: delivery.payload.count, marker: Judge.marker(of: delivery.payload),
            uid: delivery.sender.uid, gid: delivery.sender.gid,
            openerUID: delivery.sender.opener.uid, isDelegated: delivery.sender.isDelegated)
        guard next < expected.count, expected[next] == message else {
            return "delivered \(message), expected "
                + (next < expected.count ? "\(expected[next])" : "nothing")
        }
        seen[stream] = next + 1
        return nil
    }

    private mutating func take(lost count: UInt64, of number: UInt32) -> String? {
        guard let stream = current[number] else { return "LOST for \(number), which is not live" }
        let frame = judge.streams[stream].frame
        guard frame.overflow == OverflowPolicy.dropOldest.rawValue, count > 0 else {
            return "LOST \(count) for a subscription that loses nothing"
        }
        let next = (seen[stream] ?? 0) + Int(count)
        guard next <= judge.streams[stream].expected.count else {
            return "LOST reports more than there was"
        }
        seen[stream] = next
        return nil
    }
}
