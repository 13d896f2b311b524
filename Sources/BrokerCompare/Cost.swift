package import LinuxIO
import SystemPackage

/// What it costs on this machine to know who sent a message.
package struct CostReport: Encodable, Sendable {
    package struct Row: Encodable, Sendable {
        package let name: String
        /// What is known by it.
        package let knows: String
        /// Sending and receiving one message; nil where the kernel lacks the mechanism.
        package let nanoseconds: Double?
    }

    package let kernel: String
    package let messageBytes: Int
    package let messages: Int
    package let mechanisms: [Row]

    private enum CodingKeys: String, CodingKey {
        case kernel, messages, mechanisms
        case messageBytes = "message_bytes"
    }
}

/// Sends messages to itself, over a pair of sockets, and looks at them in several ways.
package struct CostMeasurement {
    private static let messageBytes = 128
    private static let roundsCount = 7
    private let features: KernelFeatures
    private let messagesPerRound: Int

    package init(features: KernelFeatures, messagesPerRound: Int = 10_000) {
        precondition(messagesPerRound > 0, "1 message or more")
        self.features = features
        self.messagesPerRound = messagesPerRound
    }

    private enum Mechanism: CaseIterable {
        case none, connection, credentials, processCheck, heldProcess, process

        var name: String {
            switch self {
            case .none: "none"
            case .connection: "SO_PEERCRED, once"
            case .credentials: "SCM_CREDENTIALS"
            case .processCheck: "SCM_CREDENTIALS, pidfd check"
            case .heldProcess: "SCM_PIDFD, process held"
            case .process: "SCM_PIDFD"
            }
        }

        var knows: String {
            switch self {
            case .none: "nothing"
            case .connection: "who connected"
            case .credentials: "who sent: pid, uid, gid"
            case .processCheck: "and that the pid is still the opener's"
            case .heldProcess: "and the process, while another descriptor of it is open"
            case .process: "and the process"
            }
        }
    }

    package func run() throws -> CostReport {
        var best: [Mechanism: Double] = [:]
        // In turns, so that whatever else the machine does meets all of them alike; the first
        // round warms up.
        for round in 0...Self.roundsCount {
            for mechanism in Mechanism.allCases where isAvailable(mechanism) {
                let taken = try measure(mechanism)
                if round > 0 { best[mechanism] = min(taken, best[mechanism] ?? taken) }
            }
        }
        let rows = Mechanism.allCases.map { mechanism in
            CostReport.Row(
                name: mechanism.name, knows: mechanism.knows, nanoseconds: best[mechanism])
        }
        return CostReport(
            kernel: features.kernelRelease, messageBytes: Self.messageBytes,
            messages: Self.roundsCount * messagesPerRound, mechanisms: rows)
    }

    private func isAvailable(_ mechanism: Mechanism) -> Bool {
        switch mechanism {
        case .none, .connection, .credentials: true
        case .processCheck: features.peerPidfd
        case .heldProcess: features.passPidfd && features.peerPidfd
        case .process: features.passPidfd
        }
    }

    private func measure(_ mechanism: Mechanism) throws -> Double {
        var pair = try SeqpacketPair()
        guard let sender = pair.first.take(), let receiver = pair.second.take() else {
            preconditionFailure("a pair has two ends")
        }
        switch mechanism {
        case .none, .connection: break
        case .credentials, .processCheck:
            try SocketOptions.enableCredentialRecording(receiver)
        case .heldProcess, .process:
            try SocketOptions.enableCredentialRecording(receiver)
            SocketOptions.setPassPidfd(receiver, true)
        }
        var opener: ProcessDescriptor?
        if mechanism == .processCheck || mechanism == .heldProcess {
            opener = ProcessDescriptor.ofPeer(of: receiver)
        }
        let message = [UInt8](repeating: 0x61, count: Self.messageBytes)
        var packets = PacketReceiver(slots: 1, packetBytesMax: 4096)
        let start = Clock.monotonicNanoseconds()
        if mechanism == .connection { _ = try PeerCredentials.read(receiver) }
        for _ in 0..<messagesPerRound {
            guard sendPacket(to: sender, message.span) == .sent(1),
                packets.receive(from: receiver) == .packets(1)
            else { throw ScenarioBroken(reason: "a message to ourselves was lost") }
            if mechanism == .processCheck, opener?.hasExitedAndBeenReaped() != false {
                throw ScenarioBroken(reason: "this process is said to have exited")
            }
        }
        let taken = Clock.monotonicNanoseconds() - start
        // It must stay open to the end.
        _ = opener?.inode
        return Double(taken) / Double(messagesPerRound)
    }
}
