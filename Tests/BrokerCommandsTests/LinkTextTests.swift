import Testing

@testable import BrokerCommands

@Suite("The status of links")
struct LinkTextTests {
    @Test func `as text says everything that somebody who looks needs to know`() throws {
        let up = #"""
            {"link":"edge-1","role":"listens","address":"tcp://0.0.0.0:7447","state":"up",
            "connectedSeconds":3661,"keyID":"9f3c6a51e07d2b84","roundTripMicroseconds":180,
            "rates":{"intervalMilliseconds":1000,"messagesSentPerSecond":5,
            "messagesReceivedPerSecond":7,"bytesSentPerSecond":640,"bytesReceivedPerSecond":900},
            "queuedMessages":2,"queuedBytes":65536,"queueBytesMax":16777216,
            "unacknowledgedMessages":1,"unacknowledgedBytes":4096,"lagMessages":3,
            "lagMilliseconds":12,"acknowledgedAfterMicroseconds":250,"filters":["a/#","b\u001b[2J"],
            "connections":4,"messagesSent":100,"messagesReceived":200,"messagesAccepted":190,
            "messagesLost":8,"messagesLostByPeer":9,"bytesSent":12800,"bytesReceived":25600,
            "batchesResent":1,"duplicates":6,"dropped":{"duplicate":6,"notPermitted":4},
            "faults":{"tagMismatch":1},
            "lastError":"tagMismatch: an envelope of 215 bytes is not signed by the peer",
            "lastErrorSeconds":1795427449}
            """#
        let down = #"""
            {"link":"hub","role":"connects","address":"unix:/run/hub.sock","state":"down",
            "nextDialMilliseconds":1500,"rates":{},"filters":[],
            "dropped":{},"faults":{},"connections":0,
            "lastError":"/run/hub.sock: connect: no such file or directory"}
            """#
        let text = try [up, down].map {
            LinkText(try BrokerCommands.JSONValue(parsing: Array($0.utf8))).text
        }
        try Snapshot.check(text.joined(separator: "\n"), "link-status")
    }

    @Test(
        "with absurd times and rates does no harm",
        arguments: ["18446744073709551615", "9223372036854775807", "-1", "0"])
    func absurd(number: String) throws {
        let text = #"""
            {"link":"x","state":"up","connectedSeconds":N,"nextDialMilliseconds":N,
            "roundTripMicroseconds":N,"lastError":"e","lastErrorSeconds":N,
            "rates":{"messagesSentPerSecond":"\u001b[2J\u009b","bytesSentPerSecond":N}}
            """#.replacing("N", with: number)
        let shown = LinkText(try BrokerCommands.JSONValue(parsing: Array(text.utf8))).text
        #expect(shown.contains("last error    at an unknown time: e"), "\(shown)")
        #expect(shown.contains(#"\x1b[2J\xc2\x9b"#), "\(shown)")
        #expect(!shown.unicodeScalars.contains { $0 == "\u{1B}" || $0 == "\u{9B}" })
    }
}
