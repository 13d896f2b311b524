import BrokerClient
import LinuxIO

/// What the features of a kernel mean for the guarantees of a broker that runs here.
struct KernelFindings {
    private let features: KernelFeatures

    init(_ features: KernelFeatures) {
        self.features = features
    }

    var all: [DoctorFinding] {
        [
            passCred, receiveTimestamp, peerPidfd, passPidfd, pidfdInode, pidfdGetInfo,
            userNamespaces, passRights, sendBuffer, uidMap, pidNamespace, pidMax,
            descriptorLimit,
        ]
    }

    private func finding(
        _ name: String, _ isPresent: Bool, otherwise state: DoctorFinding.State,
        ifPresent: String, ifAbsent: String, fix: String
    ) -> DoctorFinding {
        isPresent
            ? DoctorFinding(name, .ok, "available", ifPresent)
            : DoctorFinding(name, state, "not available", ifAbsent, fix: fix)
    }

    private var passCred: DoctorFinding {
        finding(
            "SO_PASSCRED", features.passCred, otherwise: .missing,
            ifPresent: "every packet carries pid, real uid and real gid of its sender",
            ifAbsent: "the kernel does not record who sent a packet: the broker refuses all",
            fix: "run on Linux itself; emulations and some sandboxes lack it")
    }

    private var receiveTimestamp: DoctorFinding {
        finding(
            "SO_TIMESTAMPNS", features.receiveTimestamp, otherwise: .warn,
            ifPresent: "the time of a message is when the kernel queued its packet",
            ifAbsent: "the time of a message is when the broker read it",
            fix: "run on Linux itself")
    }

    private var peerPidfd: DoctorFinding {
        finding(
            "SO_PEERPIDFD", features.peerPidfd, otherwise: .warn,
            ifPresent: "the opener's process is held: its pid cannot come to mean another one",
            ifAbsent: "process identity is unavailable: pids are numbers that get reused. "
                + "Uids and gids are not affected",
            fix: "Linux 6.5 or later")
    }

    private var passPidfd: DoctorFinding {
        finding(
            "SO_PASSPIDFD", features.passPidfd, otherwise: .warn,
            ifPresent: "delegated messages carry the identity of the process that sent them",
            ifAbsent: "of delegated messages the process identity is unknown (null)",
            fix: "Linux 6.5 or later")
    }

    private var pidfdInode: DoctorFinding {
        finding(
            "pidfs", features.pidfdInode, otherwise: .warn,
            ifPresent: "each process has a number that is never reused until reboot",
            ifAbsent: "process identity is unavailable (`process` is null)",
            fix: "Linux 6.9 or later")
    }

    private var pidfdGetInfo: DoctorFinding {
        finding(
            "PIDFD_GET_INFO", features.pidfdGetInfo, otherwise: .warn,
            ifPresent: "a pid can be checked against the process that is held",
            ifAbsent: "pids are checked by signals and poll instead: no guarantee is lost",
            fix: "Linux 6.13 or later")
    }

    private var userNamespaces: DoctorFinding {
        finding(
            "PIDFD_GET_USER_NAMESPACE", features.pidfdUserNamespace, otherwise: .warn,
            ifPresent: "senders in containers with ids of their own are told apart; a broker "
                + "that is not root needs CAP_SYS_PTRACE for those of other users",
            ifAbsent: "the namespace of a sender is unknown: ids mapped into a container are the "
                + "word of who made it",
            fix: "Linux 6.11 or later, and root or CAP_SYS_PTRACE for the broker")
    }

    private var passRights: DoctorFinding {
        finding(
            "SO_PASSRIGHTS", features.passRights, otherwise: .warn,
            ifPresent: "descriptors sent along are refused by the kernel",
            ifAbsent: "descriptors sent along are closed by the broker, which the file system "
                + "behind one can delay",
            fix: "Linux 6.16 or later")
    }

    private var sendBuffer: DoctorFinding {
        let name = "net.core.wmem_max"
        guard let bytes = features.sendBufferBytesMax else {
            return DoctorFinding(
                name, .warn, "unknown", "how large a message may be is not known",
                fix: "mount /proc")
        }
        // The kernel doubles what is asked for, and keeps 32 bytes to itself.
        let packet = min(bytes.multipliedReportingOverflow(by: 2).partialValue - 32, Int.max)
        let value = "\(bytes) bytes"
        if packet >= Limits.packetBytesMax {
            return DoctorFinding(
                name, .ok, value, "packets of up to \(Limits.packetBytesMax) bytes fit")
        }
        let isEnough = packet >= Limits.packetBytesMin
        return DoctorFinding(
            name, isEnough ? .warn : .missing, value,
            isEnough
                ? "messages are limited to about \(packet) bytes"
                : "too small for a broker, which needs packets of \(Limits.packetBytesMin) bytes",
            fix: "sysctl net.core.wmem_max=\(Limits.packetBytesMax)")
    }

    private var uidMap: DoctorFinding {
        if features.uidMapIsIdentity {
            return DoctorFinding(
                "uid_map", .ok, "identity", "uids are those of the machine; uid 0 is its root")
        }
        let map = features.uidMap.split(separator: "\n").map { line in
            line.split(separator: " ").joined(separator: " ")
        }
        return DoctorFinding(
            "uid_map", .warn, map.isEmpty ? "unknown" : map.joined(separator: ", "),
            "uids are those of this user namespace: uid 0 is not root of the machine, and all "
                + "users that are not mapped look alike (65534)",
            fix: "run the broker outside of the container, and hand its socket in")
    }

    private var pidNamespace: DoctorFinding {
        features.isInitialPIDNamespace
            ? DoctorFinding(
                "pid namespace", .ok, "initial", "every sender on this machine has a pid here")
            : DoctorFinding(
                "pid namespace", .warn, "of a container",
                "senders outside of it have pid 0; their uids are not affected",
                fix: "run the broker outside of the container, or with the host's pids")
    }

    private var pidMax: DoctorFinding {
        let name = "kernel.pid_max"
        let value = features.pidMax.map { String($0) } ?? "unknown"
        if features.pidfdInode && features.peerPidfd {
            return DoctorFinding(
                name, .ok, value, "pids get reused, and process identities tell them apart")
        }
        let isLow = features.pidMax.map { $0 < 1 << 22 } ?? true
        return DoctorFinding(
            name, isLow ? .warn : .ok, value,
            "pids get reused, and nothing else tells processes apart here",
            fix: "sysctl kernel.pid_max=4194304, or Linux 6.9 or later")
    }

    private var descriptorLimit: DoctorFinding {
        let limit = features.descriptorLimit
        // Each connection takes its socket and the opener's process descriptor.
        let connections = limit.hard / 2
        let isLow = connections < UInt64(Limits.connectionsPerUserMax)
        return DoctorFinding(
            "nofile", isLow ? .warn : .ok, "\(limit.soft) soft, \(limit.hard) hard",
            "a broker started here takes about \(connections) connections"
                + (isLow ? ", fewer than one user may open" : ""),
            fix: "raise the hard limit: ulimit -Hn, LimitNOFILE= in the service")
    }
}
