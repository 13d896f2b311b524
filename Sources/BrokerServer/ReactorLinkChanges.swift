import BrokerConfig
import BrokerCore
import LinuxIO
import Logging

/// Links that change while the broker runs.
extension Reactor {
    /// Puts the links that were read into force, all of them, or says why the old ones stay.
    mutating func linksRead(
        _ result: Result<[LinkSettings], AccessFileSource.Failure>, _ cause: ReloadCause
    ) -> LinkReloadDocument {
        let path = linkFileStatus?.path ?? ""
        let reason: String
        switch result {
        case .failure(let failure):
            reason = failure.description
            switch failure {
            case .unreadable: retryLinks()
            case .invalid: links.fileRetry = nil
            }
        case .success(let settings):
            do throws(ServerError) {
                let changes = try change(to: settings)
                log(changes, cause)
                if !changes.isEmpty { linkFileStatus?.changes += 1 }
                linkFileStatus?.error = nil
                links.fileRetry = nil
                return LinkReloadDocument(changes, path: path)
            } catch {
                reason = error.description
                keeper?.linksRefused()
                retryLinks()
            }
        }
        if cause.isWish || reason != linkFileStatus?.error {
            logger.error(
                "links unchanged: the file is not usable",
                metadata: [LogKey.cause: "\(cause.rawValue)", LogKey.error: "\(reason)"])
        }
        linkFileStatus?.error = reason
        return LinkReloadDocument(error: reason, path: path)
    }

    /// What is in the way may go by itself: an address that is in use, a file that is not there
    /// yet, a limit that is reached.
    private mutating func retryLinks() {
        guard links.fileRetry == nil else { return }
        var retry = RetryTimer()
        retry.failed(nowNanoseconds: nowNanoseconds)
        links.fileRetry = retry
    }

    /// As it is at this moment; nil: the broker was started without a file of links.
    var linkFileStatusNow: LinkFileStatus? {
        guard var status = linkFileStatus else { return nil }
        status.nextAttemptMilliseconds = links.fileRetry.map { retry in
            (retry.nextNanoseconds - min(retry.nextNanoseconds, nowNanoseconds)) / 1_000_000
        }
        return status
    }

    private func log(_ changes: LinkChanges, _ cause: ReloadCause) {
        guard !changes.isEmpty else {
            logger.notice("links are as before", metadata: [LogKey.cause: "\(cause.rawValue)"])
            return
        }
        logger.notice(
            "links changed",
            metadata: [
                LogKey.cause: "\(cause.rawValue)",
                LogKey.added: "\(changes.added)", LogKey.removed: "\(changes.removed)",
                LogKey.restarted: "\(changes.restarted)", LogKey.adapted: "\(changes.adapted)",
                LogKey.deliveriesWithdrawn: "\(changes.deliveriesWithdrawn)",
            ])
    }

    /// Everything that can fail comes first.
    private mutating func change(to settings: [LinkSettings]) throws(ServerError) -> LinkChanges {
        guard !broker.isShuttingDown else { throw ServerError("the broker is stopping") }
        let prepared = try links.prepare(settings)
        try addLinkListeners(prepared.listeners)
        let restarting = restarts(for: settings)
        links.keys.replace(prepared.rings)
        links.contexts.replace(prepared.certificates)
        let changes = broker.linksChanged(
            settings.map(\.link), restarting: restarting, into: &effects)
        let ended = Set(changes.removed + changes.restarted)
        // Streams that have not come as far as the core knows nothing of.
        for case .some(let stream) in links.streams
        where stream.connection == nil && stream.dialed.map(ended.contains) == true {
            drop(stream)
            if let peer = stream.dialed { links.dialing.remove(peer) }
        }
        for index in links.listenersUnused(by: settings) { stopLinkListener(index) }
        links.replace(settings, restarting: ended, nowNanoseconds: nowNanoseconds)
        for link in settings where ended.union(changes.added).contains(link.peer) {
            link.warnIfReadable(logger)
        }
        links.warnOfExpiry(logger)
        return changes
    }

    /// Links whose address, keys or security are others than before.
    private func restarts(for settings: [LinkSettings]) -> Set<String> {
        let old = Dictionary(uniqueKeysWithValues: links.settings.map { ($0.peer, $0) })
        let changed = settings.filter { link in
            guard var before = old[link.peer] else { return false }
            before.link = link.link
            return before != link
        }
        return Set(changed.map(\.peer))
    }
}
