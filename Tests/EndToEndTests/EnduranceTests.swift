import Foundation
import TestSupport
import Testing

/// Crowds, the deaf, the silent and the killed: nobody costs anybody else anything.
@Suite("Endurance", .serialized, .enabled(if: Actors.isAvailable, "needs python3"))
struct EnduranceTests {
    /// A publish and its delivery, as somebody who has nothing to do with the trouble.
    private func expectService(_ broker: BrokerUnderTest) throws {
        let subscriber = try broker.run(["sub", "calm/topic", "-C", "1", "-W", "20"])
        #expect(
            try broker.settles {
                try $0.otherSessions().contains {
                    ($0["subscriptions"] as? [[String: Any]])?.contains {
                        $0["filters"] as? [String] == ["calm/topic"]
                    } ?? false
                }
            })
        #expect(try broker.run(["pub", "calm/topic", "fine", "--ack"]).wait() == 0)
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        #expect(subscriber.outputText.contains("fine"))
    }

    @Test("1,000 connections with 10,000 subscriptions come, are served, go and leave nothing")
    func crowd() throws {
        let broker = try BrokerUnderTest()
        try expectService(broker)
        let descriptors = broker.descriptorCount(connections: 0)
        let actors = Actors(broker: broker)
        // The first crowd grows the tables to their size, the second must not grow them more.
        var residentKiB: [Int] = []
        for _ in 0..<3 {
            let crowd = try actors.start("crowd", ["1000", "10"])
            #expect(crowd.waitForOutput(seconds: 120) { !$0.outputLines.isEmpty })
            #expect(try broker.subscriptionCount() == 10_000)
            let before = try broker.counter("messagesDelivered") ?? 0
            #expect(try broker.run(["pub", "crowd/all", "-m", "everybody", "--ack"]).wait() == 0)
            #expect(
                try broker.settles { try $0.counter("messagesDelivered") ?? 0 >= before + 1_000 })
            try expectService(broker)
            crowd.closeInput()
            #expect(crowd.wait(seconds: 60) == 0, "\(crowd.errorText)")
            let told = try Actors.object(try #require(crowd.outputLines.last))
            #expect(told["received"] as? Int == 1_000)
            #expect(broker.settles { $0.descriptorCount <= descriptors })
            residentKiB.append(broker.residentKiB)
        }
        #expect(try broker.subscriptionCount() == 0)
        #expect(residentKiB[2] - residentKiB[1] < 4_096, "grew: \(residentKiB) KiB")
        #expect(broker.stop() == 0)
    }

    @Test("A subscriber that never reads is ended, and only it")
    func deafSubscriber() throws {
        let broker = try BrokerUnderTest()
        let deaf = try Actors(broker: broker).start("deaf", ["flood/#"])
        #expect(deaf.waitForOutput { !$0.outputLines.isEmpty })
        let listener = try broker.run([
            "sub", "flood/#", "-C", "40000", "-W", "60", "--overflow", "block",
            "--format", "json",
        ])
        try broker.waitForSubscriptions(2)
        let publisher = try broker.run([
            "pub", "flood/one", "-m", String(repeating: "x", count: 1_000), "--repeat", "40000",
        ])
        #expect(publisher.wait(seconds: 60) == 0, "\(publisher.errorText)")
        #expect(listener.wait(seconds: 60) == 0, "\(listener.errorText)")
        #expect(listener.outputLines.count == 40_000)
        #expect(try broker.counter("subscribersTooSlow") == 1)
        try expectService(broker)
        deaf.closeInput()
        #expect(deaf.wait() == 0)
    }

    @Test("Clients killed at random moments leave no descriptor and no memory behind")
    func killedClients() throws {
        let broker = try BrokerUnderTest()
        try expectService(broker)
        let descriptors = broker.descriptorCount(connections: 0)
        let actors = Actors(broker: broker)
        var random = SystemRandomNumberGenerator()
        var residentKiB: [Int] = []
        for round in 0..<3 {
            let clients = try (0..<6).map { try actors.start("churn", ["60", "\(round)\($0)"]) }
            for client in clients.shuffled(using: &random) {
                Thread.sleep(forTimeInterval: Double.random(in: 0.05...0.3, using: &random))
                client.send(signal: SIGKILL)
            }
            for client in clients { client.wait() }
            // What they left in the backlog still comes, and counts for their user.
            #expect(broker.settles { $0.descriptorCount(connections: 0) <= descriptors })
            residentKiB.append(broker.residentKiB)
            try expectService(broker)
        }
        #expect(try broker.subscriptionCount() == 0)
        #expect(residentKiB[2] - residentKiB[1] < 8_192, "grew: \(residentKiB) KiB")
        let users = try #require(try broker.status()["users"] as? [[String: Any]])
        for user in users {
            #expect(user["queuedBytes"] as? Int ?? 0 <= 65_536)
            #expect(user["greetings"] as? Int == 0)
        }
        #expect(broker.stop() == 0)
    }

    @Test("Silent connections of one uid do not keep another uid out")
    func silentConnections() throws {
        let broker = try BrokerUnderTest()
        let silent = try Actors(broker: broker).start("silent", ["300"])
        #expect(silent.waitForOutput { !$0.outputLines.isEmpty })
        // 256 may greet; the others were refused, and so is this uid until they give up.
        #expect(broker.refusesConnections)
        if Actors.isRoot {
            let other = try broker.run(
                ["pub", "t", "hi", "--ack"],
                prefix: ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"])
            #expect(other.wait() == 0, "\(other.errorText)")
        }
        silent.closeInput()
        #expect(silent.wait() == 0)
    }

    @Test("Few descriptors: accepting rests and recovers, the broker neither spins nor exits")
    func descriptorsExhausted() throws {
        let broker = try BrokerUnderTest()
        let limit = try ChildProcess(
            ["prlimit", "--pid", "\(broker.process.pid)", "--nofile=64:64"])
        try #require(limit.wait() == 0)
        let silent = try Actors(broker: broker).start("silent", ["100"])
        #expect(silent.waitForOutput { !$0.outputLines.isEmpty })
        #expect(broker.process.waitForOutput { $0.errorText.contains("cannot accept") })
        let before = broker.processorSeconds
        Thread.sleep(forTimeInterval: 1)
        #expect(broker.processorSeconds - before < 0.5)
        silent.closeInput()
        #expect(silent.wait() == 0)
        try expectService(broker)
    }

    @Test("Questions about topics that are none, or about none, are refused, and end nothing")
    func wrongQuestions() throws {
        let broker = try BrokerUnderTest()
        let right = ["publish name a/b", "subscribe filter a/#", "inspect name "]
        let wrong = [
            "publish name ", "subscribe filter ", "inspect filter a", "administer filter ",
            "publish name a/+", "subscribe filter a/#/b", "block filter a+",
        ]
        let answers = try Actors(broker: broker).play("check", right + wrong)
        #expect(
            answers.map { $0["isAnswered"] as? Bool }
                == right.map { _ in true } + wrong.map { _ in false })
        try expectService(broker)
    }
}

extension BrokerUnderTest {
    /// Whether connections come to be refused, as the log tells, which does not name each: status
    /// would need a connection of its own.
    fileprivate var refusesConnections: Bool {
        process.waitForOutput { child in
            child.errorText.contains("connection refused")
        }
    }

    /// Processor time used so far.
    fileprivate var processorSeconds: Double {
        let text = (try? String(contentsOfFile: "/proc/\(process.pid)/stat", encoding: .utf8)) ?? ""
        let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12])
        else { return 0 }
        return (user + system) / 100
    }
}
