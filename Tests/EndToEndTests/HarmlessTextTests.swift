import Foundation
import TestSupport
import Testing

/// What others have chosen, arguments of scripts included, does nothing to who reads it.
@Suite("What commands repeat does no harm, and is escaped once")
struct HarmlessTextTests {
    /// A turn of the direction of writing, a quote, and a backslash.
    private let topic = "t/\u{202E}txet\"\\"
    private let shown = #"t/\xe2\x80\xaetxet\"\\"#

    private func run(_ arguments: [String]) throws -> ChildProcess {
        let process = try ChildProcess([BrokerUnderTest.executable.path] + arguments)
        process.wait()
        let scalars = (process.outputText + process.errorText).unicodeScalars
        #expect(!scalars.contains { [0x1B, 0x9B, 0x202E].contains($0.value) })
        return process
    }

    @Test func `broker acl check shows the topic, the origin and names of rules escaped`() throws {
        let directory = try TemporaryDirectory(mode: 0o755)
        let path = directory.path(of: "acl.toml")
        let rule = "name = \"a\\u202Eb\"\nuid = 1\nallow = \"publish\"\ntopics = \"t/#\"\n"
        try ("version = 1\n[[rule]]\n" + rule).write(
            toFile: path, atomically: false, encoding: .utf8)
        let denied = try run([
            "acl", "check", "publish", topic, "--uid", "2", "--acl", path, "--origin", "\u{1B}[2J",
        ])
        #expect(denied.wait() == 77)
        #expect(denied.outputText.contains(#"may not publish "\#(shown)""#), "\(denied.outputText)")
        #expect(denied.outputText.contains(#"of \x1b[2J"#), "\(denied.outputText)")
        let allowed = try run(["acl", "check", "publish", topic, "--uid", "1", "--acl", path])
        #expect(allowed.wait() == 0)
        #expect(allowed.outputText == "allowed: rule \"a\\xe2\\x80\\xaeb\" (line 2)\n")
        #expect(try run(["acl", "show", "1", "--acl", path]).wait() == 0)
    }

    @Test(
        arguments: [
            ["acl", "check", "publish", "t/\u{1B}[2J"], ["acl", "check", "\u{1B}[2J"],
            ["sub", "t/#/\u{1B}[2J"], ["pub", "t", "x", "--\u{1B}[2J"], ["\u{1B}[2J"],
            ["sub", "t", "--overflow", "\u{1B}[2J"],
        ])
    func `wrong usage is said with harmless words`(arguments: [String]) throws {
        let refused = try run(arguments)
        #expect(refused.wait() == 64)
        #expect(refused.errorText.contains("\\x1b[2J"), "\(refused.errorText)")
        #expect(refused.errorText.contains("Usage: "))
        #expect(refused.outputText.isEmpty)
    }

    @Test func `an explanation of the broker is escaped once`() throws {
        let broker = try BrokerUnderTest()
        let refused = try broker.run(["pub", "$SYS/a\"b\\c", "x"])
        #expect(refused.wait() == 77)
        #expect(refused.errorText.contains(#""$SYS/a\"b\\c""#), "\(refused.errorText)")
        #expect(
            broker.process.waitForOutput { $0.errorText.contains(#"\"$SYS/a\"b\\c\" is"#) },
            "\(broker.process.errorText)")
    }
}
