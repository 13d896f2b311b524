import Foundation
import Testing

@testable import BrokerCommands

@Suite("The status")
struct StatusTests {
    private static let document = #"""
        {"name":"here","version":"0.1.0","instance":"1f","uptimeSeconds":93784,
        "counters":{"messagesAccepted":12,"bytesReceived":18446744073709551615},
        "sessions":[{"session":3,"name":"broker\u001b[2J","state":"active","heldBack":false,
        "opener":{"pid":42,"uid":1000,"gid":1000},"connectedSeconds":61,
        "messagesPublished":5,"messagesDelivered":7,"publishesRefused":0,
        "subscriptions":[{"subscription":1,"filters":["a/#","b"],"overflow":"drop-oldest",
        "fromUIDs":["0","1000-1999"],"fromGIDs":[],"queuedBytes":10,"queueBytesMax":1024,
        "messagesDelivered":7,"messagesLost":2}]}],
        "users":[{"uid":65534,"connections":1,"subscriptions":1,"queuedBytes":10}]}
        """#

    @Test("as text has tables")
    func text() throws {
        let document = try BrokerCommands.JSONValue(parsing: Array(Self.document.utf8))
        var text = StatusText(document, names: MessageFixture.names)
        try Snapshot.check(text.render(), "status")
    }

    @Test("as JSON is the broker's document, sorted")
    func json() throws {
        let document = try BrokerCommands.JSONValue(parsing: Array(Self.document.utf8))
        let text = try Status.render(document, .json)
        let before = try JSONSerialization.jsonObject(with: Data(Self.document.utf8))
        let after = try JSONSerialization.jsonObject(with: Data(text.utf8))
        #expect(before as? NSDictionary == after as? NSDictionary)
        #expect(text.hasPrefix("{\n  \"counters\" : {\n    \"bytesReceived\" : 1844674407370955"))
        #expect(text.hasSuffix("}\n"))
    }

    @Test("as metrics has one sample for each number, and labels that nothing breaks out of")
    func metrics() throws {
        let text = Self.document
            .replacing(#""name":"here""#, with: #""name":"a\"} 1\nb\\\u0085""#)
            .replacing(
                #""users":"#,
                with: #""links":[{"link":"hub","state":"up","lagMessages":3}],"users":"#)
        var metrics = StatusMetrics(
            try BrokerCommands.JSONValue(parsing: Array(text.utf8)), names: MessageFixture.names)
        try Snapshot.check(metrics.render(), "status-metrics")
    }

    @Test("as JSON does nothing to a terminal, and says the same")
    func harmlessJSON() throws {
        let name = "\u{7F}\u{85}\u{9B}2J\u{61C}\u{200E}\u{2028}\u{202E}\u{2066}\u{FEFF}é€😀\\u"
        let document = BrokerCommands.JSONValue.object([name: .string(name)])
        let text = try Status.render(document, .json)
        #expect(text.unicodeScalars.allSatisfy { $0.isASCII || "é€😀".unicodeScalars.contains($0) })
        #expect(!text.contains("\u{7F}"))
        #expect(text.contains("é€😀"))
        #expect(try BrokerCommands.JSONValue(parsing: Array(text.utf8)) == document)
    }

    @Test("nested as deep as can be read is shown")
    func nested() throws {
        let deep = String(repeating: "[", count: 500) + String(repeating: "]", count: 500)
        let document = try BrokerCommands.JSONValue(parsing: Array("{\"name\":\(deep)}".utf8))
        #expect(try Status.render(document, .json).contains("name"))
        var text = StatusText(document, names: MessageFixture.names)
        #expect(text.render().hasPrefix("broker ?"))
        #expect(LinkText(document).text.contains("lost"))
    }

    /// Times, counts and uids are what the broker says, whatever that is.
    @Test(
        "with absurd numbers is shown all the same",
        arguments: [
            "18446744073709551615", "9223372036854775807", "18446744074", "-1", "0", "1e300",
            "\"soon\"", "null",
        ])
    func absurd(number: String) throws {
        let sender = #"{"pid":1,"uid":1,"messages":<N>,"lastSeconds":<N>}"#
        let session = #"""
            {"session":<N>,"otherSenders":[\#(sender)],"otherSendersForgotten":<N>,
            "connectedSeconds":<N>}
            """#
        let text = #"""
            {"uptimeSeconds":<N>,"sessions":[\#(session),\#(session)],
            "users":[{"uid":<N>,"limits":{"connections":<N>,"messagesPerSecond":<N>}}]}
            """#.replacing("<N>", with: number)
        let document = try BrokerCommands.JSONValue(parsing: Array(text.utf8))
        var status = StatusText(document, names: MessageFixture.names)
        #expect(!status.render().isEmpty)
        #expect(!status.renderByUser().isEmpty)
        var metrics = StatusMetrics(document, names: MessageFixture.names)
        #expect(metrics.render().contains("broker_rules_current 1"))
        var live = LiveText(document, names: MessageFixture.names)
        let lines = live.render().split(separator: "\n")
        #expect(lines[1].hasSuffix("unknown"), "\(lines[1])")
    }

    @Test("of a broker that says less than we know is shown all the same")
    func sparse() throws {
        let document = try BrokerCommands.JSONValue(parsing: Array(#"{"sessions":[{}]}"#.utf8))
        var text = StatusText(document, names: MessageFixture.names)
        #expect(text.render().hasPrefix("broker ?, up ?\n"))
    }

    @Test(
        "shows times in two units",
        arguments: [
            (0, "0s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (3600, "1h"), (86_400, "1d"),
            (90_061, "1d 1h"),
        ])
    func span(seconds: UInt64, text: String) {
        #expect(StatusText.span(seconds: seconds) == text)
    }
}
