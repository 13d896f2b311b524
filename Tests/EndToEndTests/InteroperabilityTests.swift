import Foundation
import TestSupport
import Testing

/// The Swift commands and the Python reference client, which was written from Protocol/README.md
/// alone, understand each other.
@Suite(
    "Interoperability", .serialized, .enabled(if: Actors.isAvailable, "needs python3"))
struct InteroperabilityTests {
    private func reference(
        _ broker: BrokerUnderTest, _ arguments: [String]
    ) throws -> ChildProcess {
        try ChildProcess(
            [Actors.python, Actors.referenceClient.path, "--socket", broker.socketPath]
                + arguments)
    }

    private static let payloads = ["plain", "ünïcödé ✓", "\"quoted\" \\ back\tslash", " "]

    @Test("Swift publishes, Python receives")
    func swiftToPython() throws {
        let broker = try BrokerUnderTest()
        let subscriber = try reference(
            broker, ["sub", "inter/+", "-C", "\(Self.payloads.count)", "-W", "30"])
        try broker.waitForSubscriptions(1)
        for payload in Self.payloads {
            #expect(try broker.run(["pub", "inter/swift", "-m", payload, "--ack"]).wait() == 0)
        }
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        let received = try subscriber.outputLines.map(DeliveredMessage.init)
        #expect(received.map(\.payload) == Self.payloads)
        #expect(received.allSatisfy { $0.sender("uid") == Int(getuid()) })
    }

    @Test("Python publishes, Swift receives")
    func pythonToSwift() throws {
        let broker = try BrokerUnderTest()
        let subscriber = try broker.run([
            "sub", "inter/#", "-C", "\(Self.payloads.count)", "-W", "30", "--format", "json",
        ])
        try broker.waitForSubscriptions(1)
        var pids: [Int] = []
        for payload in Self.payloads {
            let publisher = try reference(broker, ["pub", "inter/python", payload, "--ack"])
            pids.append(Int(publisher.pid))
            #expect(publisher.wait() == 0, "\(publisher.errorText)")
        }
        #expect(subscriber.wait() == 0, "\(subscriber.errorText)")
        let received = try subscriber.outputLines.map(DeliveredMessage.init)
        #expect(received.map(\.payload) == Self.payloads)
        #expect(received.map { $0.sender("pid") } == pids)
    }

    @Test("Both see the same status document")
    func status() throws {
        let broker = try BrokerUnderTest()
        let python = try reference(broker, ["status"])
        #expect(python.wait() == 0, "\(python.errorText)")
        let document = try #require(
            try JSONSerialization.jsonObject(with: Data(python.outputText.utf8))
                as? [String: Any])
        let swift = try broker.status()
        #expect(document["instance"] as? String == swift["instance"] as? String)
        #expect(Set(document.keys) == Set(swift.keys))
    }

    @Test("Both look for the broker in the same place")
    func defaultPaths() throws {
        let broker = try BrokerUnderTest()
        let program = try broker.share(BrokerUnderTest.executable)
        _ = try broker.share(Actors.referenceClient)
        let uid = Actors.isRoot ? 1000 : Int(getuid())
        let user = Actors.isRoot ? ["setpriv", "--reuid=1000", "--clear-groups"] : []
        for (variables, path) in [
            ([], "/run/user/\(uid)/broker.sock"),
            (["XDG_RUNTIME_DIR="], "/run/user/\(uid)/broker.sock"),
            (["XDG_RUNTIME_DIR=/none"], "/none/broker.sock"),
            (["XDG_RUNTIME_DIR=/none", "BROKER_SOCKET="], "/none/broker.sock"),
            (["XDG_RUNTIME_DIR=/a", "BROKER_SOCKET=/none/b"], "/none/b"),
        ] {
            let environment =
                user + ["env", "-i", "PYTHONPATH=\(broker.directory.path)"] + variables
            let swift = try ChildProcess(environment + [program, "status"])
            #expect(swift.wait() == 69)
            #expect(swift.errorText.contains("no broker at \(path):"), "\(swift.errorText)")
            let asked = "import client; print(client.default_path())"
            let python = try ChildProcess(environment + [Actors.python, "-c", asked])
            #expect(python.wait() == 0, "\(python.errorText)")
            #expect(python.outputText == path + "\n", "\(variables)")
        }
    }

    @Test("Both are told what is not permitted, in the same words", .enabled(if: Actors.isRoot))
    func refusal() throws {
        let broker = try BrokerUnderTest([])
        let user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
        let swift = try broker.run(["pub", "t", "hi"], prefix: user)
        #expect(swift.wait() == 77)
        #expect(swift.errorText.contains("uid 1000 may not publish"))
        let client = try broker.share(Actors.referenceClient)
        let python = try ChildProcess(
            user + [Actors.python, client, "--socket", broker.socketPath, "--broker-uid", "0"]
                + ["pub", "t", "hi"])
        #expect(python.wait() == 1, "\(python.errorText)")
        #expect(python.errorText.contains("uid 1000 may not publish"))
    }

    @Test("The vectors agree with the reference codec")
    func vectors() throws {
        let runner = Actors.file("../../Protocol/reference/vectors.py").standardizedFileURL
        let process = try ChildProcess([
            Actors.python, runner.path, "check",
            Actors.file("../../Protocol/vectors").standardizedFileURL.path,
        ])
        #expect(process.wait() == 0, "\(process.outputText)\(process.errorText)")
        #expect(process.outputText.contains(" 0 failed"))
    }
}
