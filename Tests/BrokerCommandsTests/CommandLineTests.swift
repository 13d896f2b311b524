import ArgumentParser
import Testing

@testable import BrokerCommands

@Suite("The command line")
struct CommandLineTests {
    @Test(
        "refuses with status 64 what is wrong or contradicts itself",
        arguments: [
            "pub", "pub t", "pub t a -m b", "pub t -l -s", "pub t -n -f x", "pub t a --repeat 0",
            "pub t -l --repeat 2", "pub t a --interval 1", "pub t a --interval x --repeat 2",
            "pub t a --format json", "pub a/+ x", "pub a/# x", "pub t a b", "sub", "sub a/#/b",
            "sub a+", "sub $share/x/y", "sub t -C 0", "sub t -C x", "sub t -W x",
            "sub t -F %z", "sub t -F %t --format json", "sub t --format xml",
            "sub t --from-uid 2-1", "sub t --from-uid 4294967295", "sub t --overflow wait",
            "sub t --queue-bytes -1", "status x", "status --format yaml", "doctor --socket=",
            "serve --socket-mode 999", "serve --socket-mode 1777", "serve --log-level loud",
            "serve --socket-group /", "serve --acl=", "serve --config=", "serve --name=",
            "serve --name a/b", "serve --name a\u{1B}b",
            "serve --name 65-bytes-are-one-more-than-the-protocol-has-room-for-in-a-name-xx",
            "bench --messages 0", "bench --messages 9223372036854775807 --publishers 2",
            "bench --size 15", "bench --size 262145", "publish t x", "--no-such-option",
        ])
    func usage(line: String) {
        let arguments = line.split(separator: " ").map(String.init)
        do {
            _ = try BrokerCommand.parseAsRoot(arguments)
            Issue.record("accepted: \(line)")
        } catch {
            #expect(BrokerCommand.exitCode(for: error).rawValue == 64, "\(line)")
        }
    }

    @Test(
        "accepts what the help says",
        arguments: [
            "pub t x", "pub t -m -5", "pub t -f -", "pub t -s --ack --format json", "pub t -n",
            "pub t -l --interval 100ms", "pub t x --repeat 3 --interval 0.5 -v",
            "sub a/+ # $SYS/#", "sub t -C 1 -W 2s", "sub t -C1 -W2", "sub t -F %t\\t%p",
            "sub t --from-uid 0 --from-uid 1000-1999 --from-uid root --from-gid 5",
            "sub t --overflow drop-oldest --queue-bytes 65536",
            "sub t --reconnect -C 1", "status --format json",
            "serve --socket /x --socket-mode 0660 --socket-group root --no-acl --log-level debug",
            "serve --name A.b_c-9", "doctor --format json",
            "pub --socket /x --broker-user root t x",
        ])
    func accepted(line: String) throws {
        _ = try BrokerCommand.parseAsRoot(line.split(separator: " ").map(String.init))
    }

    @Test("says what is wrong with a topic, and where")
    func topicMessage() {
        expectRefusal("pub a/# x", "the topic 'a/#' is invalid: byte 2 is a wildcard")
    }

    @Test(
        "says of whoever is not known here what is accepted",
        arguments: [
            ("sub t --from-uid nobody-here", "user"), ("sub t --from-gid nobody-here", "group"),
            ("pub t x --broker-user nobody-here", "user"),
            ("serve --socket-group nobody-here", "group"),
            ("acl check publish t --uid nobody-here", "user"),
            ("acl check publish t --gid nobody-here", "group"),
            ("acl check publish t --opener-uid nobody-here", "user"),
            ("acl check publish t --opener-group nobody-here", "group"),
            ("acl check publish t --namespace-owner nobody-here", "user"),
        ])
    func strangers(line: String, kind: String) {
        let function = kind == "user" ? "getpwnam(3)" : "getgrnam(3)"
        expectRefusal(
            line,
            "there is no \(kind) \"nobody-here\" on this machine: give a number, or a name that "
                + "\(function) finds")
    }

    @Test(
        "says what is wrong with the number of a user",
        arguments: [
            ("sub t --from-uid 7-5", "the range 7-5 is empty"),
            ("sub t --from-uid 5-", "'5-' is not a uid or a range FIRST-LAST"),
            ("sub t --from-gid 4294967295", "is never a gid"),
            ("acl check publish t --uid 4294967296", "they run from 0 to 4294967294"),
            ("acl check publish t --uid 5-7", "a range is not accepted here"),
        ])
    func numbers(line: String, reason: String) {
        expectRefusal(line, reason)
    }

    @Test(
        "names the range, and its unit, of a value that is not in it",
        arguments: [
            ("serve --socket-mode", ["1777", "rw", "-1"], "0 to 0777"),
            ("serve --poll-max", ["1001", "x", "-1"], "0 to 1000 microseconds"),
            ("serve --busy-max", ["0", "101", "x", "-1"], "1 to 100 percent"),
            ("serve --name", ["a/b", "a b", ".\u{1B}"], "1 to 64 letters"),
            ("sub t -W", ["x", "-1", "9000h"], "seconds, or 100ms, 2s, 5m, up to 366 days"),
            ("sub t -C", ["0", "x", "-1"], "1 or more"),
            ("sub t --queue-bytes", ["x", "-1", "4294967296"], "1 to 16777216"),
            ("pub t a --repeat", ["0", "x", "-1"], "1 or more"),
            ("pub t -l --interval", ["x", "-1", "9000h"], "2s, 5m, up to 366 days"),
            ("link status --watch", ["99ms", "x", "-1", "9000h"], "366 days"),
            ("link keygen", ["a/b", "../a", "a b", "ä", ""], "1 to 64 letters"),
            ("link rotate", ["a/b", "../a", "a b", "ä", ""], "1 to 64 letters"),
            ("acl learn --seconds", ["0", "86401", "x", "-1"], "1 to 86400 seconds"),
            ("bench --publishers", ["0", "65", "x", "-1"], "1 to 64"),
            ("bench --subscribers", ["0", "1001", "x", "-1"], "1 to 1000"),
            ("bench --size", ["15", "262145", "x", "-1"], "16 to 262144 bytes"),
            ("bench --messages", ["0", "x", "-1"], "1 to 1000000000000"),
            ("compare --listen s -C", ["0", "x", "-1"], "1 or more"),
        ])
    func ranges(option: String, values: [String], range: String) {
        for value in values {
            do {
                _ = try BrokerCommand.parseAsRoot(
                    option.split(separator: " ").map(String.init) + [value])
                Issue.record("accepted: \(option) \(value)")
            } catch {
                #expect(BrokerCommand.exitCode(for: error).rawValue == 64)
                let message = BrokerCommand.fullMessage(for: error)
                #expect(message.contains(range), "\(option) \(value): \(message)")
            }
        }
    }

    private func expectRefusal(_ line: String, _ reason: String) {
        do {
            _ = try BrokerCommand.parseAsRoot(line.split(separator: " ").map(String.init))
            Issue.record("accepted: \(line)")
        } catch {
            #expect(BrokerCommand.exitCode(for: error).rawValue == 64, "\(line)")
            let message = BrokerCommand.message(for: error)
            #expect(message.contains(reason), "\(line): \(message)")
        }
    }

    @Test("keeps the text of an argument from moving the cursor")
    func controlCharacters() {
        do {
            _ = try BrokerCommand.parseAsRoot(["pub", "a\u{1B}[2J", "x"])
            Issue.record("accepted")
        } catch {
            #expect(!BrokerCommand.message(for: error).contains("\u{1B}"))
        }
    }
}
