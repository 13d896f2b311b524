import BrokerConfig
import BrokerCore
import BrokerSigning
import BrokerWire
import LinuxIO
import Logging

/// What the links of a server need before its reactor runs: keys that were read, sockets that
/// listen.
extension Server {
    func openLinks() throws(ServerError) -> LinkStreams {
        let settings = configuration.links
        guard !settings.isEmpty else {
            return LinkStreams(settings: [], keys: nil, listeners: [])
        }
        guard LinkName.isValid(configuration.name) else {
            throw ServerError(
                "'\(configuration.name)' is no name for a linked broker: give it one with --name")
        }
        let keys: LinkKeys
        do throws(SigningError) {
            keys = try LinkKeys(paths: settings.map { ($0.link.peer, $0.keyPath) })
        } catch {
            throw ServerError("link keys: \(error)")
        }
        var listeners: [LinkListener] = []
        for link in settings {
            if !link.address.isLocal {
                logger.warning(
                    "link without TLS: contents can be read on the way, though not altered",
                    metadata: [
                        LogKey.link: "\(link.link.peer)", LogKey.address: "\(link.address)",
                    ])
            }
            guard !link.link.isConnector,
                !listeners.contains(where: { $0.address == link.address })
            else { continue }
            do throws(StreamError) {
                listeners.append(try LinkListener(address: link.address, backlog: 64))
            } catch {
                throw ServerError("link \(link.link.peer): \(error)")
            }
        }
        return LinkStreams(
            settings: settings.map {
                LinkServerSettings(
                    peer: $0.link.peer, address: $0.address, isDialed: $0.link.isConnector)
            }, keys: keys, listeners: listeners)
    }
}
