import Foundation
import TestSupport
import Testing

/// What becomes of an access file while a broker has it in force.
@Suite("Access files that come and go", .serialized)
struct AccessFileChangesTests {
    private let files = FileManager.default
    private let ruled: RuledBroker

    init() throws {
        ruled = try RuledBroker(Self.rule("a"))
        // Whoever has connected knows that the file is watched: it was read before.
        #expect(try allows("a"))
    }

    /// Lets whoever runs the tests publish to a topic.
    private static func rule(_ topic: String) -> String {
        "[[rule]]\nuid = \"any\"\nallow = [\"publish\", \"inspect\", \"administer\"]\n"
            + "topics = \"\(topic)\"\n"
    }

    private func allows(_ topic: String) throws -> Bool {
        switch try ruled.broker.run(["pub", topic, "hi", "--ack"]).wait() {
        case 0: true
        case 77: false
        case let other: throw BrokerUnderTest.Failure(description: "pub: \(other ?? -1)")
        }
    }

    private func waitForError(_ text: String?) throws {
        #expect(
            try ruled.broker.settles {
                let error = try $0.rules()["error"] as? String
                return text.map { error?.contains($0) == true } ?? (error == nil)
            }, "\(text ?? "no error"): \(ruled.broker.process.errorText)")
    }

    private func logged(_ text: String) -> Int {
        ruled.broker.process.errorText.components(separatedBy: text).count - 1
    }

    @Test func `a file that is not usable for a while is said once, and changes nothing`() throws {
        try files.setAttributes([.posixPermissions: 0o666], ofItemAtPath: ruled.path)
        try waitForError("chmod go-w")
        for number in 0..<20 {
            try "x".write(
                toFile: ruled.directory.path(of: "\(number)"), atomically: false, encoding: .utf8)
        }
        #expect(try allows("a"))
        // It is asked for, so it is said.
        ruled.broker.process.send(signal: SIGHUP)
        #expect(ruled.broker.process.waitForOutput { $0.errorText.contains("cause=signal") })
        try files.setAttributes([.posixPermissions: 0o644], ofItemAtPath: ruled.path)
        try waitForError(nil)
        #expect(logged("access rules unchanged") == 2)
        #expect(logged("access rules are as before") == 1)
        #expect(logged("access rules changed") == 0)
        #expect(try ruled.broker.rules()["changes"] as? Int == 0)
    }

    @Test func `what is no file in its place is noticed, and so is the file when it is back`()
        throws
    {
        let aside = ruled.directory.path(of: "aside")
        try files.moveItem(atPath: ruled.path, toPath: aside)
        try files.createDirectory(atPath: ruled.path, withIntermediateDirectories: false)
        try waitForError("not a regular file")
        try files.removeItem(atPath: ruled.path)
        try waitForError("ENOENT")
        try files.createSymbolicLink(atPath: ruled.path, withDestinationPath: aside)
        try waitForError("symbolic link")
        #expect(try allows("a"))
        try files.removeItem(atPath: ruled.path)
        try files.moveItem(atPath: aside, toPath: ruled.path)
        try waitForError(nil)
        #expect(logged("access rules changed") == 0)
    }

    @Test func `another directory in the place of the old one is read and watched`() throws {
        let directory = ruled.directory.path
        let aside = directory + ".aside"
        defer { try? files.removeItem(atPath: aside) }
        try files.moveItem(atPath: directory, toPath: aside)
        try waitForError("ENOENT")
        try files.createDirectory(
            atPath: directory, withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o755])
        try ruled.write(Self.rule("b"))
        try waitForError(nil)
        #expect(try allows("b"))
        // Without a signal.
        try ruled.write(Self.rule("c"))
        #expect(try ruled.broker.settles { try $0.rules()["changes"] as? Int == 2 })
        #expect(try allows("c"))
    }

    @Test func `a file that is being written is not read before it is closed`() throws {
        try files.removeItem(atPath: ruled.path)
        try waitForError("ENOENT")
        let writer = try ChildProcess(["sh", "-c", "exec cat > \"$0\"", ruled.path])
        #expect(ruled.broker.settles { _ in files.fileExists(atPath: ruled.path) })
        // The broker looks several times in this time.
        Thread.sleep(forTimeInterval: 0.7)
        try writer.write("version = 1\n" + Self.rule("b"))
        try waitForError("ENOENT")
        writer.closeInput()
        #expect(writer.wait() == 0)
        try waitForError(nil)
        #expect(try allows("b"))
        #expect(logged("access rules changed") == 1)
    }

    @Test func `rules that are read again and are the same are as before`() throws {
        let reload = try ruled.broker.run(["acl", "reload"])
        #expect(reload.wait() == 0, "\(reload.errorText)")
        #expect(reload.outputText == "1 rule in force, as before\n")
        ruled.broker.process.send(signal: SIGHUP)
        #expect(ruled.broker.process.waitForOutput { $0.errorText.contains("cause=signal") })
        #expect(logged("access rules are as before") == 2)
        try ruled.write(Self.rule("b"))
        let change = try ruled.broker.run(["acl", "reload"])
        #expect(change.wait() == 0, "\(change.errorText)")
        #expect(try ruled.broker.rules()["changes"] as? Int == 1)
        #expect(logged("access rules changed") == 1)
    }

    @Test func `what is not there yet, or there already, is said with what to do`() throws {
        let none = ruled.directory.path(of: "none.toml")
        let missing = try ruled.broker.run(["acl", "list", "--acl", none])
        #expect(missing.wait() == 1)
        #expect(missing.errorText.contains("`broker acl allow` makes one"))
        let add = ["acl", "allow", "publish", "x", "--uid", "1", "--acl", none]
        #expect(try ruled.broker.run(add).wait() == 0)
        let text = try String(contentsOfFile: none, encoding: .utf8)
        let again = try ruled.broker.run(add)
        #expect(again.wait() == 1)
        #expect(
            again.errorText.contains(#"a rule "allow publish x for 1" already, in line 3"#),
            "\(again.errorText)")
        #expect(try ruled.broker.run(add + ["--name", "another"]).wait() == 0)
        let remove = try ruled.broker.run(["acl", "remove", "2", "--acl", none])
        #expect(remove.wait() == 0)
        #expect(remove.errorText.contains(#"removed rule "another""#), "\(remove.errorText)")
        #expect(try String(contentsOfFile: none, encoding: .utf8) == text)
        for command in ["list", "status"] {
            let links = try ruled.broker.run(["link", command])
            #expect(links.wait() == 0)
            #expect(links.errorText.contains("started without --config"))
        }
    }

    @Test func `a broker without rules has to be started again to use some`() throws {
        let broker = try BrokerUnderTest(["--no-acl"])
        let allow = try broker.run([
            "acl", "allow", "publish", "x", "--uid", "1", "--acl", ruled.path,
        ])
        #expect(allow.wait() == 0)
        #expect(allow.errorText.contains("start it again"), "\(allow.errorText)")
        let reload = try broker.run(["acl", "reload"])
        #expect(reload.wait() == 1)
        for words in ["the old rules stay", "without an access file", "--acl", "--config"] {
            #expect(reload.errorText.contains(words), "\(reload.errorText)")
        }
    }
}
