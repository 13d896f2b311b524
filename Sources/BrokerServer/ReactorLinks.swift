import BrokerConfig
import BrokerCore
import BrokerSigning
import BrokerWire
import LinuxIO
import Logging

/// The streams of links: the reactor moves their bytes, the core decides about them.
extension Reactor {
    // MARK: Opening

    mutating func watchLinkListeners() {
        for case (let index, .some(let listener)) in links.listeners.enumerated() {
            do throws(ServerError) {
                try watchLinkListener(listener, index)
            } catch {
                logger.error("cannot listen for links", metadata: [LogKey.error: "\(error)"])
            }
        }
    }

    private func watchLinkListener(_ listener: LinkListener, _ index: Int) throws(ServerError) {
        do throws(KernelError) {
            try epoll.add(
                listener.listener.descriptor,
                token: LinkToken.stream | LinkToken.listener | UInt64(index),
                interest: .readable)
        } catch {
            throw ServerError("\(listener.address): \(error)")
        }
    }

    /// Watches new listeners: all of them, or none is left.
    mutating func addLinkListeners(_ listeners: [LinkListener]) throws(ServerError) {
        let indices = listeners.map { links.add($0) }
        do throws(ServerError) {
            for (listener, index) in zip(listeners, indices) {
                try watchLinkListener(listener, index)
            }
        } catch {
            for index in indices { stopLinkListener(index) }
            throw error
        }
    }

    mutating func stopLinkListener(_ index: Int) {
        guard let listener = links.listeners[index] else { return }
        try? epoll.remove(listener.listener.descriptor)
        listener.listener.removePath()
        links.listeners[index] = nil
    }

    /// The broker stops: nobody is accepted or dialed any more.
    mutating func stopLinks() {
        for index in links.listeners.indices { stopLinkListener(index) }
        links.isStopping = true
    }

    /// Dials what is due, and looks at files.
    mutating func passLinkTime() {
        guard links.nextDeadlineNanoseconds <= nowNanoseconds else { return }
        acceptAgain()
        if let retry = links.fileRetry, retry.nextNanoseconds <= nowNanoseconds {
            // Until it is known what came of it.
            links.fileRetry?.failed(nowNanoseconds: nowNanoseconds)
            keeper?.retryLinks()
        }
        for link in links.settings
        where link.link.isConnector && !links.dialing.contains(link.peer)
            && (links.backOffs[link.peer]?.nextNanoseconds ?? 0) <= nowNanoseconds
        {
            dial(link)
        }
        passDialTime()
        guard links.nextReloadNanoseconds <= nowNanoseconds else { return }
        links.nextReloadNanoseconds = nowNanoseconds + LinkStreams.reloadNanoseconds
        for link in links.settings {
            guard let statistics = broker.linkStatistics(link.peer) else { continue }
            links.progress[link.peer]?.take(statistics, nowNanoseconds: nowNanoseconds)
        }
        reloadLinkKeys()
        reloadCertificates()
    }

    private mutating func reloadLinkKeys() {
        let result = links.keys.reload()
        for link in result.changed {
            logger.notice("link keys reloaded", metadata: [LogKey.link: "\(link)"])
            broker.linkKeysChanged(link, into: &effects)
        }
        for (link, reason) in result.refused {
            logger.error(
                "link keys refused, the old ones stay",
                metadata: [LogKey.link: "\(link)", LogKey.error: "\(reason)"])
        }
        // A peer that did not have the new key may have got it meanwhile.
        guard links.nextRotationNanoseconds <= nowNanoseconds else { return }
        links.nextRotationNanoseconds = nowNanoseconds + LinkStreams.rotationNanoseconds
        for link in links.settings { broker.linkKeysChanged(link.peer, into: &effects) }
    }

    private mutating func reloadCertificates() {
        let result = links.contexts.reload()
        for path in result.changed {
            logger.notice("certificate of a link reloaded", metadata: [LogKey.path: "\(path)"])
        }
        for reason in result.refused {
            logger.error(
                "certificate of a link refused, the old one stays",
                metadata: [LogKey.error: "\(reason)"])
        }
        if !result.changed.isEmpty { links.warnOfExpiry(logger) }
    }

    private mutating func acceptLinks(_ index: Int) {
        guard index < links.listeners.count, let listener = links.listeners[index] else { return }
        for _ in 0..<LinkLimits.handshakesMax {
            switch listener.listener.accept() {
            case .connection(let descriptor):
                if listener.listener.isTCP { disableDelay(descriptor) }
                accepted(descriptor, at: listener.address)
            case .aborted:
                continue
            case .wouldBlock:
                return
            case .failed(let error):
                restAccepting(at: listener, error)
                return
            case .descriptorsExhausted(let error):
                restAccepting(at: listener, error)
                return
            }
        }
    }

    /// The waiting connection keeps the listener readable: without a rest this would spin.
    private mutating func restAccepting(at listener: LinkListener, _ error: KernelError) {
        noticeLog.logAcceptFailure(error, nowNanoseconds: nowNanoseconds)
        listener.acceptAgainNanoseconds = nowNanoseconds + Self.acceptRestNanoseconds
        do throws(KernelError) {
            try epoll.remove(listener.listener.descriptor)
        } catch {
            logger.error("cannot rest accepting", metadata: [LogKey.error: "\(error)"])
        }
    }

    /// Listeners that have rested go on.
    private mutating func acceptAgain() {
        for case (let index, .some(let listener)) in links.listeners.enumerated() {
            guard let again = listener.acceptAgainNanoseconds, again <= nowNanoseconds else {
                continue
            }
            do throws(ServerError) {
                try watchLinkListener(listener, index)
                listener.acceptAgainNanoseconds = nil
            } catch {
                listener.acceptAgainNanoseconds = nowNanoseconds + Self.acceptRestNanoseconds
            }
        }
    }

    private mutating func accepted(
        _ descriptor: consuming OwnedDescriptor, at address: StreamAddress
    ) {
        let candidates = links.settings.filter { link in
            !link.link.isConnector && link.address == address
        }
        let names = candidates.map(\.peer)
        let tls: TLSSession?
        do throws(SigningError) {
            tls = try links.tlsSession(
                accepting: candidates, ownName: broker.configuration.name)
        } catch {
            noticeLog.log(.error, "no TLS for a link", [LogKey.error: "\(error)"])
            return
        }
        guard let id = broker.linkAccepted(for: names, nowNanoseconds: nowNanoseconds) else {
            noticeLog.log(.warning, "too many unfinished handshakes, a connection was closed")
            return
        }
        let stream = addStream(descriptor, dialed: nil, candidates: names)
        stream.tls = tls
        stream.connection = id
        links.slots[id] = stream.slot
        watch(stream, .readable)
    }

    mutating func addStream(
        _ descriptor: consuming OwnedDescriptor, dialed: String?, candidates: [String] = []
    ) -> LinkStream {
        let slot = links.streams.firstIndex { $0 == nil } ?? links.streams.count
        let stream = LinkStream(
            slot: slot, generation: links.nextGeneration, descriptor: descriptor,
            dialed: dialed, candidates: candidates)
        links.nextGeneration &+= 1
        if slot == links.streams.count {
            links.streams.append(stream)
        } else {
            links.streams[slot] = stream
        }
        return stream
    }

    // MARK: Events

    mutating func dispatchLink(_ token: UInt64, _ readiness: Epoll.Readiness) {
        if token & LinkToken.listener != 0 {
            acceptLinks(Int(token & 0x3FFF_FFFF))
            return
        }
        guard let stream = links.stream(token) else { return }
        if stream.isConnecting {
            finishDial(stream)
            return
        }
        if readiness.contains(.writable) {
            stream.isWriteBlocked = false
            flush(stream)
            // TLS may have waited for room to answer before it could go on reading.
            if stream.tls != nil { process(stream) }
        }
        guard links.streams[stream.slot] === stream else { return }
        if !readiness.isDisjoint(with: [.readable, .hangUp, .error]) { read(stream) }
    }

    private mutating func read(_ stream: LinkStream) {
        guard !stream.isPaused, stream.canReceive else {
            updateInterest(of: stream)
            return
        }
        switch stream.receive() {
        case .moved:
            process(stream)
        case .wouldBlock:
            break
        case .ended:
            endedByPeer(stream)
        case .failed(let error):
            logger.info("link stream failed", metadata: [LogKey.error: "\(error)"])
            close(stream)
        }
    }

    /// The core gets what has arrived, as far as it wants it.
    private mutating func process(_ stream: LinkStream) {
        guard let id = stream.connection else { return }
        var moved = 0
        repeat {
            moved = stream.decrypt()
            followTLS(of: stream, id)
            let used = broker.linkReceived(
                id, stream.input.bytes, nowNanoseconds: nowNanoseconds, into: &effects)
            stream.input.consume(used)
            // The room that there is now may be wanted for more that was sent under TLS.
        } while moved > 0
        if stream.tls?.outputBytes ?? 0 > 0 { flush(stream) }
        updateInterest(of: stream)
        if stream.tls?.state == .ended { endedByPeer(stream) }
    }

    /// Does what is to be done when the state of TLS has changed.
    private mutating func followTLS(of stream: LinkStream, _ id: LinkConnectionID) {
        guard let tls = stream.tls, tls.state != stream.tlsState else { return }
        stream.tlsState = tls.state
        switch tls.state {
        case .handshaking, .ended: break
        case .established:
            if stream.dialed == nil { broker.linkPeerProved(id, toBe: tls.provedLinks) }
            flush(stream)
        case .failed(let failure):
            // A peer without TLS is told so without TLS.
            if failure.kind == .plaintext { stream.tls = nil }
            if stream.candidates.count > 1 { noteFailure(of: stream, "\(failure)") }
            broker.linkFailed(id, LinkFault(.tlsFailed, failure.description), into: &effects)
        }
    }

    private mutating func noteFailure(of stream: LinkStream, _ reason: String) {
        for peer in stream.candidates {
            links.progress[peer]?.failed(reason, wallNanoseconds: Clock.realtimeNanoseconds())
        }
    }

    /// A queue that held the link back has room again, or has not any more.
    mutating func setLinkPaused(_ session: SessionID, _ isPaused: Bool) {
        guard let id = broker.linkConnection(of: session), let stream = links.stream(of: id)
        else { return }
        stream.isPaused = isPaused
        if !isPaused { process(stream) }
        updateInterest(of: stream)
    }

    // MARK: Sending

    mutating func flushLink(_ id: LinkConnectionID) {
        if let stream = links.stream(of: id) { flush(stream) }
    }

    private mutating func flush(_ stream: LinkStream) {
        guard let id = stream.connection, !stream.isWriteBlocked else { return }
        while true {
            if stream.output.isEmpty, stream.isOpen {
                broker.linkOutput(
                    id, into: &stream.output, nowNanoseconds: nowNanoseconds,
                    effects: &effects)
            }
            stream.encrypt()
            guard stream.hasOutput else { break }
            switch stream.send() {
            case .moved:
                continue
            case .wouldBlock:
                stream.isWriteBlocked = true
                updateInterest(of: stream)
                return
            case .ended, .failed:
                // What the peer said before it went is still to be read.
                stream.output.clear()
                stream.isWriteBlocked = true
                return
            }
        }
        updateInterest(of: stream)
    }

    // MARK: Ending

    /// Says what is left to say, as far as the kernel takes it at once, and closes.
    mutating func endLink(_ id: LinkConnectionID) {
        guard let stream = links.stream(of: id) else {
            broker.linkClosed(id, into: &effects)
            return
        }
        flush(stream)
        if let tls = stream.tls {
            tls.close()
            if tls.outputBytes > 0 { _ = stream.send() }
        }
        close(stream)
    }

    /// The other side has gone. Before it has proved who it is, it should not have.
    private mutating func endedByPeer(_ stream: LinkStream) {
        if !stream.isProven, stream.dialed != nil {
            let reason = "the other side closed the connection before the handshake was complete"
            noteFailure(of: stream, reason)
            logger.info(
                "link peer not reached",
                metadata: [
                    LogKey.link: "\(stream.dialed ?? "")", LogKey.error: "\(reason)",
                ])
        }
        close(stream)
    }

    mutating func close(_ stream: LinkStream) {
        guard links.streams[stream.slot] === stream else { return }
        if let id = stream.connection {
            links.slots[id] = nil
            broker.linkClosed(id, into: &effects)
        }
        drop(stream)
        guard let peer = stream.dialed else { return }
        if stream.isProven { links.backOffs[peer]?.succeeded() }
        links.dialing.remove(peer)
        links.backOffs[peer]?.failed(nowNanoseconds: nowNanoseconds)
    }

    mutating func drop(_ stream: LinkStream) {
        watch(stream, nil)
        links.streams[stream.slot] = nil
    }

    /// Ends what the core has been told of and what it has not.
    mutating func closeAllLinks() {
        for case .some(let stream) in links.streams { close(stream) }
    }

    // MARK: Notices

    mutating func note(_ notices: [LinkNotice]) {
        for notice in notices {
            switch notice.kind {
            case .ended, .refused:
                let reason = notice.reason.map { "\($0): " } ?? ""
                links.progress[notice.link]?.failed(
                    reason + notice.explanation,
                    wallNanoseconds: Clock.realtimeNanoseconds())
            case .established, .rotated, .rotationRefused, .lostByPeer:
                break
            }
            noticeLog.log(notice)
        }
    }

    /// The peer has proved who it is: there may be whole envelopes of it in memory.
    mutating func linkEstablished(_ id: LinkConnectionID) {
        guard let stream = links.stream(of: id), let peer = broker.linkPeer(of: id) else { return }
        links.progress[peer]?.connected(nowNanoseconds: nowNanoseconds)
        links.progress[peer]?.secured(stream.tls)
        stream.input.grow(toBytes: LinkStream.bytesMax)
        // There may be more of an envelope in TLS, of which the kernel knows nothing.
        if stream.tls != nil { process(stream) }
        updateInterest(of: stream)
    }

    // MARK: Watching

    private mutating func updateInterest(of stream: LinkStream) {
        guard links.streams[stream.slot] === stream, !stream.isConnecting else { return }
        var interest: Epoll.Interest = []
        if !stream.isPaused && stream.canReceive { interest.insert(.readable) }
        if stream.isWriteBlocked && stream.hasOutput { interest.insert(.writable) }
        watch(stream, interest.isEmpty ? nil : interest)
    }

    mutating func watch(_ stream: LinkStream, _ interest: Epoll.Interest?) {
        guard interest != stream.interest else { return }
        do throws(KernelError) {
            switch (stream.interest, interest) {
            case (nil, let new?):
                try epoll.add(stream.descriptor, token: stream.token, interest: new)
            case (_?, let new?):
                try epoll.modify(stream.descriptor, token: stream.token, interest: new)
            case (_, nil):
                try epoll.remove(stream.descriptor)
            }
            stream.interest = interest
        } catch {
            logger.error("epoll refused a link", metadata: [LogKey.error: "\(error)"])
        }
    }
}
