import Foundation
import TestSupport
import Testing

/// Others may use up the threads of a machine, or of a user.
@Suite("Without more threads", .enabled(if: Actors.isRoot, "needs root"))
struct ThreadLimitTests {
    private let user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]

    @Test func `names of peers are not looked up, which is said, and looked up later`() throws {
        let brokers = try LinkedServers()
        let key = try brokers.makeKey("edge")
        try FileManager.default.setAttributes([.ownerAccountID: 1000], ofItemAtPath: key)
        let hub = LinkedServers.Link(
            peer: "hub", role: "connect", address: "tcp://no-such-host.invalid:1", key: key)
        let broker = try BrokerUnderTest(
            ["--name", "edge", "--config", try brokers.configure("edge", [hub]), "--no-acl"],
            prefix: user, owner: 1000)
        func count(_ text: String) -> Int {
            broker.process.errorText.split(separator: "\n").count { $0.contains(text) }
        }
        /// Root's limit is not looked at, that of a user is, and only a user may change its own.
        func limit(_ threads: Int) throws {
            let command = ["prlimit", "--pid", "\(broker.process.pid)", "--nproc=\(threads):"]
            let change = try ChildProcess(user + command)
            #expect(change.wait() == 0, "\(change.errorText)")
        }
        #expect(broker.process.waitForOutput { _ in count("no-such-host.invalid: ") > 0 })
        try limit(1)
        let isSaid = broker.process.waitForOutput { _ in count("EAGAIN") > 1 }
        #expect(isSaid, "\(broker.process.errorText.suffix(2_000))")
        #expect(broker.process.errorText.contains("TasksMax="))
        try #require(broker.process.isRunning)
        let before = count("no-such-host.invalid: ")
        try limit(512)
        #expect(broker.process.waitForOutput { _ in count("no-such-host.invalid: ") > before })
        #expect(broker.stop() == 0)
    }
}
