import LinuxIO

/// `podman` or `docker`, and how they are told to run this very program with nothing of their
/// own: in an empty image, with the host's libraries mounted read-only.
struct ContainerEngine {
    let name: String
    private let path: String
    private let image: String
    private let container: String

    private static let folders = [
        "/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin",
    ]

    /// Nil if there is no such program in the usual places.
    static func path(of name: String) -> String? {
        folders.lazy.map { "\($0)/\(name)" }.first { ActorProcess.canStart($0) }
    }

    /// - Throws: `ScenarioSkipped` if it is not there or its daemon does not answer.
    init(_ name: String) throws {
        guard let path = Self.path(of: name) else { throw ScenarioSkipped(reason: "no \(name)") }
        self.name = name
        self.path = path
        let number = "\(CurrentProcess.pid)-\(Clock.monotonicNanoseconds())"
        container = "broker-compare-\(number)"
        image = (name == "podman" ? "localhost/" : "") + "broker-compare:\(number)"
        if name == "docker" {
            _ = try output(of: ["version", "--format", "{{.Server.Version}}"])
        }
    }

    /// Without systemd cgroups are made by hand; runc knows all versions of them.
    private var globalArguments: [String] {
        guard name == "podman" else { return [] }
        var arguments: [String] = []
        if Self.path(of: "runc") != nil { arguments += ["--runtime", "runc"] }
        if !Self.hasSystemd { arguments += ["--cgroup-manager", "cgroupfs"] }
        return arguments
    }

    private static var hasSystemd: Bool {
        (try? readSmallFile("/proc/1/comm", maxBytes: 16)) == Array("systemd\n".utf8)
    }

    /// Imports an image with nothing in it (an empty tar archive is 1,024 zeros).
    func importImage(_ stage: Stage) throws {
        let archive = "\(stage.folderPath)/empty.tar"
        try writeSmallFile(archive, [UInt8](repeating: 0, count: 1024))
        _ = try output(of: ["import", archive, image])
    }

    func removeImage() {
        _ = try? output(of: ["rmi", "--force", image])
    }

    /// Starts one role of `broker compare-actor` in a container.
    func start(
        _ order: ActorOrder, in folder: String, options: [String]
    ) throws -> ActorProcess {
        var arguments = globalArguments + ["run", "--rm", "-i", "--name", container]
        // A container may not get more open files or processes than we may have.
        arguments += ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        arguments += ["--network", "none", "--security-opt", "label=disable"]
        let program = try ActorProcess.ownPath()
        for mounted in try mounts(program) { arguments += ["-v", "\(mounted):\(mounted):ro"] }
        arguments += ["-v", "\(folder):\(folder)"] + options + [image, program]
        return try startMerged(arguments + order.arguments)
    }

    /// Who the process in the container is out here: its pid by the word of the engine, and its
    /// ids, while it lives and waits for us, by /proc.
    func outerReport() throws -> ActorReport? {
        let lines = try output(of: ["inspect", "--format", "{{.State.Pid}}", container])
        guard let pid = lines.compactMap({ Int32($0) }).last, pid > 0 else {
            throw ScenarioSkipped(reason: "\(name) does not tell the pid of the container")
        }
        let status = try readSmallFile("/proc/\(pid)/status", maxBytes: 4096)
        let text = String(decoding: status, as: UTF8.self)
        let uids = Self.numbers("Uid:", text)
        let gids = Self.numbers("Gid:", text)
        guard uids.count >= 2, gids.count >= 2 else { return nil }
        return ActorReport(line: "writer \(pid) \(uids[0]) \(gids[0]) \(uids[1]) \(gids[1])")
    }

    private static func numbers(_ key: String, _ text: String) -> [UInt32] {
        let line = text.split(separator: "\n").first { $0.hasPrefix(key) }
        let words = line?.split { $0 == " " || $0 == "\t" } ?? []
        return words.dropFirst().compactMap { UInt32($0) }
    }

    /// What this program needs to be started: itself, and where its libraries lie.
    private func mounts(_ program: String) throws -> [String] {
        var folders = ["/usr", "/lib", "/lib64"].filter { ActorProcess.canStart($0) }
        let maps = try readSmallFile("/proc/self/maps", maxBytes: 1 << 20)
        let mapped = String(decoding: maps, as: UTF8.self).split(separator: "\n").compactMap {
            line in line.firstIndex(of: "/").map { String(line[$0...]) }
        }
        for path in mapped.filter({ $0.contains(".so") }) + [program] {
            guard let slash = path.lastIndex(of: "/") else { continue }
            let folder = String(path[..<slash])
            if !folders.contains(where: { folder == $0 || folder.hasPrefix($0 + "/") }) {
                folders.append(folder)
            }
        }
        return folders
    }

    // MARK: running the engine

    /// With standard error among its output, for the reason if it fails.
    private func startMerged(_ arguments: [String]) throws -> ActorProcess {
        try ActorProcess(
            path: "/bin/sh", arguments: ["-c", "exec \"$0\" \"$@\" 2>&1", path] + arguments)
    }

    /// Images and containers come from disks: they may take a while.
    static let patienceMilliseconds: Int32 = 60_000

    private func output(of arguments: [String]) throws -> [String] {
        let process = try startMerged(globalArguments + arguments)
        process.endInput()
        var lines: [String] = []
        while let line = try process.line(timeoutMilliseconds: Self.patienceMilliseconds) {
            lines.append(line)
        }
        guard process.wait() == 0 else {
            throw ScenarioSkipped(reason: "\(name) \(arguments[0]): \(lines.last ?? "failed")")
        }
        return lines
    }
}
