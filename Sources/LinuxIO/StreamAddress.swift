import CLinux
import Glibc

/// Where a stream goes to or comes from.
public enum StreamAddress: Equatable, Sendable, CustomStringConvertible {
    /// A name or number, and a port.
    case tcp(host: String, port: UInt16)
    case unix(path: String)

    /// As it stands in configurations: `tcp://host:port`, `tcp://[::1]:port`, `unix:/path`.
    public init?(_ text: String) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst("unix:".count))
            guard path.hasPrefix("/") else { return nil }
            self = .unix(path: path)
            return
        }
        guard text.hasPrefix("tcp://"), let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...]), port > 0,
            // No sign, no zeros in front.
            text.hasSuffix(":\(port)")
        else { return nil }
        var host = text[text.index(text.startIndex, offsetBy: "tcp://".count)..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty, !host.contains("/"), !host.contains("[") else { return nil }
        self = .tcp(host: String(host), port: port)
    }

    public var description: String {
        switch self {
        case .tcp(let host, let port):
            host.contains(":") ? "tcp://[\(host)]:\(port)" : "tcp://\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }

    /// Whether both are of TCP and have the same port.
    public func hasPort(of other: StreamAddress) -> Bool {
        guard case (.tcp(_, let port), .tcp(_, let otherPort)) = (self, other) else { return false }
        return port == otherPort
    }

    /// Whether what is sent there stays on this machine.
    public var isLocal: Bool {
        switch self {
        case .unix: true
        case .tcp(let host, _): host == "localhost" || host == "::1" || host.hasPrefix("127.")
        }
    }
}

/// An address of a peer that can be connected to at once: a name has been looked up.
public enum StreamTarget: Sendable, CustomStringConvertible {
    case tcp(SocketAddress)
    case unix(path: String)

    /// As the kernel wants to have it.
    public struct SocketAddress: Sendable {
        var raw: clinux_address
    }

    /// Addresses of one name that are tried.
    private static let addressesMax = 8

    /// The addresses of a peer, in the order in which they are to be tried. Looking a name up may
    /// take as long as the name service pleases: not for a reactor.
    ///
    /// The corresponding C function is `getaddrinfo`.
    public static func lookUp(_ address: StreamAddress) throws(StreamError) -> [StreamTarget] {
        switch address {
        case .tcp(let host, let port): try lookUp(host, port, flags: 0)
        case .unix(let path): [.unix(path: path)]
        }
    }

    /// The address of a peer that has a path or a number for its name; nil: it has to be looked up.
    public init?(_ address: StreamAddress) {
        switch address {
        case .tcp(let host, let port):
            let found = try? Self.lookUp(host, port, flags: AI_NUMERICHOST)
            guard let target = found?.first else { return nil }
            self = target
        case .unix(let path): self = .unix(path: path)
        }
    }

    static func lookUp(
        _ host: String, _ port: UInt16, flags: Int32
    ) throws(StreamError) -> [StreamTarget] {
        var addresses = [clinux_address](repeating: clinux_address(), count: addressesMax)
        var reason: UnsafePointer<CChar>?
        let count = unsafe clinux_resolve(
            host, String(port), flags, &addresses, Int32(addressesMax), &reason)
        guard count >= 0 else {
            let text = unsafe reason.map { unsafe String(cString: $0) } ?? "no address"
            throw StreamError("\(host): \(text)")
        }
        return addresses.prefix(Int(count)).map { .tcp(SocketAddress(raw: $0)) }
    }

    /// The host as a number, or the path.
    public var description: String {
        switch self {
        case .unix(let path): return path
        case .tcp(var address):
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            guard unsafe clinux_address_text(&address.raw, &text, NI_MAXHOST) == 0 else {
                return "an address"
            }
            return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
        }
    }
}
