import BrokerClient
import Testing

@testable import BrokerCommands

@Suite("A message as text")
struct MessageTextTests {
    @Test("shows time, user, pid, topic and payload")
    func golden() {
        #expect(
            MessageFixture().text(.text)
                == "2026-07-01T05:54:21.123456Z alice(1000) pid 42  jobs/build: hello\n")
    }

    @Test("shows the opener of a delegated message")
    func delegated() {
        let message = MessageFixture(uid: 0, openerPID: 17, isDelegated: true)
        #expect(
            message.text(.text)
                == "2026-07-01T05:54:21.123456Z root(0) pid 42 via alice(1000) pid 17  "
                + "jobs/build: hello\n")
    }

    @Test("does not take an unmapped uid for nobody, nor pid 0 for a process")
    func unmapped() {
        let text = MessageFixture(pid: 0, uid: 65534).text(.text)
        #expect(text.contains(" unmapped(65534) pid ?  "))
        #expect(MessageFixture(uid: 5).text(.text).contains(" ?(5) pid 42"))
    }

    @Test("names the owner of another user namespace, and another broker")
    func elsewhere() {
        let text = MessageFixture(
            origin: Array("edge-1".utf8), uid: 100_999, level: .claimable,
            domain: .other(ownerUID: 1000)
        ).text(.text)
        #expect(
            text.contains(
                " ?(100999) pid 42 in a user namespace of alice(1000) at edge-1  jobs"))
    }

    @Test("is one line whatever the payload holds")
    func oneLine() {
        let payload: [UInt8] = Array("a\nb\r\t\u{1B}[2J\\ é\u{9B}\u{202E}".utf8) + [0xFF, 0xC3]
        #expect(
            MessageFixture(payload: payload).text(.text).hasSuffix(
                #": a\nb\r\t\x1b[2J\\ é\xc2\x9b\xe2\x80\xae\xff\xc3"# + "\n"))
    }

    @Test("says on standard error what was lost")
    func lost() {
        var renderer = MessageFixture.renderer(.text)
        let note = renderer.appendLoss(count: 3)
        #expect(note == "3 messages lost here: this subscriber read too slowly")
        #expect(renderer.buffer.isEmpty)
    }
}

@Suite("A template")
struct MessageTemplateTests {
    @Test("fills in every field")
    func fields() throws {
        let template = try MessageTemplate(
            parsing: "%t|%p|%x|%l|%u|%U|%g|%P|%o|%q|%I|%D|%%")
        let message = MessageFixture(openerUID: 0, isDelegated: true)
        #expect(
            message.text(.template(template))
                == "jobs/build|hello|68656c6c6f|5|1000|alice|1000|42|0|7|"
                + "2026-07-01T05:54:21.123456789Z|1|%\n")
    }

    @Test("knows the escapes of C")
    func escapes() throws {
        let template = try MessageTemplate(parsing: #"%u\t%U\n\\\e\0\r"#)
        #expect(
            MessageFixture(uid: 5).text(.template(template)) == "5\t-\n\\\u{1B}\u{0}\r\n")
    }

    @Test("prints bytes as they are, except to a terminal")
    func terminal() throws {
        let template = try MessageTemplate(parsing: "%p")
        let message = MessageFixture(payload: [0x1B, 0x5B, 0xFF, 0x0A])
        #expect(message.bytes(.template(template)) == [0x1B, 0x5B, 0xFF, 0x0A, 0x0A])
        #expect(
            message.text(.template(template), toTerminal: true) == #"\x1b[\xff\n"# + "\n")
    }

    @Test("names what it does not know", arguments: ["%", "%z", "\\", "\\q", "a%"])
    func wrong(text: String) {
        #expect(throws: (any Error).self) { try MessageTemplate(parsing: text) }
    }
}
