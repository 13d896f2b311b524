import BrokerCore
import Foundation
import LinuxIO
import TestSupport
import Testing

@testable import BrokerConfig

@Suite("The access file on disk: who may own it, and how it is replaced")
struct AccessFileSourceTests {
    private let directory: TemporaryDirectory
    private let path: String
    private let isRoot = CurrentProcess.effectiveUserID == 0
    private let valid = "version = 1\n[[rule]]\nuid = 1\nallow = \"inspect\"\n"

    init() throws {
        directory = try TemporaryDirectory(mode: 0o755)
        path = directory.path(of: "acl.toml")
        try valid.write(toFile: path, atomically: false, encoding: .utf8)
        try setMode(0o640, path)
    }

    private func setMode(_ mode: Int, _ path: String) throws {
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    private func setOwner(_ uid: Int, _ gid: Int, _ path: String) throws {
        try FileManager.default.setAttributes(
            [.ownerAccountID: uid, .groupOwnerAccountID: gid], ofItemAtPath: path)
    }

    private func source(_ path: String? = nil) -> AccessFileSource {
        AccessFileSource(
            path: path ?? self.path, brokerUID: CurrentProcess.effectiveUserID, names: .sample)
    }

    private func expectRefused(
        _ words: String..., path: String? = nil, location: SourceLocation = #_sourceLocation
    ) {
        do {
            _ = try source(path).load()
            Issue.record("it was read", sourceLocation: location)
        } catch {
            for word in words {
                #expect(error.description.contains(word), "\(error)", sourceLocation: location)
            }
        }
    }

    @Test("A file of ours that only we may write to is read")
    func good() throws {
        #expect(try source().load().file.rules.count == 1)
    }

    @Test("A file or directory that others may write to is refused, with the fix")
    func writable() throws {
        try setMode(0o660, path)
        expectRefused("mode 0660", "chmod go-w \(path)")
        try setMode(0o602, path)
        expectRefused("mode 0602")
        try setMode(0o600, path)
        try setMode(0o777, directory.path)
        expectRefused("mode 0777", "chmod go-w \(directory.path)")
        try setMode(0o755, directory.path)
        #expect(try source().load().file.rules.count == 1)
    }

    @Test(
        "A file of another user is refused, with the fix",
        .enabled(if: CurrentProcess.effectiveUserID == 0))
    func foreignOwner() throws {
        try setOwner(1000, 1000, path)
        expectRefused("belongs to uid 1000", "chown root")
        try setOwner(0, 0, path)
        try setOwner(1000, 1000, directory.path)
        expectRefused("belongs to uid 1000")
        let trusting = AccessFileSource(path: path, brokerUID: 1000, names: .sample)
        #expect(try trusting.load().file.rules.count == 1)
    }

    @Test("Symbolic links are refused, at the end and on the way")
    func symbolicLinks() throws {
        let link = directory.path(of: "link.toml")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
        expectRefused("symbolic link", "realpath", path: link)
        let alias = directory.path + "-alias"
        try FileManager.default.createSymbolicLink(
            atPath: alias, withDestinationPath: directory.path)
        defer { try? FileManager.default.removeItem(atPath: alias) }
        expectRefused("symbolic link", path: alias + "/acl.toml")
    }

    @Test("What is no file, or not there, is refused at once")
    func noFile() throws {
        expectRefused("ENOENT", path: path + ".missing")
        let fifo = directory.path(of: "fifo")
        #expect(try ChildProcess(["mkfifo", "-m", "600", fifo]).wait() == 0)
        expectRefused("not a regular file", path: fifo)
        expectRefused("'..'", path: directory.path + "/../x")
    }

    @Test("An edit keeps mode and owner and leaves nothing behind")
    func edit() throws {
        try setMode(0o600, path)
        if isRoot { try setOwner(0, 50, path) }
        let file = try source().edit { text throws(ConfigurationError) in
            text + Array("# more\n".utf8)
        }
        #expect(file.rules.count == 1)
        #expect(try String(contentsOfFile: path, encoding: .utf8) == valid + "# more\n")
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        if isRoot { #expect(attributes[.groupOwnerAccountID] as? Int == 50) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["acl.toml"])
    }

    @Test("An edit whose result would not load changes nothing")
    func brokenEdit() throws {
        #expect(throws: AccessFileSource.Failure.self) {
            try source().edit { _ throws(ConfigurationError) in Array("version = 9\n".utf8) }
        }
        #expect(try String(contentsOfFile: path, encoding: .utf8) == valid)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["acl.toml"])
    }

    @Test("Edits at the same time wait for each other, and none is lost")
    func simultaneousEdits() throws {
        let edits = 32
        let failures = Lock<[String]>([])
        DispatchQueue.concurrentPerform(iterations: edits) { number in
            do {
                _ = try source().edit { text throws(ConfigurationError) in
                    text + Array("# edit \(number)\n".utf8)
                }
            } catch {
                failures.withLock { $0.append("\(error)") }
            }
        }
        #expect(failures.withLock { $0 } == [])
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
        for number in 0..<edits { #expect(lines.contains("# edit \(number)")) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["acl.toml"])
    }

    @Test("What an editor left that was killed is no obstacle, another file in its place is")
    func draftLeftBehind() throws {
        let draft = directory.path(of: ".acl.toml.new")
        try "half of a much longer file, which is not what was asked for".write(
            toFile: draft, atomically: false, encoding: .utf8)
        _ = try source().edit { text throws(ConfigurationError) in text }
        #expect(try String(contentsOfFile: path, encoding: .utf8) == valid)

        let other = directory.path(of: "precious")
        try "precious".write(toFile: other, atomically: false, encoding: .utf8)
        try FileManager.default.linkItem(atPath: other, toPath: draft)
        let failure = #expect(throws: AccessFileSource.Failure.self) {
            try source().edit { text throws(ConfigurationError) in text + Array("# more\n".utf8) }
        }
        let text = try #require(failure).description
        #expect(text.contains(".acl.toml.new"), "\(text)")
        #expect(FileManager.default.fileExists(atPath: draft), "it is not ours to remove")
        #expect(try String(contentsOfFile: other, encoding: .utf8) == "precious")
        #expect(try String(contentsOfFile: path, encoding: .utf8) == valid)
    }
}
