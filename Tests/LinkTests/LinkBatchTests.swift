import BrokerWire
import Testing

@testable import BrokerCore

/// Which frames a batch may hold in which order, whoever has written it.
struct LinkBatchTests {
    private enum Part {
        case route, sender, lost
        case deliver(UInt64)
    }

    private let brokers = LinkedCores()
    private let subscriber: LinkedCores.Client

    init() {
        brokers.add("hub", [LinkConfiguration(peer: "east", isConnector: false)])
        brokers.add("east", [LinkConfiguration(peer: "hub", isConnector: true)])
        brokers.connect("east", "hub")
        subscriber = brokers.join("hub", uid: 1001)
        brokers.subscribe(subscriber, "#")
    }

    /// Lets "hub" read a batch as if it had come from "east", its tag verified.
    ///
    /// - Returns: why the connection would be ended, if it would.
    private func receive(_ batch: UInt64, _ parts: [Part]) throws -> LinkFault.Reason? {
        let opener = SenderRecord.Opener(pid: 7, uid: 1000, gid: 1000, process: 0)
        let record = SenderRecord(
            pid: 7, uid: 1000, gid: 1000, process: 0, opener: opener, timeNanoseconds: 5,
            level: .kernel, isDelegated: false, domain: .own)
        var packet = PacketBuffer(capacityBytes: 4_096)
        for part in parts {
            switch part {
            case .route: packet.appendRoute(epoch: 9, path: Array("east".utf8).span)
            case .sender: packet.appendSender(record, origin: Span())
            case .lost: packet.appendLost(subscription: 0, count: 3)
            case .deliver(let number):
                packet.appendDeliver(
                    sequence: number, subscription: 0, body: Array("t\(number)".utf8).span,
                    topicLength: 1)
            }
        }
        packet.seal()
        let body =
            (0..<8).map { UInt8(truncatingIfNeeded: batch >> (8 * $0)) }
            + packet.span.copied()
        let hub = brokers.node("hub")
        let connection = try #require(hub.broker.linkTable.links[0].connection)
        do throws(LinkFault) {
            try hub.broker.receiveBatch(
                body.span, on: Int(connection.slot), nowNanoseconds: brokers.now,
                into: &hub.effects)
            return nil
        } catch {
            return error.reason
        }
    }

    private func payloads() -> [String] { brokers.takeReceived(subscriber).map(\.payload) }

    @Test func `a sender holds until the next one, also past LOST`() throws {
        let parts: [Part] = [
            .lost, .route, .sender, .deliver(1), .lost, .deliver(2), .sender, .deliver(3), .sender,
            .route, .sender, .lost, .deliver(4),
        ]
        #expect(try receive(1, parts) == nil)
        #expect(brokers.statistics("hub", "east").messagesLostByPeer == 9)
        // As a batch is whose messages were all taken back.
        #expect(try receive(2, [.route]) == nil)
        #expect(try receive(3, [.route, .sender, .deliver(5)]) == nil)
        // Read at the end: "east" hears then that batches were accepted that it never sent.
        #expect(payloads() == ["1", "2", "3", "4", "5"])
    }

    @Test func `the first batch has any number, and nothing comes behind the highest`() throws {
        #expect(try receive(0, [.route, .sender, .deliver(1)]) == .malformed)
        #expect(try receive(.max - 1, [.route, .sender, .deliver(2)]) == nil)
        #expect(try receive(.max - 1, [.route, .sender, .deliver(3)]) == .malformed)
        #expect(try receive(.max, [.route, .sender, .deliver(.max)]) == nil)
        for number in [0, 1, .max] as [UInt64] {
            #expect(try receive(number, [.route, .sender, .deliver(4)]) == .malformed)
        }
        #expect(payloads() == ["2", "\(UInt64.max)"])
    }

    @Test func `what has no route or no sender ends the connection`() throws {
        let wrong: [[Part]] = [
            [.deliver(1)], [.sender], [.lost, .deliver(1)], [.route, .deliver(1)],
            [.route, .sender, .route, .deliver(1)], [.route, .sender, .route, .lost, .deliver(1)],
        ]
        for parts in wrong {
            #expect(try receive(1, parts) == .malformed, "\(parts)")
            #expect(payloads() == [])
        }
        // What came before it counts.
        #expect(try receive(1, [.route, .sender, .deliver(1), .route, .deliver(2)]) == .malformed)
        #expect(payloads() == ["1"])
    }
}
