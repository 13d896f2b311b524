import BrokerClient

@testable import BrokerCommands

/// A message to render, with a sender like those of real life.
struct MessageFixture {
    var topic: [UInt8] = Array("jobs/build".utf8)
    var payload: [UInt8] = Array("hello".utf8)
    var origin: [UInt8] = []
    var sequence: UInt64 = 7
    var pid: Int32 = 42
    var uid: UInt32 = 1000
    var process: UInt64 = 53_368
    var openerPID: Int32 = 42
    var openerUID: UInt32 = 1000
    var level = SenderRecord.Level.kernel
    var isDelegated = false
    var domain = SenderRecord.Domain.own
    var timeNanoseconds: UInt64 = 1_782_885_261_123_456_789

    static let names = UserNames { uid in
        switch uid {
        case 0: "root"
        case 1000: "alice"
        case 65534: "nobody"
        default: nil
        }
    }

    var sender: SenderRecord {
        SenderRecord(
            pid: pid, uid: uid, gid: uid, process: process,
            opener: SenderRecord.Opener(
                pid: openerPID, uid: openerUID, gid: openerUID, process: 0),
            timeNanoseconds: timeNanoseconds, level: level, isDelegated: isDelegated,
            domain: domain)
    }

    static func renderer(
        _ style: MessageRenderer.Style, toTerminal: Bool = false
    ) -> MessageRenderer {
        MessageRenderer(
            style: style, brokerName: "here", toTerminal: toTerminal, names: names)
    }

    func append(to renderer: inout MessageRenderer) {
        renderer.append(
            MessageFields(
                topic: topic.span, payload: payload.span, sequence: sequence, sender: sender,
                origin: origin.span))
    }

    func bytes(_ style: MessageRenderer.Style, toTerminal: Bool = false) -> [UInt8] {
        var renderer = Self.renderer(style, toTerminal: toTerminal)
        append(to: &renderer)
        return renderer.buffer
    }

    func text(_ style: MessageRenderer.Style, toTerminal: Bool = false) -> String {
        String(decoding: bytes(style, toTerminal: toTerminal), as: UTF8.self)
    }
}
