import Foundation
import LinuxIO
import Testing

private let podmanIsThere = Tool.has("podman") && Tool.has("runc") && isRoot

/// Containers with a client in Python that knows nothing of a broker: an empty image and the
/// host's libraries. The engine's own word on the container's pid is the truth.
@Suite("The observer, with clients in containers", .serialized)
struct ContainerTests {
    private static let mounts = ["/usr", "/lib", "/lib64"].filter {
        FileManager.default.fileExists(atPath: $0)
    }

    @Test(
        "podman, as root", .enabled(if: podmanIsThere, "needs root, podman and runc"),
        arguments: [
            ([], 0, 0),
            (["--user", "1000:1000"], 1000, 1000),
            (["--cap-drop", "all"], 0, 0),
            (["--pid", "host"], 0, 0),
            (["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"], 0, 100_000),
            (
                [
                    "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "--user",
                    "1000:1000",
                ], 1000, 101_000
            ),
        ] as [([String], UInt32, UInt32)])
    func podman(_ options: [String], _ inside: UInt32, _ outside: UInt32) throws {
        let podman = [
            try #require(Tool.path("podman")), "--runtime", "runc", "--cgroup-manager", "cgroupfs",
        ]
        try visit(by: podman, options: options, inside: inside, outside: outside)
    }

    /// Imports an image, runs the client, asks the engine for the pid, and compares.
    private func visit(
        by engine: [String], options: [String], inside: UInt32, outside: UInt32
    ) throws {
        let observer = try Observing()
        let name = "observed-\(UUID().uuidString.lowercased().prefix(13))"
        let archive = observer.folder + "/empty.tar"
        try Data(count: 1024).write(to: URL(fileURLWithPath: archive))
        try runQuietly(engine + ["import", archive, name])
        defer { _ = try? runQuietly(engine + ["rmi", "--force", name]) }
        var command = engine + ["run", "--rm", "-i", "--name", name, "--network", "none"]
        command += ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        for path in Self.mounts { command += ["-v", "\(path):\(path):ro"] }
        command += ["-v", "\(observer.folder):/box"] + options + [name]
        let client = try Companion(command + PythonClient.command("/box/s", "plain"))
        let lines = try client.lines(upTo: "done")
        let said = lines.compactMap { Said($0) }.last
        #expect(said?.real.uid == inside)
        let pid = Int32(
            try runQuietly(engine + ["inspect", "--format", "{{.State.Pid}}", name])
                .trimmingCharacters(in: .whitespacesAndNewlines))
        let (opener, message) = try observer.connectionAndMessage()
        #expect(opener == IDs(pid: pid ?? -1, uid: outside, gid: outside))
        #expect(message.sender == opener)
        try client.endInput()
        client.wait()
    }

    @discardableResult
    private func runQuietly(_ command: [String]) throws -> String {
        let process = Process()
        let (output, errors) = (Pipe(), Pipe())
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        process.standardOutput = output
        process.standardError = errors
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let printed = try output.fileHandleForReading.readToEnd() ?? Data()
        let noted = try errors.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Malfunction(
                what: "\(command.joined(separator: " ")): "
                    + String(decoding: noted, as: UTF8.self))
        }
        return String(decoding: printed, as: UTF8.self)
    }

    // MARK: rows of the table

    @Test(
        "compare has a row for each container of root",
        .enabled(if: podmanIsThere, "needs root, podman and runc"))
    func rootfulRows() throws {
        let result = try BrokerProgram.run([
            "compare", "podman", "podman-user", "podman-uidmap", "--format", "json",
        ])
        let rows = try PrintedReport(result.output).scenarios
        #expect(rows.map(\.status) == ["ok", "ok", "ok"], "\(rows.map(\.why))")
        #expect(rows.map(\.connection?.uid) == [0, 1000, 100_000])
        for row in rows {
            #expect(row.connection == row.truth)
            #expect(row.message == row.truth)
        }
    }

    /// Gives a user a home, subordinate ids and a run-time directory that are seen only here.
    private static let asUserWithSubordinateIDs = """
        set -e
        umask 022
        W=$1; shift
        mkdir $W/home $W/run
        chown 47001:47001 $W/home $W/run
        chmod 700 $W/run
        (cat /etc/passwd; echo "rootless:x:47001:47001::$W/home:/bin/sh") > $W/passwd
        (cat /etc/group; echo "rootless:x:47001:") > $W/group
        echo rootless:300000:65536 > $W/ids
        mount --bind $W/passwd /etc/passwd
        mount --bind $W/group /etc/group
        for f in subuid subgid; do mount --bind $W/ids /etc/$f; done
        cd $W/home
        as="setpriv --reuid=47001 --regid=47001 --clear-groups --inh-caps=-all env -i \
        HOME=$W/home USER=rootless PATH=/usr/bin:/bin:/usr/sbin:/sbin XDG_RUNTIME_DIR=$W/run"
        rc=0
        $as "$@" || rc=$?
        $as podman system migrate >&2 || :
        exit $rc
        """

    @Test(
        "compare has rows for containers without root",
        .enabled(
            if: podmanIsThere && Tool.has("newuidmap")
                && FileManager.default.fileExists(atPath: "/etc/subuid"),
            "needs root, podman, runc and uidmap"))
    func rootlessRows() throws {
        let folder = "/tmp/compare-rootless-\(UUID().uuidString.prefix(13))"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o755])
        // Files of its subordinate ids are in there: only root can remove them, as we are.
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let result = try BrokerProgram.run(
            ["compare", "podman-rootless", "podman-keep-id", "--format", "json", "--verbose"],
            through: [
                "/usr/bin/unshare", "-m", "--propagation", "private", "/bin/sh", "-c",
                Self.asUserWithSubordinateIDs, "sh", folder,
            ])
        let rows = try PrintedReport(result.output).scenarios
        #expect(rows.map(\.status) == ["ok", "ok"], "\(rows.map(\.why))")
        for row in rows {
            #expect(row.truth?.uid == 47001)
            #expect(row.connection == row.truth)
            #expect(row.message == row.truth)
        }
        #expect(result.errors.contains("podman-rootless: inside 1 0 0"))
        #expect(result.errors.contains("podman-keep-id: inside 1 47001 47001"))
    }

    @Test(
        "uid 0 comes out of docker, unless another user is asked for",
        .enabled(
            if: isRoot && Tool.has("docker") && Tool.has("dockerd"),
            "needs root, docker and dockerd"))
    func docker() throws {
        let daemon = try DockerDaemon()
        defer { daemon.stop() }
        let docker = [try #require(Tool.path("docker")), "--host", daemon.address]
        try visit(by: docker, options: [], inside: 0, outside: 0)
        try visit(by: docker, options: ["--user", "1000:1000"], inside: 1000, outside: 1000)
        var environment = ProcessInfo.processInfo.environment
        environment["DOCKER_HOST"] = daemon.address
        let result = try BrokerProgram.run(
            ["compare", "docker", "docker-user", "--format", "json"], environment: environment)
        let rows = try PrintedReport(result.output).scenarios
        #expect(rows.map(\.status) == ["ok", "ok"], "\(rows.map(\.why))")
        #expect(rows.map(\.message?.uid) == [0, 1000])
    }
}

/// A daemon of our own, with nothing but a socket to the outside.
private final class DockerDaemon {
    let address: String
    private let folder: String
    private let process = Process()

    init() throws {
        folder = "/tmp/compare-docker-\(UUID().uuidString.prefix(13))"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false)
        address = "unix://\(folder)/socket"
        process.executableURL = URL(fileURLWithPath: Tool.path("dockerd") ?? "/usr/sbin/dockerd")
        process.arguments = [
            "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
            "--bridge=none", "--data-root", "\(folder)/data", "--exec-root", "\(folder)/exec",
            "--pidfile", "\(folder)/pid", "--host", address,
        ]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        for _ in 0..<600 where process.isRunning {
            if FileManager.default.fileExists(atPath: "\(folder)/socket"), answers() { return }
            usleep(100_000)
        }
        stop()
        throw Malfunction(what: "the docker daemon does not answer")
    }

    private func answers() -> Bool {
        let result = Process()
        result.executableURL = URL(fileURLWithPath: Tool.path("docker") ?? "/usr/bin/docker")
        result.arguments = ["--host", address, "version"]
        result.standardOutput = FileHandle.nullDevice
        result.standardError = FileHandle.nullDevice
        guard (try? result.run()) != nil else { return false }
        result.waitUntilExit()
        return result.terminationStatus == 0
    }

    func stop() {
        process.terminate()
        process.waitUntilExit()
        unmount("\(folder)/exec/netns/default")
        try? FileManager.default.removeItem(atPath: folder)
    }

    private func unmount(_ path: String) {
        let umount = Process()
        umount.executableURL = URL(fileURLWithPath: "/bin/umount")
        umount.arguments = [path]
        umount.standardError = FileHandle.nullDevice
        try? umount.run()
        umount.waitUntilExit()
    }
}
