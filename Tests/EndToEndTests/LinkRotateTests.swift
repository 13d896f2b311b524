import Foundation
import LinuxIO
import TestSupport
import Testing

/// The key file of a link, changed by real processes.
@Suite("broker link rotate")
struct LinkRotateTests {
    private let directory: TemporaryDirectory
    private let path: String

    init() throws {
        directory = try TemporaryDirectory()
        path = directory.path(of: "edge.key")
        let made = try ChildProcess([
            BrokerUnderTest.executable.path, "link", "keygen", "edge", "--out", path,
        ])
        try #require(made.wait() == 0, "\(made.errorText)")
    }

    private func rotate() throws -> ChildProcess {
        try ChildProcess([
            BrokerUnderTest.executable.path, "link", "rotate", "edge", "--file", path,
        ])
    }

    /// The id of the key in that state, in what a command printed or in the file.
    private func id(_ state: String, in text: String) -> String? {
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count > 2 else { continue }
            if words[1] == state { return String(words[0]) }
            if words[2] == "state=\(state)" { return String(words[1].dropFirst(3)) }
        }
        return nil
    }

    private func keyFile() throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

    /// Whether the kernel lists the process among those that wait for a lock of a file.
    private func isWaiting(_ process: ChildProcess) -> Bool {
        let locks = FileManager.default.contents(atPath: "/proc/locks") ?? Data()
        return String(decoding: locks, as: UTF8.self).split(separator: "\n").contains { line in
            line.contains("-> FLOCK") && line.split(separator: " ").contains("\(process.pid)")
        }
    }

    @Test func `rotations at the same time wait for each other, and no key is lost`() throws {
        let first = try #require(id("current", in: keyFile()))
        let rotations: [ChildProcess]
        do {
            // All of them begin while the file is being edited, and go on at once.
            let held = try FileDraft(replacing: path)
            rotations = try (0..<8).map { _ in try rotate() }
            for rotation in rotations {
                #expect(rotation.waitForOutput { _ in isWaiting(rotation) })
            }
            _ = consume held
        }
        for rotation in rotations { #expect(rotation.wait() == 0, "\(rotation.errorText)") }
        let outputs = rotations.map(\.outputText)
        for (rotation, output) in zip(rotations, outputs) {
            let isFirstStep = id("next", in: output) != nil
            #expect(rotation.errorText.contains("carry the file") == isFirstStep)
        }
        let added = outputs.compactMap { id("next", in: $0) }
        let promoted = outputs.filter { id("next", in: $0) == nil }
        #expect(Set(added).count == 4)
        #expect(Set(promoted.compactMap { id("current", in: $0) }) == Set(added))
        #expect(
            Set(promoted.compactMap { id("previous", in: $0) }).isSubset(of: added + [first]))
        #expect(try added.contains(#require(id("current", in: keyFile()))))
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["edge.key"])
    }

    @Test func `what is written is said to be, though its keys cannot be printed`() throws {
        func intoFullDisk(_ words: String) throws -> ChildProcess {
            try ChildProcess(
                ["sh", "-c", "exec \"$broker\" link \(words) > /dev/full"],
                environment: ["broker": BrokerUnderTest.executable.path])
        }
        let other = directory.path(of: "hub.key")
        let made = try intoFullDisk("keygen hub --out \(other)")
        #expect(made.wait() == 1)
        #expect(made.errorText.contains("\(other) was made all the same"), "\(made.errorText)")
        #expect(FileManager.default.fileExists(atPath: other))
        let rotated = try intoFullDisk("rotate edge --file \(path)")
        #expect(rotated.wait() == 1)
        #expect(
            rotated.errorText.contains("\(path) was rotated all the same"),
            "\(rotated.errorText)")
        #expect(rotated.errorText.contains("carry the file"), "\(rotated.errorText)")
        #expect(try id("next", in: keyFile()) != nil)
    }

    @Test func `a key file that is there is not replaced, and what to do is said`() throws {
        let before = try keyFile()
        let refused = try ChildProcess([
            BrokerUnderTest.executable.path, "link", "keygen", "edge", "--out", path,
        ])
        #expect(refused.wait() == 1)
        #expect(refused.errorText.contains("`broker link rotate`"), "\(refused.errorText)")
        #expect(try keyFile() == before)
    }

    @Test func `a rotated file keeps its owner and mode`() throws {
        let isRoot = CurrentProcess.effectiveUserID == 0
        var attributes: [FileAttributeKey: Any] = [.posixPermissions: 0o400]
        if isRoot { attributes[.groupOwnerAccountID] = 12_345 }
        try FileManager.default.setAttributes(attributes, ofItemAtPath: path)
        let rotation = try rotate()
        #expect(rotation.wait() == 0, "\(rotation.errorText)")
        #expect(try id("next", in: keyFile()) != nil)
        let found = try FileManager.default.attributesOfItem(atPath: path)
        #expect(found[.posixPermissions] as? Int == 0o400)
        if isRoot { #expect(found[.groupOwnerAccountID] as? Int == 12_345) }
    }

    @Test func `a file that cannot be rotated stays as it is, and nothing is left beside it`()
        throws
    {
        try "no key\n".write(toFile: path, atomically: false, encoding: .utf8)
        let refused = try rotate()
        #expect(refused.wait() == 1)
        #expect(refused.errorText.contains("its first line is not"), "\(refused.errorText)")
        #expect(try keyFile() == "no key\n")
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["edge.key"])

        let missing = try ChildProcess([
            BrokerUnderTest.executable.path, "link", "rotate", "x", "--file", "/none/x.key",
        ])
        #expect(missing.wait() == 1)
        #expect(missing.errorText.contains("/none/x.key"), "\(missing.errorText)")
    }
}
