package import BrokerWire

/// Well-formed frames with random content, at the edges of their ranges more often than not.
package enum RandomFrames {
    package static func types(_ way: Way) -> [FrameType] {
        switch way {
        case .toBroker:
            [
                .hello, .publish, .subscribe, .unsubscribe, .ping, .pong, .statusRequest,
                .disconnect, .adminRequest,
            ]
        case .toClient:
            [
                .welcome, .reply, .sender, .deliver, .lost, .status, .ping, .pong, .disconnect,
                .ended, .adminReply,
            ]
        }
    }

    package static func append(
        _ type: FrameType, to buffer: inout PacketBuffer, _ random: inout SeededRandom
    ) {
        switch type {
        case .hello:
            buffer.appendHello(
                versionMin: UInt16(truncatingIfNeeded: random.next()),
                versionMax: random.pick([0, 1, .max]), name: text(&random))
        case .welcome: buffer.appendWelcome(welcome(&random))
        case .publish:
            let topic = topic(&random)
            let payload = random.bytes(count: random.pick([0, 1, 7, 128, 5_000]))
            buffer.appendPublish(
                token: u32(&random), wantsAcknowledgement: random.bool(), topic: topic.span,
                payload: payload.span)
        case .reply:
            buffer.appendReply(
                ReplyFrame(
                    token: u32(&random), count: max(1, u32(&random)), sequence: random.next(),
                    reason: random.pick([.success, .notPermitted, .quotaExceeded]),
                    request: random.pick(FrameType.allCases), explanation: text(&random)))
        case .subscribe: buffer.appendSubscribe(subscribe(&random))
        case .unsubscribe:
            buffer.appendUnsubscribe(token: u32(&random), subscription: u32(&random))
        case .sender:
            buffer.appendSender(
                record(&random), origin: Array(text(&random).utf8).span,
                user: Array(text(&random).utf8).span)
        case .deliver:
            let topic = topic(&random)
            let body = topic + random.bytes(count: random.pick([0, 1, 7, 128, 5_000]))
            buffer.appendDeliver(
                sequence: random.next(), subscription: u32(&random), body: body.span,
                topicLength: topic.count)
        case .lost: buffer.appendLost(subscription: u32(&random), count: max(1, random.next()))
        case .ping: buffer.appendPing(nonce: random.next())
        case .pong: buffer.appendPong(nonce: random.next())
        case .disconnect:
            buffer.appendDisconnect(
                reason: random.pick([.success, .slowSubscriber]), explanation: text(&random))
        case .statusRequest: buffer.appendStatusRequest(token: u32(&random))
        case .status:
            let fragment = random.bytes(count: random.pick([0, 1, 512]))
            buffer.appendStatus(
                token: u32(&random), fragment: fragment.span, hasMore: random.bool())
        case .ended:
            buffer.appendEnded(
                subscription: u32(&random), reason: .notPermitted, explanation: text(&random))
        case .adminRequest:
            let arguments = random.bytes(count: random.pick([0, 1, 512]))
            buffer.appendAdminRequest(
                token: u32(&random), command: Array(text(&random).utf8).span,
                arguments: arguments.span)
        case .adminReply:
            let fragment = random.bytes(count: random.pick([0, 1, 512]))
            buffer.appendStatus(
                .adminReply, token: u32(&random), fragment: fragment.span,
                hasMore: random.bool())
        }
    }

    package static func record(_ random: inout SeededRandom) -> SenderRecord {
        SenderRecord(
            pid: Int32(truncatingIfNeeded: random.next()), uid: u32(&random), gid: u32(&random),
            process: random.next(),
            opener: SenderRecord.Opener(
                pid: random.pick([0, -1, 1, .max]), uid: u32(&random), gid: u32(&random),
                process: random.next()),
            timeNanoseconds: random.next(),
            level: random.pick([.kernel, .claimable, .remote, .unknown]),
            isDelegated: random.bool(),
            domain: random.pick([
                .unknown, .own, .other(ownerUID: nil), .other(ownerUID: 0),
                .other(ownerUID: 4_294_967_294),
            ]))
    }

    private static func u32(_ random: inout SeededRandom) -> UInt32 {
        random.pick([0, 1, .max, UInt32(truncatingIfNeeded: random.next())])
    }

    private static func text(_ random: inout SeededRandom) -> String {
        random.pick(["", "broker", "what was wrong: 'é€😀'", String(repeating: "n", count: 128)])
    }

    private static func topic(_ random: inout SeededRandom) -> [UInt8] {
        let names = ["a", "sensors/1/reading", "/", "é/€", String(repeating: "t", count: 1_024)]
        return Array(random.pick(names).utf8)
    }

    private static func welcome(_ random: inout SeededRandom) -> WelcomeFrame {
        WelcomeFrame(
            version: 1, topicBytesMax: UInt16(truncatingIfNeeded: random.next()),
            packetBytesMax: u32(&random), messageBytesMax: u32(&random),
            subscriptionsMax: u32(&random), queueBytesMax: u32(&random), session: random.next(),
            instance: random.next(), client: record(&random), brokerName: text(&random),
            brokerVersion: text(&random))
    }

    private static func subscribe(_ random: inout SeededRandom) -> SubscribeFrame {
        let filters = ["#", "+/a", "a/#", "$SYS/#", String(repeating: "f", count: 1_024)]
        return SubscribeFrame(
            token: u32(&random), subscription: u32(&random), queueBytesMax: u32(&random),
            overflow: random.pick(OverflowPolicy.allCases),
            filters: (0..<random.int(in: 1...32)).map { _ in Array(random.pick(filters).utf8) },
            uidRanges: ranges(&random), gidRanges: ranges(&random))
    }

    private static func ranges(_ random: inout SeededRandom) -> [IDRange] {
        (0..<random.pick([0, 1, 32])).map { _ in
            let first = u32(&random)
            return IDRange(first: first, last: max(first, u32(&random)))
        }
    }
}
