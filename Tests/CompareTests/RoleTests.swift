import Foundation
import Testing

/// A server in another language reads the credentials, and the roles are played to it: neither
/// side of these comparisons is what `broker compare` reads.
@Suite("Roles, played to a server in Python")
struct RoleTests {
    /// Prints `peer pid uid gid`, then `packet pid uid gid TEXT` for each.
    static let server = """
        import socket, struct, sys
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        s.bind(sys.argv[1])
        import os
        os.chmod(sys.argv[1], 0o666)
        s.listen(8)
        print("ready", flush=True)
        c, _ = s.accept()
        peer = c.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        print("peer", *struct.unpack("iII", peer), flush=True)
        while True:
            data, control, _, _ = c.recvmsg(65536, 4096)
            if not data: break
            for level, kind, value in control:
                if kind == 2:
                    print("packet", *struct.unpack("iII", value), data.decode(), flush=True)
        print("end", flush=True)
        """

    private struct Played {
        var said: [String: Said] = [:]
        var peer: IDs?
        var packets: [IDs] = []
    }

    private func play(_ arguments: [String]) throws -> Played {
        let folder = "/tmp/compare-roles-\(UUID().uuidString.prefix(13))"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o755])
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = folder + "/s"
        let server = try Companion(["/usr/bin/python3", "-c", Self.server, path])
        try server.lines(upTo: "ready")
        let actor = try Companion(
            [BrokerProgram.path, "compare-actor", arguments[0], "--socket", path]
                + arguments.dropFirst())
        var played = Played()
        for line in try actor.lines(upTo: "done") {
            if let said = Said(line) { played.said[said.word] = said }
        }
        try actor.endInput()
        #expect(actor.wait() == 0)
        for line in try server.lines(upTo: "end") {
            let fields = line.split(separator: " ")
            guard fields.count >= 4, let pid = Int32(fields[1]), let uid = UInt32(fields[2]),
                let gid = UInt32(fields[3])
            else { continue }
            let ids = IDs(pid: pid, uid: uid, gid: gid)
            if fields[0] == "peer" { played.peer = ids } else { played.packets.append(ids) }
        }
        return played
    }

    @Test(
        "connection and message are the opener and the writer",
        arguments: ["send", "fork", "exec"])
    func processes(_ role: String) throws {
        let played = try play([role])
        #expect(played.peer == played.said["opener"]?.effective)
        #expect(played.packets == [try #require(played.said["writer"]).real])
    }

    @Test(
        "connections carry effective, messages real ids", .enabled(if: isRoot),
        arguments: [
            ["drop", "--other", "47001"], ["set-effective", "--other", "47001"],
            ["set-uid", "--other", "47001"], ["thread", "--other", "47001"],
        ])
    func ids(_ arguments: [String]) throws {
        let played = try play(arguments)
        let opener = try #require(played.said["opener"]).effective
        #expect(played.peer == opener)
        #expect(played.packets == [try #require(played.said["writer"]).real])
        #expect(played.packets.first?.uid != opener.uid)
    }

    @Test(
        "a claim takes the place of the truth", .enabled(if: isRoot),
        arguments: [
            ["claim-own", "--other", "47002"], ["claim-anything", "--other", "47002"],
            ["range-claim"],
        ])
    func claims(_ arguments: [String]) throws {
        let played = try play(arguments)
        let claim = try #require(played.said["claim"]).real
        #expect(played.packets == [claim])
        #expect(claim != played.said["writer"]?.real)
    }

    @Test(
        "a process in a user namespace is its creator",
        arguments: ["mapped-user", "unmapped-user"])
    func namespaces(_ role: String) throws {
        let user = isRoot ? ["--user", "47001"] : []
        let played = try play([role] + user)
        let writer = try #require(played.said["writer"]).real
        #expect(played.peer == writer)
        #expect(played.packets == [writer])
        let inside = try #require(played.said["inside"]).real
        #expect(inside.uid == (role == "mapped-user" ? 0 : 65534))
    }

    @Test("a ring from before a drop sends as its creator was", .enabled(if: isRoot))
    func ring() throws {
        let played = try play(["ring-drop", "--other", "47001"])
        #expect(played.peer?.uid == 47001)
        #expect(played.said["writer"]?.real.uid == 47001)
        #expect(played.packets.map(\.uid) == [0])
    }

    @Test("the pid inside a namespace is not the pid outside", .enabled(if: isRoot))
    func pidNamespace() throws {
        let played = try play(["pid-namespace"])
        #expect(played.said["inside"]?.real.pid == 1)
        #expect(played.packets == [try #require(played.said["writer"]).real])
    }
}
