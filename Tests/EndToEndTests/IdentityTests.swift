import Foundation
import TestSupport
import Testing

/// Who really sent each message: the actors report themselves, and `broker sub` must agree.
@Suite("Identity of each message", .serialized, .enabled(if: Actors.isAvailable, "needs python3"))
struct IdentityTests {
    /// Runs a scene with a subscriber and gives what it printed, beside what the actor said.
    private func deliver(
        _ scene: String, _ arguments: String...
    ) throws -> (message: DeliveredMessage, truth: [String: Any]) {
        let broker = try BrokerUnderTest()
        let subscriber = try broker.run(["sub", "scene/#", "-C", "1", "--format", "json"])
        try broker.waitForSubscriptions(1)
        let actor = try Actors(broker: broker).start(scene, arguments)
        #expect(actor.wait() == 0, "\(actor.errorText)")
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        let message = try DeliveredMessage(try #require(subscriber.outputLines.first))
        // The orphan of `outlived` may print after its parent has gone.
        #expect(actor.waitForOutput { !$0.outputLines.isEmpty })
        let truth = try Actors.object(try #require(actor.outputLines.first))
        return (message, truth)
    }

    private func expectTruth(
        _ message: DeliveredMessage, _ truth: [String: Any],
        location: SourceLocation = #_sourceLocation
    ) {
        #expect(message.sender("pid") == truth["pid"] as? Int, sourceLocation: location)
        #expect(message.sender("uid") == truth["uid"] as? Int, sourceLocation: location)
        #expect(message.sender("gid") == truth["gid"] as? Int, sourceLocation: location)
        #expect(message.opener("pid") == truth["openerPID"] as? Int, sourceLocation: location)
        #expect(message.opener("uid") == truth["openerUID"] as? Int, sourceLocation: location)
    }

    @Test("A process that publishes on its own connection is not delegated")
    func sameProcess() throws {
        let (message, truth) = try deliver("same")
        expectTruth(message, truth)
        #expect(message.isDelegated == false)
        #expect(message.payload == "same")
        #expect(message.sender("process") != nil)
    }

    @Test("A forked child is another sender on the same connection")
    func forkedChild() throws {
        let (message, truth) = try deliver("forked")
        expectTruth(message, truth)
        #expect(message.isDelegated == true)
        #expect(message.sender("pid") != message.opener("pid"))
    }

    @Test(
        "A child that gave up root is seen with the uid it has now",
        .enabled(if: Actors.isRoot, "needs root"))
    func droppedChild() throws {
        let (message, truth) = try deliver("dropped", "1000")
        expectTruth(message, truth)
        #expect(message.sender("uid") == 1000)
        #expect(message.opener("uid") == 0)
        #expect(message.isDelegated == true)
    }

    @Test(
        "Who was handed the descriptor is the sender, not who opened it",
        .enabled(if: Actors.isRoot, "needs root"))
    func handedOver() throws {
        let (message, truth) = try deliver("handed", "1001")
        expectTruth(message, truth)
        #expect(message.sender("uid") == 1001)
        #expect(message.isDelegated == true)
    }

    @Test("A message of an orphan still names the opener that has exited")
    func openerExited() throws {
        let (message, truth) = try deliver("outlived")
        expectTruth(message, truth)
        #expect(message.isDelegated == true)
    }

    @Test(
        "The issue's own line: another uid publishes, the subscriber sees uid and pid",
        .enabled(if: Actors.isRoot, "needs root"))
    func setprivPublisher() throws {
        let broker = try BrokerUnderTest()
        let subscriber = try broker.run(["sub", "t", "-C", "1", "--format", "json"])
        try broker.waitForSubscriptions(1)
        let publisher = try broker.run(
            ["pub", "t", "hi"],
            prefix: ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"])
        // env, setpriv and broker are one process: each execs the next.
        let pid = Int(publisher.pid)
        #expect(publisher.wait() == 0, "\(publisher.errorText)")
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        let message = try DeliveredMessage(try #require(subscriber.outputLines.first))
        #expect(message.topic == "t")
        #expect(message.payload == "hi")
        #expect(message.fields["encoding"] as? String == "utf8")
        #expect(message.sender("uid") == 1000)
        #expect(message.sender("gid") == 1000)
        #expect(message.sender("pid") == pid)
        #expect(message.opener("pid") == pid)
        #expect(message.opener("uid") == 1000)
        #expect(message.isDelegated == false)
        #expect(message.level == "kernel")
        #expect(message.fields["sequence"] as? Int != nil)
        #expect(message.fields.keys.contains("origin"))
        let time = try #require(message.fields["time"] as? String)
        #expect(time.hasSuffix("Z") && time.contains("T"))
    }

    @Test(
        "100,000 messages of two uids on one connection all name their writer",
        .enabled(if: Actors.isRoot, "needs root"))
    func interleavedWriters() throws {
        let total = 100_000
        let broker = try BrokerUnderTest()
        let subscriber = try broker.run([
            "sub", "shared/connection", "-C", "\(total)", "-W", "60", "--format", "json",
        ])
        try broker.waitForSubscriptions(1)
        let truth = try #require(
            try Actors(broker: broker).play("interleaved", "\(total)", "1000").first)
        #expect(subscriber.wait(seconds: 90) == 0, "\(subscriber.errorText)")
        let uids = try #require(truth["uids"] as? [Int])
        let pids = try #require(truth["pids"] as? [Int])
        var seen: [Int: Int] = [:]
        var wrong = 0
        for line in subscriber.outputLines {
            let message = try DeliveredMessage(line)
            let words = message.payload?.split(separator: " ").compactMap { Int($0) } ?? []
            guard words.count == 3, message.sender("uid") == words[0],
                message.sender("pid") == words[1], seen[words[0], default: 0] == words[2]
            else {
                wrong += 1
                continue
            }
            seen[words[0], default: 0] += 1
        }
        #expect(wrong == 0)
        #expect(seen == [uids[0]: total / 2, uids[1]: total / 2])
        #expect(Set(pids).count == 2)
    }

    @Test("Descriptors sent along never stay in the broker")
    func descriptorsSentAlong() throws {
        let broker = try BrokerUnderTest()
        _ = try broker.status()
        let before = broker.descriptorCount(connections: 0)
        let told = try Actors(broker: broker).play("descriptors")
        #expect(told.first?["refused"] as? Int != nil)
        #expect(broker.settles { $0.descriptorCount <= before })
    }

    @Test("What a program prints to an inherited connection is no message, and ends it")
    func printedText() throws {
        let broker = try BrokerUnderTest()
        let told = try #require(try Actors(broker: broker).play("text").first)
        #expect(told["kind"] as? Int == 0x0C)
        #expect(told["reason"] as? Int == 0x81)
        #expect(told["end"] as? Bool == true)
        #expect(try broker.counter("messagesAccepted") == 0)
        #expect(try broker.counter("packetsMalformed") == 1)
    }
}
