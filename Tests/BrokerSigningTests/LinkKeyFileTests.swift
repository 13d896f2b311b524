import BrokerSigning
import Foundation
import TestSupport
import Testing

struct LinkKeyFileTests {
    static let secret = String(repeating: "5a", count: 32)

    static func line(
        id: String = "9f3c6a51e07d2b84", state: String = "current", secret: String = secret
    ) -> String {
        "key id=\(id) state=\(state) created=2026-11-23T06:00:00Z secret=\(secret)"
    }

    static func parse(_ lines: [String]) throws(LinkKeyFileError) -> [LinkKeyFile.Entry] {
        let text = Array((lines.joined(separator: "\n") + "\n").utf8)
        return try LinkKeyFile(parsing: text.span).entries
    }

    @Test func `a key file is written and read back`() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path(of: "edge.key")
        let made = try LinkKeyFile.generate(created: "2026-11-23T06:00:00Z")
        try made.create(path: path)
        let read = try LinkKeyFile.read(path: path)
        let (entries, expected) = (read.entries, made.entries)
        #expect(entries == expected)
        #expect(entries.map(\.state) == [.current])
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions]
        #expect(mode as? Int == 0o600)
    }

    @Test func `a key file is not replaced by a new one`() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path(of: "edge.key")
        try LinkKeyFile.generate(created: "now").create(path: path)
        #expect(throws: SigningError.self) {
            try LinkKeyFile.generate(created: "now").create(path: path)
        }
    }

    @Test func `rotation goes from next over current to previous`() throws {
        func written(_ file: borrowing LinkKeyFile) throws -> [LinkKeyFile.Entry] {
            var entries: [LinkKeyFile.Entry] = []
            try file.withText { text in entries = try LinkKeyFile(parsing: text).entries }
            return entries
        }
        var file = try LinkKeyFile.generate(created: "first")
        let first = file.entry(in: .current)?.id
        try file.addNext(created: "second")
        let second = file.entry(in: .next)?.id
        #expect(try written(file).map(\.id) == [first, second])
        #expect(try written(file).map(\.state) == [.current, .next])
        file.promote()
        #expect(try written(file).map(\.id) == [first, second])
        #expect(try written(file).map(\.state) == [.previous, .current])
    }

    @Test func `a key keeps its secret through rotation`() throws {
        let salt: [UInt8] = [1]
        var file = try LinkKeyFile.generate(created: "first")
        let id = file.entry(in: .current)?.id ?? 0
        let before = try file.derive(from: id, salt: salt.span, info: salt.span)
        try file.addNext(created: "second")
        file.promote()
        let after = try file.derive(from: id, salt: salt.span, info: salt.span)
        var isSame = false
        if let before, let after { isSame = before.equals(after) }
        #expect(isSame)
        let unknown = try file.derive(from: id ^ 1, salt: salt.span, info: salt.span)
        let isKnown =
            switch unknown {
            case .some: true
            case .none: false
            }
        #expect(!isKnown)
    }

    @Test(arguments: [0o640, 0o604, 0o620, 0o660, 0o644, 0o666])
    func `a file that others can get at is refused`(mode: Int) throws {
        let directory = try TemporaryDirectory()
        let path = directory.path(of: "edge.key")
        try LinkKeyFile.generate(created: "now").create(path: path)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        let error = #expect(throws: SigningError.self) {
            _ = try LinkKeyFile.read(path: path)
        }
        #expect(error?.description.contains("chmod 600") == true)
    }

    @Test func `a symbolic link, a directory and nothing are refused`() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path(of: "edge.key")
        try LinkKeyFile.generate(created: "now").create(path: path)
        let link = directory.path(of: "link.key")
        try FileManager.default.createSymbolicLink(
            atPath: link, withDestinationPath: path)
        for refused in [link, directory.path, directory.path(of: "none")] {
            let error = #expect(throws: SigningError.self) {
                _ = try LinkKeyFile.read(path: refused)
            }
            #expect(error?.description.contains("realpath") == (refused == link))
        }
    }

    @Test func `comments and empty lines are allowed`() throws {
        let entries = try Self.parse(["broker-link-key 1", "# edge", "", Self.line()])
        #expect(entries.count == 1)
        #expect(entries.first?.idText == "9f3c6a51e07d2b84")
    }

    @Test(
        arguments: [
            ([], "first line"),
            (["broker-link-key 2", line()], "first line"),
            (["broker-link-key 1\r", line() + "\r"], "as it is"),
            (["\u{FEFF}broker-link-key 1", line()], "as it is"),
            (["broker-link-key 1"], "no key in state current"),
            (["broker-link-key 1", line(state: "next")], "no key in state current"),
            (["broker-link-key 1", line(), line(state: "next")], "twice"),
            (["broker-link-key 1", line(), line(id: "9f3c6a51e07d2b85")], "more than one"),
            (["broker-link-key 1", line(state: "old")], "state is not"),
            (["broker-link-key 1", line(id: "0000000000000000")], "id is not"),
            (["broker-link-key 1", line(id: "9f3c")], "id is not"),
            (["broker-link-key 1", line(id: "+000000000000001")], "0 to 9 and a to f"),
            (["broker-link-key 1", line(id: "-000000000000000")], "0 to 9 and a to f"),
            (["broker-link-key 1", line(id: "9F3C6A51E07D2B84")], "0 to 9 and a to f"),
            (["broker-link-key 1", line(secret: "5a5a")], "does not end with"),
            (["broker-link-key 1", line(secret: String(repeating: "00", count: 32))], "all zeros"),
            (
                ["broker-link-key 1", line(secret: String(repeating: "zz", count: 32))],
                "hexadecimal"
            ),
            (["broker-link-key 1", "key " + line()], "it is not: key"),
            (["broker-link-key 1", line() + " extra=1"], "does not end with"),
        ] as [([String], String)])
    func `a malformed file is refused, and its secret not shown`(
        lines: [String], reason: String
    ) throws {
        let error = #expect(throws: LinkKeyFileError.self) { _ = try Self.parse(lines) }
        let explanation = error?.explanation ?? ""
        #expect(explanation.contains(reason), "\(explanation)")
        #expect(!explanation.contains("5a5a"))
    }

    @Test func `making and freeing secrets leaks no pages`() throws {
        // More than the 65,530 mappings that a process may have.
        for _ in 0..<70_000 { _ = try SecretBytes.random() }
    }
}
