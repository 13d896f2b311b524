package import BrokerWire

/// One frame as a receiver reads it.
package enum InspectedPayload: Equatable, Sendable {
    case hello(HelloFrame)
    case welcome(WelcomeFrame)
    case publish(PublishFrame)
    case reply(ReplyFrame)
    case subscribe(SubscribeFrame)
    case unsubscribe(UnsubscribeFrame)
    case sender(SenderFrame)
    case deliver(DeliverFrame)
    case lost(LostFrame)
    case ping(PingFrame)
    case pong(PingFrame)
    case disconnect(DisconnectFrame)
    case statusRequest(StatusRequestFrame)
    case status(StatusFrame)
    case ended(EndedFrame)
    case adminRequest(AdminRequestFrame)
    case adminReply(StatusFrame)
}

package struct InspectedFrame: Equatable, Sendable {
    package let header: FrameHeader
    package let payload: InspectedPayload
}

/// Why a receiver refuses a packet, and at which frame.
package struct Refusal: Error, Equatable, CustomStringConvertible {
    package let reason: ReasonCode
    package let offset: Int
    package let description: String

    init(_ reason: ReasonCode, at offset: Int, _ description: String = "") {
        self.reason = reason
        self.offset = offset
        self.description = description.isEmpty ? "\(reason) at byte \(offset)" : description
    }

    init(_ error: WireError) {
        self.init(error.reason, at: error.offset, error.description)
    }
}

/// A packet read to its end, with everything judged that can be judged without knowing the state
/// of the session: structure, direction, names, filters and options.
package struct InspectedPacket: Equatable, Sendable {
    package let frames: [InspectedFrame]

    package init(_ packet: Span<UInt8>, way: Way) throws(Refusal) {
        var frames: [InspectedFrame] = []
        var hasSender = false
        do {
            var cursor = try FrameCursor(packet: packet)
            while let header = try cursor.next(in: packet) {
                guard header.type.travels(way) else {
                    throw Refusal(.protocolError, at: header.offset)
                }
                hasSender = hasSender || header.type == .sender
                if header.type == .deliver && !hasSender {
                    throw WireError(.senderMissing, at: header.offset)
                }
                let payload = try InspectedPayload(header, in: packet)
                if let reason = payload.objection(in: packet) {
                    throw Refusal(reason, at: header.offset)
                }
                frames.append(InspectedFrame(header: header, payload: payload))
                if header.type == .disconnect { break }
            }
        } catch let error as WireError {
            throw Refusal(error)
        } catch let refusal as Refusal {
            throw refusal
        } catch {
            preconditionFailure("\(error)")
        }
        self.frames = frames
    }
}

extension InspectedPacket {
    package init(_ packet: [UInt8], way: Way) throws(Refusal) {
        try self.init(packet.span, way: way)
    }
}

extension FrameType {
    /// The column "way" of Protocol/README.md, section 5.
    fileprivate func travels(_ way: Way) -> Bool {
        switch self {
        case .hello, .publish, .subscribe, .unsubscribe, .statusRequest, .adminRequest:
            way == .toBroker
        case .welcome, .reply, .sender, .deliver, .lost, .status, .ended, .adminReply:
            way == .toClient
        case .ping, .pong, .disconnect: true
        }
    }
}

extension InspectedPayload {
    fileprivate init(_ header: FrameHeader, in packet: Span<UInt8>) throws(WireError) {
        self =
            switch header.type {
            case .hello: .hello(HelloFrame(header, in: packet))
            case .welcome: .welcome(WelcomeFrame(header, in: packet))
            case .publish: .publish(PublishFrame(header, in: packet))
            case .reply: .reply(try ReplyFrame(header, in: packet))
            case .subscribe: .subscribe(try SubscribeFrame(header, in: packet))
            case .unsubscribe: .unsubscribe(UnsubscribeFrame(header, in: packet))
            case .sender: .sender(SenderFrame(header, in: packet))
            case .deliver: .deliver(DeliverFrame(header, in: packet))
            case .lost: .lost(try LostFrame(checking: header, in: packet))
            case .ping: .ping(PingFrame(header, in: packet))
            case .pong: .pong(PingFrame(header, in: packet))
            case .disconnect: .disconnect(DisconnectFrame(header, in: packet))
            case .statusRequest: .statusRequest(StatusRequestFrame(header, in: packet))
            case .status: .status(StatusFrame(header, in: packet))
            case .ended: .ended(EndedFrame(header, in: packet))
            case .adminRequest: .adminRequest(AdminRequestFrame(header, in: packet))
            case .adminReply: .adminReply(StatusFrame(header, in: packet))
            }
    }

    /// The reason to refuse a frame that is well-formed, or nil.
    fileprivate func objection(in packet: Span<UInt8>) -> ReasonCode? {
        switch self {
        case .hello(let frame):
            ClientName.parse(packet.extracting(frame.name)) == nil ? .nameInvalid : nil
        case .publish(let frame):
            isName(packet.extracting(frame.topic)) ? nil : .topicNameInvalid
        case .subscribe(let frame): frame.objection
        case .welcome, .reply, .unsubscribe, .sender, .deliver, .lost, .ping, .pong, .disconnect,
            .statusRequest, .status, .ended, .adminRequest, .adminReply:
            nil
        }
    }

    private func isName(_ bytes: Span<UInt8>) -> Bool {
        do {
            try Topic.validateName(bytes)
            return true
        } catch {
            return false
        }
    }
}

extension SubscribeFrame {
    fileprivate var objection: ReasonCode? {
        let areRangesOrdered = (uidRanges + gidRanges).allSatisfy { $0.first <= $0.last }
        guard countViolation == nil, OverflowPolicy(rawValue: overflow) != nil, areRangesOrdered
        else { return .optionInvalid }
        return filters.allSatisfy(TopicInspection.isValidFilter) ? nil : .topicFilterInvalid
    }
}
