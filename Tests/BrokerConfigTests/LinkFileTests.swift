import BrokerCore
import BrokerWire
import LinuxIO
import Testing

@testable import BrokerConfig

@Suite("Files of links: what loads, what does not, and in which line")
struct LinkFileTests {
    private static let certificates =
        "tls = { certificate = \"/c\", key = \"/k\", authority = \"/a\" }"

    /// A link with one more line in it; the line is number 5.
    private func link(_ line: String, name: String = "edge", address: String? = nil) -> String {
        """
        [[link]]
        name = "\(name)"
        \(address ?? "listen = \"tcp://0.0.0.0:7447\"")
        key = "/etc/broker/link.key"
        \(line)

        """
    }

    private func problems(_ text: String) -> [ConfigurationProblem] {
        do throws(ConfigurationError) {
            _ = try LinkFile.parse(Array(text.utf8), ownName: "hub")
            return []
        } catch {
            return error.problems
        }
    }

    private func expect(
        _ text: String, _ line: Int, _ words: String,
        location: SourceLocation = #_sourceLocation
    ) {
        problems(text).expect(line, words, location: location)
    }

    private static let twoLinks = """
        # two links
        [[link]]
        name = "edge-1"
        connect = "tcp://[fe80::1]:7447"
        key = "/etc/broker/edge-1.key"
        export = ["sensors/#",
                  "status/+"]
        import = ["commands/#"]
        origins = ["edge-*", "lab"]
        max_hops = 3
        queue_bytes = 1048576
        overflow = "block"
        tls = { certificate = "/c.pem", key = "/k.pem", authority = "/a.pem", peer_name = "e" }

        [[link]]
        name = "edge-2"
        listen = "unix:/run/links.sock"
        key = "/etc/broker/edge-2.key"
        tls = "psk"

        """

    @Test("A link with all keys is read")
    func wholeLink() throws {
        let links = try LinkFile.parse(Array(Self.twoLinks.utf8), ownName: "hub")
        let first = try #require(links.first)
        #expect(first.link.peer == "edge-1" && first.link.isConnector)
        #expect(first.address == .tcp(host: "fe80::1", port: 7447))
        #expect(first.keyPath == "/etc/broker/edge-1.key")
        let exports = first.link.exports.map { String(decoding: $0, as: UTF8.self) }
        #expect(exports == ["sensors/#", "status/+"])
        #expect(first.link.imports == [Array("commands/#".utf8)])
        #expect(first.link.origins == ["edge-*", "lab"])
        #expect(first.link.hopsMax == 3)
        #expect(first.link.queueBytesMax == 1_048_576)
        #expect(first.link.holdsPublishers)
        let files = LinkTLS.Files(certificate: "/c.pem", key: "/k.pem", authority: "/a.pem")
        #expect(first.tls == .certificate(files, peerName: "e"))
        let second = try #require(links.last)
        #expect(links.count == 2 && !second.link.isConnector)
        #expect(second.address == .unix(path: "/run/links.sock"))
        #expect(second.tls == .psk)
    }

    @Test("What is not said has its default")
    func defaults() throws {
        let link = try #require(try LinkFile.parse(Array(link("").utf8), ownName: "hub").first)
        #expect(link.link == LinkConfiguration(peer: "edge", isConnector: false))
        #expect(link.tls == nil)
        #expect(try LinkFile.parse([], ownName: "hub").isEmpty)
    }

    @Test("A table of its own and dotted keys serve for tls as well")
    func tlsTable() throws {
        let files = LinkTLS.Files(certificate: "/c", key: "/k", authority: "/a")
        for text in [
            "[link.tls]\ncertificate = \"/c\"\nkey = \"/k\"\nauthority = \"/a\"",
            "tls.certificate = \"/c\"\ntls.key = \"/k\"\ntls.authority = \"/a\"",
            Self.certificates,
        ] {
            let links = try LinkFile.parse(Array(link(text).utf8), ownName: "hub")
            #expect(links.first?.tls == .certificate(files, peerName: nil))
        }
    }

    @Test(
        "A value that cannot be is named with its line",
        arguments: [
            ("name = ", "not TOML"),
            ("colour = 1", "unknown key 'colour'"),
            ("max_hops = 9", "'max_hops' is 1 to 8 brokers"),
            ("max_hops = \"3\"", "'max_hops' is 1 to 8"),
            ("queue_bytes = 1", "'queue_bytes' is 262144 to 268435456 bytes"),
            ("overflow = \"fill\"", "'overflow' is"),
            ("overflow = 3", "'overflow' is a string, not a number"),
            ("export = \"a\"", "'export' is a list of strings"),
            ("export = [\"a#\"]", "filter 'a#' is invalid"),
            ("import = [\"$SYS/#\"]", "is the broker's own"),
            ("origins = [1]", "'origins' is a list of strings"),
            ("origins = [\"\"]", "is the name of no broker"),
            ("origins = [\"a b\"]", "is the name of no broker"),
            ("origins = [\"*-1\"]", "\"*\" stands for any text at the end"),
            ("tls = true", "'tls' is \"psk\", or a table"),
            ("tls = \"cert\"", "'tls' is \"psk\", or a table"),
            ("tls = { certificate = \"/c\", key = \"/k\" }", "'authority' in 'tls'"),
            ("tls = { certificate = \"c\", key = \"/k\", authority = \"/a\" }", "'certificate'"),
            (
                "tls = { certificate = \"/c\", key = \"/k\", authority = \"/a\", ciphers = \"\" }",
                "unknown key 'ciphers'"
            ),
            (
                "tls = { certificate = \"/c\", key = \"/k\", authority = \"/a\", peer_name = 1 }",
                "'peer_name'"
            ),
        ])
    func refused(line: String, words: String) {
        expect(link(line), 5, words)
    }

    @Test("What a certificate is to be for is one whole name or address, not the end of many")
    func peerNames() throws {
        func naming(_ name: String) -> String {
            link(Self.certificates.replacing(" }", with: ", peer_name = \"\(name)\" }"))
        }
        for name in ["edge-1", "Edge_1.example.org", "10.0.0.7", "fe80::1", "::1"] {
            #expect(problems(naming(name)).isEmpty, "\(name)")
        }
        let long = String(repeating: "a.", count: 126) + "ab"
        for name in [
            "", ".", ".example.org", "example.org.", "a..b", "*.org", "a b", "é", ":", "a:1",
            "fe80::1%lo", "tcp://a", long,
        ] {
            expect(naming(name), 5, "letters, digits, '-' and '_'")
        }
    }

    @Test("The name, the address and the key file are needed")
    func needed() {
        expect(link("", name: "a b"), 2, "is no name for a linked broker")
        expect(link("", name: "hub"), 2, "a broker has no link to itself")
        expect(link("", address: ""), 1, "either 'connect' or 'listen'")
        expect(link("connect = \"unix:/a\""), 3, "either 'connect' or 'listen'")
        expect(link("", address: "listen = \"7447\""), 3, "is no address")
        expect(link("", address: "listen = 7447"), 3, "'listen' is a string, not a number")
        expect("[[link]]\nlisten = \"unix:/a\"\nkey = \"/k\"\n", 1, "'name' is missing")
        expect("[[link]]\nname = \"a\"\nlisten = \"unix:/a\"\n", 1, "whole path of a key file")
        expect("[[link]]\nname = \"a\"\nlisten = \"unix:/a\"\nkey = \"k\"\n", 4, "whole path")
        expect("[link]\nname = \"a\"\n", 1, "links begin with [[link]]")
        expect("link = [1]\n", 1, "links begin with [[link]]")
    }

    @Test("What is wrong is told once, and as such")
    func oneProblemForOneMistake() {
        let (name, address, key) = ("name = \"a\"\n", "listen = \"unix:/a\"\n", "key = \"/k\"\n")
        for (text, words) in [
            ("name = 5\n" + address + key, "'name' is a string, not a number"),
            (name + address + "key = 5\n", "'key' is a string, not a number"),
            (name + address, "'key' is missing: the whole path of a key file"),
            (name + address + "key = \"k\"\n", "'key' is the whole path of a key file"),
        ] {
            let found = problems("[[link]]\n" + text)
            #expect(found.count == 1 && found[0].text.hasPrefix(words), "\(found)")
        }
    }

    @Test("All that is wrong is told at once, in the order of lines")
    func several() {
        let text = link("max_hops = 0") + link("colour = 1")
        #expect(problems(text).map(\.line) == [5, 10])
        expect(link("") + link(""), 7, "more than one link to edge")
    }

    @Test("Links that listen at one address have TLS in common, the peer's name excepted")
    func sharedListener() {
        let named = Self.certificates.replacing(" }", with: ", peer_name = \"b\" }")
        for (first, second, isRefused) in [
            ("", "tls = \"psk\"", true), ("tls = \"psk\"", "", true),
            ("tls = \"psk\"", Self.certificates, true), ("tls = \"psk\"", "tls = \"psk\"", false),
            (Self.certificates, named, false), ("", "", false),
            (Self.certificates, Self.certificates.replacing("/a", with: "/b"), true),
        ] {
            let text = link(first, name: "a") + link(second, name: "b")
            #expect(problems(text).isEmpty == !isRefused, "\(first) \(second)")
        }
        let elsewhere = link("tls = \"psk\"", name: "b", address: "listen = \"unix:/b\"")
        #expect(problems(link("", name: "a") + elsewhere).isEmpty)
    }

    @Test("There are as many links as bits in a number")
    func tooMany() {
        let links = (0...LinkLimits.linksMax).map { link("", name: "edge-\($0)") }
        expect(links.joined(), 0, "more than \(LinkLimits.linksMax) links")
        #expect(problems(links.dropLast().joined()).isEmpty)
    }
}
