import BrokerCompare
import LinuxIO
import SystemPackage

/// `broker compare --connect PATH`: the client that goes with `--listen`. Sends one message, or
/// with `--stdin` one for each line of standard input.
struct CompareConnect {
    let path: String
    let type: Actor.SocketType
    let message: String?
    let sendsLines: Bool

    func run() throws {
        do throws(KernelError) {
            let socket = try Actor.connect(path, type)
            if sendsLines {
                try sendLines(socket)
            } else {
                let text = message ?? "hello from process \(CurrentProcess.pid)"
                try Actor.send(socket, Array(text.utf8))
            }
        } catch {
            throw CommandFailure(
                Self.status(of: error), "\(path): \(error)\(advice(error.errno))")
        }
    }

    private func advice(_ errno: Errno) -> String {
        switch errno {
        case .noSuchFileOrDirectory, .connectionRefused:
            "; start `broker compare --listen \(path)` first"
        case .notSocket:
            "; this is \(fileKind(path: path) ?? "gone"): name the path of a socket"
        case .protocolWrongTypeForSocket: "; --type names the other type"
        default: ""  // not an enum: every number of errno
        }
    }

    private func sendLines(_ socket: borrowing OwnedDescriptor) throws(KernelError) {
        var bytes: [UInt8] = []
        while try ByteStream.standardInput.read(appendingTo: &bytes, bytesMax: 65536) > 0 {
            while let end = bytes.firstIndex(of: UInt8(ascii: "\n")) {
                try Actor.send(socket, Array(bytes[...end]))
                bytes.removeFirst(end + 1)
            }
        }
        if !bytes.isEmpty { try Actor.send(socket, bytes) }
    }

    private static func status(of error: KernelError) -> ExitStatus {
        switch error.errno {
        case .permissionDenied, .notPermitted: .notPermitted
        case .noSuchFileOrDirectory, .connectionRefused, .notSocket: .brokerUnavailable
        case .protocolWrongTypeForSocket: .usage
        default: .failure
        }
    }
}
