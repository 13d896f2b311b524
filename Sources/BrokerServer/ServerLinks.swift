import BrokerConfig
import BrokerCore
import BrokerSigning
import BrokerWire
import LinuxIO
import Logging

/// What the links of a server need before its reactor runs: keys that were read, sockets that
/// listen.
extension Server {
    func openLinks(_ settings: [LinkSettings]) throws(ServerError) -> LinkStreams {
        let control = control
        var links = LinkStreams(resolver: LinkResolver { control.wakeUp.signal() })
        let prepared = try links.prepare(settings)
        links.keys.replace(prepared.rings)
        links.contexts.replace(prepared.certificates)
        links.listeners = prepared.listeners
        links.replace(
            settings, restarting: [], nowNanoseconds: Clock.monotonicNanoseconds())
        for link in settings { link.warnIfReadable(logger) }
        links.warnOfExpiry(logger)
        return links
    }
}

extension LinkSettings {
    /// Says that contents can be read on the way, where they can.
    func warnIfReadable(_ logger: Logger) {
        guard tls == nil, !address.isLocal else { return }
        logger.warning(
            "link without TLS: contents can be read on the way, though not altered",
            metadata: [LogKey.link: "\(peer)", LogKey.address: "\(address)"])
    }
}

/// Everything that may fail when links are set up or changed, done beforehand.
struct PreparedLinks {
    let rings: [String: LinkKeys.Ring]
    let certificates: [LinkTLSContexts.Certificates]
    /// Listeners that are not open yet.
    let listeners: [LinkListener]
}

extension LinkStreams {
    func warnOfExpiry(_ logger: Logger) {
        for (path, reason) in contexts.warnings {
            logger.warning(
                "certificate of a link: \(reason)", metadata: [LogKey.path: "\(path)"])
        }
    }

    /// Reads keys and opens listeners for links that are to be put into force.
    ///
    /// - Throws: what is wrong; nothing has changed then.
    func prepare(_ settings: [LinkSettings]) throws(ServerError) -> PreparedLinks {
        let rings: [String: LinkKeys.Ring]
        do throws(SigningError) {
            rings = try keys.rings(settings.map { ($0.peer, $0.keyPath) })
        } catch {
            throw ServerError("link keys: \(error)")
        }
        let certificates: [LinkTLSContexts.Certificates]
        do throws(SigningError) {
            certificates = try contexts.certificates(for: settings)
        } catch {
            throw ServerError("TLS of links: \(error)")
        }
        let replaced = listenersUnused(by: settings).compactMap { listeners[$0] }
        var opened: [LinkListener] = []
        for link in settings where !link.link.isConnector {
            let isOpen =
                listener(at: link.address) != nil
                || opened.contains { $0.address == link.address }
            if isOpen { continue }
            do throws(StreamError) {
                opened.append(
                    try LinkListener(address: link.address, backlog: 64, replacing: replaced))
            } catch {
                for listener in opened { listener.listener.removePath() }
                throw ServerError("link \(link.peer): \(error)")
            }
        }
        return PreparedLinks(rings: rings, certificates: certificates, listeners: opened)
    }
}
