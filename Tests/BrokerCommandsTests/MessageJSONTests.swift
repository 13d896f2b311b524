import BrokerClient
import Foundation
import LinuxIO
import TestSupport
import Testing

@testable import BrokerCommands

@Suite("A message as JSON")
struct MessageJSONTests {
    private static let own = CurrentProcess.isInInitialUserNamespace ? "init" : "own"

    @Test("tells whose user namespace the opener is in, where that is known")
    func trustDomain() throws {
        func domain(_ fixture: MessageFixture) throws -> Any? {
            (try parse(fixture.bytes(.json))["opener"] as? [String: Any])?["trustDomain"]
        }
        #expect(try domain(MessageFixture(domain: .own)) as? String == Self.own)
        #expect(try domain(MessageFixture(domain: .other(ownerUID: 1001))) as? Int == 1001)
        #expect(try domain(MessageFixture(domain: .other(ownerUID: nil))) as? String == "other")
        #expect(try domain(MessageFixture(domain: .unknown)) == nil)
        #expect(try domain(MessageFixture(level: .remote, domain: .own)) == nil)
    }

    @Test("has these fields, sorted, on one line")
    func golden() {
        #expect(
            MessageFixture().text(.json) == """
                {"delegated":false,"encoding":"utf8","level":"kernel",\
                "opener":{"gid":1000,"pid":42,"trustDomain":"\(Self.own)","uid":1000,\
                "user":"alice"},"origin":"here","payload":"hello",\
                "sender":{"gid":1000,"pid":42,"process":53368,"uid":1000,"user":"alice"},\
                "sequence":7,"time":"2026-07-01T05:54:21.123456789Z",\
                "topic":"jobs/build"}

                """)
    }

    @Test("shows both identities of a delegated message")
    func delegated() throws {
        let message = MessageFixture(
            uid: 0, process: 0, openerPID: 17, level: .claimable, isDelegated: true)
        let object = try parse(message.bytes(.json))
        let sender = try #require(object["sender"] as? [String: Any])
        let opener = try #require(object["opener"] as? [String: Any])
        #expect(object["delegated"] as? Bool == true)
        #expect(object["level"] as? String == "claimable")
        #expect(sender["user"] as? String == "root")
        #expect(sender["process"] is NSNull)
        #expect(opener["pid"] as? Int == 17)
        #expect(opener["user"] as? String == "alice")
    }

    @Test("has no user for an unknown, an unmapped and a remote uid")
    func unknownUsers() throws {
        for message in [
            MessageFixture(uid: 4_294_967_294), MessageFixture(uid: 65534),
            MessageFixture(origin: Array("edge-1".utf8), level: .remote),
        ] {
            let object = try parse(message.bytes(.json))
            let sender = try #require(object["sender"] as? [String: Any])
            #expect(sender["user"] is NSNull)
            #expect(sender["uid"] as? UInt32 == message.uid)
        }
    }

    @Test("names the broker that attested")
    func origin() throws {
        let message = MessageFixture(origin: Array("edge-1".utf8), level: .remote)
        #expect(try parse(message.bytes(.json))["origin"] as? String == "edge-1")
    }

    @Test("puts what is not UTF-8 into base64", arguments: 1...40)
    func base64(count: Int) throws {
        var random = SeededRandom(seed: UInt64(count))
        var payload = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
        payload[0] = 0xFF
        let object = try parse(MessageFixture(payload: payload).bytes(.json))
        #expect(object["encoding"] as? String == "base64")
        #expect(object["payload"] as? String == Data(payload).base64EncodedString())
    }

    @Test("escapes so that another parser reads the same text")
    func escaping() throws {
        var texts = (0...0x7F).map { String(UnicodeScalar(UInt8($0))) }
        texts += [
            "\u{2028}\u{2029}", "â€", "\u{20AC}", "\u{10FFFF}x\"\\", "", "é\u{0}\n", "\u{2027}",
        ]
        var random = SeededRandom(seed: 4)
        for _ in 0..<500 {
            let scalars = (0..<Int.random(in: 0...30, using: &random)).compactMap { _ in
                UnicodeScalar(UInt32.random(in: 0...0x2FFF, using: &random))
            }
            texts.append(String(String.UnicodeScalarView(scalars)))
        }
        for text in texts {
            let line = MessageFixture(payload: Array(text.utf8)).bytes(.json)
            #expect(line.filter { $0 < 0x20 } == [0x0A])
            let payload = try #require(try parse(line)["payload"] as? String)
            #expect(Array(payload.utf8) == Array(text.utf8))
        }
    }

    @Test("escapes what a terminal would act on, and nothing else")
    func harmless() throws {
        for value in UInt32(0x20)...0xFFFD {
            guard let scalar = UnicodeScalar(value), !"\"\\".unicodeScalars.contains(scalar)
            else { continue }
            let bytes = Array("a\(Character(scalar))b".utf8)
            let text = String(decoding: MessageFixture(payload: bytes).bytes(.json), as: UTF8.self)
            var escaped: [UInt8] = []
            Printable.append(bytes.span, to: &escaped)
            #expect(text.unicodeScalars.contains(scalar) == (escaped == bytes), "U+\(value)")
        }
    }

    @Test("of one sender after another never mixes them up")
    func cachedIdentity() throws {
        var renderer = MessageFixture.renderer(.json)
        var random = SeededRandom(seed: 9)
        var expected: [(UInt32, Int32, String)] = []
        for _ in 0..<200 {
            let origin = Bool.random(using: &random) ? "" : "edge"
            let message = MessageFixture(
                origin: Array(origin.utf8), pid: Int32.random(in: 1...3, using: &random),
                uid: UInt32.random(in: 999...1001, using: &random))
            message.append(to: &renderer)
            expected.append((message.uid, message.pid, origin.isEmpty ? "here" : origin))
        }
        let lines = renderer.buffer.split(separator: 0x0A)
        #expect(lines.count == expected.count)
        for (line, (uid, pid, origin)) in zip(lines, expected) {
            let object = try parse(Array(line))
            let sender = try #require(object["sender"] as? [String: Any])
            #expect(sender["uid"] as? UInt32 == uid)
            #expect(sender["pid"] as? Int32 == pid)
            #expect(object["origin"] as? String == origin)
        }
    }

    @Test("tells of lost messages in the output itself")
    func lost() {
        var renderer = MessageFixture.renderer(.json)
        #expect(renderer.appendLoss(count: 12) == nil)
        let line = String(decoding: renderer.buffer, as: UTF8.self)
        #expect(line == "{\"count\":12,\"event\":\"lost\"}\n")
    }

    private func parse(_ line: [UInt8]) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any])
    }
}
