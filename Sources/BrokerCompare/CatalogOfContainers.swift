import LinuxIO

extension Catalog {
    static let ofContainers: [Scenario] = [
        container(
            "podman", Run(engine: "podman", by: [.root], outerUID: 0),
            why: "A container of root without a user namespace: its uid 0 is the machine's.",
            explanation: """
                Engines run by root give a container its own pid, mount and network namespaces, \
                and no user namespace unless told to. Root inside is root outside, kept back by \
                missing capabilities only, and it may claim every uid and gid (CAP_SETUID and \
                CAP_SETGID are among those left to it). The pid is the host's, never 1.
                """),
        container(
            "podman-user",
            Run(
                engine: "podman", by: [.root], options: ["--user", "1000:1000"], outerUID: 1000),
            why: "--user 1000 is uid 1000 of the machine, whoever that may be there.",
            explanation: """
                --user takes ids before the program starts. Without a user namespace they are \
                the machine's, so a container's 1000 and the host's user 1000 are one and the \
                same to every server.
                """),
        container(
            "podman-uidmap",
            Run(
                engine: "podman", by: [.root],
                options: ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"],
                outerUID: 100_000),
            why: "With --uidmap root inside is uid 100000 outside: an id of its own.",
            explanation: """
                A user namespace with a range: root inside is the first id of the range outside, \
                and may claim the others of it. Note that ranges of several containers and users \
                may overlap, and then they share identities. See podman-run(1), --uidmap.
                """),
        container(
            "podman-rootless", Run(engine: "podman", by: [.ordinaryUser]),
            why: "A user's container: root inside is that user outside.",
            explanation: """
                Without root podman makes a user namespace whose 0 is the user himself and \
                whose other ids come from /etc/subuid. What is written as root inside arrives as \
                the user: which is who is responsible for it. See podman(1), rootless mode.
                """),
        container(
            "podman-keep-id",
            Run(
                engine: "podman", by: [.ordinaryUser], options: ["--userns", "keep-id"]),
            why: "With keep-id the user is himself, inside and outside.",
            explanation: """
                The map is turned so that the user's own uid stands for itself; 0 inside is then \
                the first of his subordinate ids. See podman-run(1), --userns.
                """),
        container(
            "docker", Run(engine: "docker"),
            why: "uid 0 out of docker: its daemon is root, and so are its containers.",
            explanation: """
                The surprise in many a first test: a client in a container shows up as uid 0, \
                whoever typed `docker run`. There is no user namespace unless the daemon was \
                started with userns-remap (then it is the first id of that range). Whoever may \
                use the daemon's socket may be root; a broker cannot tell these users apart.
                """),
        container(
            "docker-user", Run(engine: "docker", options: ["--user", "1000:1000"]),
            why: "docker run --user 1000 is uid 1000 of the machine.",
            explanation: """
                As with podman: without userns-remap the ids inside are the machine's. Neither \
                identity says that a container is behind it; the pid namespace of the pidfd does.
                """),
    ]

    /// What a container is started as.
    private struct Run {
        let engine: String
        /// Who starts it.
        var by: [Scenario.Need] = []
        var options: [String] = []
        /// Who it is documented to be out here; nil: with podman its user, otherwise it depends
        /// on the daemon.
        var outerUID: UInt32?

        /// Whom podman runs a container for.
        var documentedUID: UInt32? {
            outerUID ?? (engine == "podman" ? CurrentProcess.userID : nil)
        }
    }

    private static func container(
        _ name: String, _ run: Run, why: String, explanation: String
    ) -> Scenario {
        Scenario(
            name: name, why: why, explanation: explanation, verdict: .either,
            needs: run.by + [.engine(run.engine), .program("/bin/sh")],
            connection: .effective("writer"), message: .real("writer"), process: .opener,
            play: { stage in
                try stage.visits(
                    from: run.engine, options: run.options, outerUID: run.documentedUID)
            })
    }
}

extension Stage {
    /// A client in a container writes to a socket in a mounted directory.
    ///
    /// - Parameter outerUID: who it is documented to be out here; nil depends on the daemon.
    fileprivate func visits(
        from engineName: String, options: [String], outerUID: UInt32?
    ) throws -> Observation {
        let engine = try ContainerEngine(engineName)
        try engine.importImage(self)
        defer { engine.removeImage() }
        var observation = Observation()
        let path = newPath()
        let listener = try listen(path)
        let client = try engine.start(
            ActorOrder(.visit, path), in: folderPath, options: options)
        try readContainer(client, engineName, into: &observation)
        observation.reports["writer"] = try engine.outerReport()
        let connection = try accept(listener, into: &observation)
        var received = Received()
        observation.note(try received.next(from: connection))
        client.endInput()
        client.wait()
        if let outerUID, let truth = observation.truth {
            observation.expect(
                truth.uid == outerUID, "the container runs as \(truth.uid), not \(outerUID)")
        }
        return observation
    }

    /// As `read(_:until:into:)`, but an engine that fails is no news about the kernel.
    private func readContainer(
        _ client: ActorProcess, _ engine: String, into observation: inout Observation
    ) throws {
        var last = "it ended without a word"
        while let line = try client.line(
            timeoutMilliseconds: ContainerEngine.patienceMilliseconds)
        {
            tell(line)
            if let report = ActorReport(line: line) { observation.reports[report.word] = report }
            if line == "done" { return }
            last = line
        }
        throw ScenarioSkipped(reason: "\(engine) run: \(last)")
    }
}
