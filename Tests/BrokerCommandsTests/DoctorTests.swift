import Foundation
import LinuxIO
import TestSupport
import Testing

@testable import BrokerCommands

@Suite("The doctor")
struct DoctorTests {
    /// A machine on which everything is well.
    private static var healthy: KernelFeatures {
        var features = KernelFeatures.probe()
        features.passCred = true
        features.passPidfd = true
        features.peerPidfd = true
        features.pidfdInode = true
        features.pidfdGetInfo = true
        features.pidfdUserNamespace = true
        features.passRights = true
        features.receiveTimestamp = true
        features.kernelRelease = "6.18.1"
        features.sendBufferBytesMax = 4_194_304
        features.pidMax = 4_194_304
        features.uidMap = "         0          0 4294967295\n"
        features.uidMapIsIdentity = true
        features.isInitialPIDNamespace = true
        return features
    }

    @Test("finds nothing missing on a recent kernel")
    func sound() {
        let report = DoctorReport(Self.healthy)
        #expect(report.isSound)
        #expect(report.findings.allSatisfy { $0.name == "nofile" || $0.state == .ok })
        #expect(report.findings.allSatisfy { $0.state != .ok || $0.fix == nil })
    }

    @Test("finds a broken guarantee only where there is one")
    func broken() {
        var features = Self.healthy
        features.passCred = false
        #expect(!DoctorReport(features).isSound)
        features = Self.healthy
        features.sendBufferBytesMax = 4096
        #expect(!DoctorReport(features).isSound)
        features = Self.healthy
        features.peerPidfd = false
        features.passPidfd = false
        features.pidfdInode = false
        features.passRights = false
        features.sendBufferBytesMax = 65_536
        features.uidMapIsIdentity = false
        features.uidMap = "         0       1001          1\n"
        features.isInitialPIDNamespace = false
        let report = DoctorReport(features)
        #expect(report.isSound)
        let warned = report.findings.filter { $0.state == .warn }
        #expect(warned.count >= 7)
        #expect(warned.allSatisfy { $0.fix != nil })
        #expect(report.findings.contains { $0.value == "0 1001 1" })
    }

    @Test("prints a text and a document with the same findings")
    func rendering() throws {
        let report = DoctorReport(
            kernelRelease: "6.18.1",
            findings: [
                DoctorFinding("SO_PASSCRED", .ok, "available", "packets have senders"),
                DoctorFinding("nofile", .warn, "10", "few connections", fix: "raise it"),
            ])
        #expect(
            try report.render(.text) == """
                Linux 6.18.1

                ok       SO_PASSCRED  available
                         packets have senders
                warn     nofile       10
                         few connections
                         fix: raise it

                The guarantees hold; look at: nofile.

                """)
        let json = try JSONSerialization.jsonObject(
            with: Data(try report.render(.json).utf8))
        let object = try #require(json as? [String: Any])
        let checks = try #require(object["checks"] as? [[String: Any]])
        #expect(object["ok"] as? Bool == true)
        #expect(checks.map { $0["state"] as? String } == ["ok", "warn"])
        #expect(checks[0]["fix"] is NSNull)
        #expect(checks[1]["fix"] as? String == "raise it")
    }

    @Test("sees who could replace the socket")
    func directory() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path(of: "b.sock")
        func finding(_ mode: Int) throws -> DoctorFinding? {
            try FileManager.default.setAttributes(
                [.posixPermissions: mode], ofItemAtPath: directory.path)
            return SocketInspection(path: path).findings.first { $0.name == "socket directory" }
        }
        #expect(try finding(0o777)?.state == .missing)
        #expect(try finding(0o770)?.state == .missing)
        #expect(try finding(0o1777)?.state == .warn)
        // Above it is /tmp, as a rule: sticky, so what is in it stays.
        #expect(try finding(0o755)?.state == .ok)
        #expect(try finding(0o777)?.value.hasPrefix(directory.path) == true)
    }

    @Test("tells a live socket from a dead one, a file and nothing")
    func socket() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path(of: "b.sock")
        func finding() throws -> DoctorFinding {
            try #require(SocketInspection(path: path).findings.first)
        }
        #expect(try finding().meaning == "no broker listens here")
        do {
            let listener = try SeqpacketListener(path: path, mode: 0o660, groupID: nil, backlog: 4)
            #expect(try finding().meaning == "a broker listens that you can trust")
            let mode = SocketInspection(path: path).findings.first { $0.name == "socket mode" }
            #expect(mode?.value.hasPrefix("0660") == true)
            _ = listener.accept()
        }
        #expect(try finding().state == .warn)
        try? FileManager.default.removeItem(atPath: path)
        try Data().write(to: URL(filePath: path))
        #expect(try finding().meaning.hasPrefix("this is not a socket"))
    }
}

@Suite("The greeting of serve")
struct ServeGreetingTests {
    private func lines(isOpen: Bool, uid: UInt32, identity: Bool = true) -> [String] {
        var features = KernelFeatures.probe()
        features.passCred = true
        features.uidMapIsIdentity = identity
        return ServeGreeting(
            path: "/p/b.sock", mode: 0o660, isOpen: isOpen, uid: uid, features: features
        ).lines
    }

    @Test("says who may publish")
    func permitted() {
        #expect(
            lines(isOpen: false, uid: 1000) == [
                "listening on /p/b.sock; only root and uid 1000 may publish and subscribe "
                    + "until it is started again with rules, see `broker help acl`"
            ])
        #expect(lines(isOpen: false, uid: 0)[0].contains("only root may publish"))
    }

    @Test("warns of an open broker and of a user namespace")
    func warnings() {
        #expect(lines(isOpen: true, uid: 0)[1].hasPrefix("warning: --no-acl: everybody"))
        #expect(lines(isOpen: true, uid: 0)[1].contains("(mode 0660)"))
        #expect(lines(isOpen: false, uid: 0, identity: false)[1].contains("user namespace"))
    }
}
