import BrokerConfig
import BrokerCore
import BrokerWire
import LinuxIO
import Logging

/// The streams of links: the reactor moves their bytes, the core decides about them.
extension Reactor {
    // MARK: Opening

    mutating func watchLinkListeners() {
        for case (let index, .some(let listener)) in links.listeners.enumerated() {
            watchLinkListener(listener, index)
        }
    }

    private func watchLinkListener(_ listener: LinkListener, _ index: Int) {
        do throws(KernelError) {
            try epoll.add(
                listener.listener.descriptor,
                token: LinkToken.stream | LinkToken.listener | UInt64(index),
                interest: .readable)
        } catch {
            logger.error(
                "cannot listen for links",
                metadata: [LogKey.address: "\(listener.address)", LogKey.error: "\(error)"])
        }
    }

    mutating func addLinkListener(_ listener: LinkListener) {
        let index = links.listeners.firstIndex { $0 == nil } ?? links.listeners.count
        if index == links.listeners.count {
            links.listeners.append(listener)
        } else {
            links.listeners[index] = listener
        }
        watchLinkListener(listener, index)
    }

    mutating func stopLinkListener(_ index: Int) {
        guard let listener = links.listeners[index] else { return }
        try? epoll.remove(listener.listener.descriptor)
        listener.listener.removePath()
        links.listeners[index] = nil
    }

    mutating func stopLinkListeners() {
        for index in links.listeners.indices { stopLinkListener(index) }
    }

    /// Dials what is due, and looks whether key files have changed.
    mutating func passLinkTime() {
        guard links.nextDeadlineNanoseconds <= nowNanoseconds, !broker.isShuttingDown else {
            return
        }
        giveUpDials()
        for link in links.settings
        where link.link.isConnector && !links.dialing.contains(link.peer)
            && (links.backOffs[link.peer]?.nextNanoseconds ?? 0) <= nowNanoseconds
        {
            dial(link)
        }
        guard links.nextReloadNanoseconds <= nowNanoseconds else { return }
        links.nextReloadNanoseconds = nowNanoseconds + LinkStreams.reloadNanoseconds
        for link in links.settings {
            guard let statistics = broker.linkStatistics(link.peer) else { continue }
            links.progress[link.peer]?.take(statistics, nowNanoseconds: nowNanoseconds)
        }
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
    }

    private mutating func dial(_ link: LinkSettings) {
        do throws(StreamError) {
            let descriptor = try connectStream(link.address)
            let stream = addStream(descriptor, dialed: link.peer)
            let limit = UInt64(LinkLimits.handshakeSecondsMax)
            stream.dialDeadlineNanoseconds = nowNanoseconds + limit * 1_000_000_000
            links.dialing.insert(link.peer)
            watch(stream, .writable)
        } catch {
            dialFailed(link.peer, error.description)
        }
    }

    private mutating func giveUpDials() {
        for case .some(let stream) in links.streams
        where stream.isConnecting && stream.dialDeadlineNanoseconds <= nowNanoseconds {
            guard let peer = stream.dialed else { continue }
            drop(stream)
            dialFailed(peer, "no answer within \(LinkLimits.handshakeSecondsMax) seconds")
        }
    }

    private mutating func dialFailed(_ peer: String, _ reason: String) {
        links.dialing.remove(peer)
        links.backOffs[peer]?.failed(nowNanoseconds: nowNanoseconds)
        links.progress[peer]?.failed(reason, wallNanoseconds: Clock.realtimeNanoseconds())
        logger.info(
            "link peer not reached",
            metadata: [LogKey.link: "\(peer)", LogKey.error: "\(reason)"])
    }

    private mutating func acceptLinks(_ index: Int) {
        guard index < links.listeners.count, let listener = links.listeners[index] else { return }
        for _ in 0..<LinkLimits.handshakesMax {
            switch listener.listener.accept() {
            case .connection(let descriptor):
                if listener.listener.isTCP { disableDelay(descriptor) }
                guard let id = broker.linkAccepted(nowNanoseconds: nowNanoseconds) else {
                    logger.warning("too many unfinished handshakes, a connection was closed")
                    continue
                }
                let stream = addStream(descriptor, dialed: nil)
                stream.connection = id
                links.slots[id] = stream.slot
                watch(stream, .readable)
            case .aborted:
                continue
            case .wouldBlock:
                return
            case .failed(let error):
                noticeLog.logAcceptFailure(error, nowNanoseconds: nowNanoseconds)
                return
            case .descriptorsExhausted(let error):
                noticeLog.logAcceptFailure(error, nowNanoseconds: nowNanoseconds)
                return
            }
        }
    }

    private mutating func addStream(
        _ descriptor: consuming OwnedDescriptor, dialed: String?
    ) -> LinkStream {
        let slot = links.streams.firstIndex { $0 == nil } ?? links.streams.count
        let stream = LinkStream(
            slot: slot, generation: links.nextGeneration, descriptor: descriptor,
            dialed: dialed)
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
        }
        if !readiness.isDisjoint(with: [.readable, .hangUp, .error]) { read(stream) }
    }

    private mutating func finishDial(_ stream: LinkStream) {
        guard let peer = stream.dialed else { return }
        if let error = connectError(stream.descriptor) {
            drop(stream)
            dialFailed(peer, error.description)
            return
        }
        stream.isConnecting = false
        disableDelay(stream.descriptor)
        guard let id = broker.linkDialed(peer, nowNanoseconds: nowNanoseconds, into: &effects)
        else {
            close(stream)
            return
        }
        stream.connection = id
        links.slots[id] = stream.slot
        watch(stream, .readable)
    }

    private mutating func read(_ stream: LinkStream) {
        guard !stream.isPaused, !stream.input.isFull else {
            updateInterest(of: stream)
            return
        }
        switch stream.input.receive(from: stream.descriptor) {
        case .moved:
            process(stream)
        case .wouldBlock:
            break
        case .ended:
            close(stream)
        case .failed(let error):
            logger.info("link stream failed", metadata: [LogKey.error: "\(error)"])
            close(stream)
        }
    }

    private mutating func process(_ stream: LinkStream) {
        guard let id = stream.connection else { return }
        let used = broker.linkReceived(
            id, stream.input.bytes, nowNanoseconds: nowNanoseconds, into: &effects)
        stream.input.consume(used)
        updateInterest(of: stream)
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
            if stream.output.isEmpty {
                broker.linkOutput(
                    id, into: &stream.output, nowNanoseconds: nowNanoseconds,
                    effects: &effects)
            }
            guard !stream.output.isEmpty else { break }
            switch sendStream(to: stream.descriptor, stream.output.pending) {
            case .moved(let count):
                stream.output.sent(count)
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
        close(stream)
    }

    private mutating func close(_ stream: LinkStream) {
        let wasEstablished = stream.input.capacityBytes == LinkStream.bytesMax
        if let id = stream.connection {
            links.slots[id] = nil
            broker.linkClosed(id, into: &effects)
        }
        drop(stream)
        guard let peer = stream.dialed else { return }
        if wasEstablished { links.backOffs[peer]?.succeeded() }
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
            case .established:
                growInput(ofLink: notice.link)
                links.progress[notice.link]?.connected(nowNanoseconds: nowNanoseconds)
            case .ended, .refused:
                let reason = notice.reason.map { "\($0): " } ?? ""
                links.progress[notice.link]?.failed(
                    reason + notice.explanation,
                    wallNanoseconds: Clock.realtimeNanoseconds())
            case .rotated, .rotationRefused, .lostByPeer:
                break
            }
            noticeLog.log(notice)
        }
    }

    /// The peer has proved who it is: there may be whole envelopes of it in memory.
    private mutating func growInput(ofLink peer: String) {
        for case .some(let stream) in links.streams {
            guard let id = stream.connection, broker.isLinkConnected(peer),
                broker.linkPeer(of: id) == peer
            else { continue }
            stream.input.grow(toBytes: LinkStream.bytesMax)
            updateInterest(of: stream)
        }
    }

    // MARK: Watching

    private mutating func updateInterest(of stream: LinkStream) {
        guard links.streams[stream.slot] === stream, !stream.isConnecting else { return }
        var interest: Epoll.Interest = []
        if !stream.isPaused && !stream.input.isFull { interest.insert(.readable) }
        if stream.isWriteBlocked && !stream.output.isEmpty { interest.insert(.writable) }
        watch(stream, interest.isEmpty ? nil : interest)
    }

    private mutating func watch(_ stream: LinkStream, _ interest: Epoll.Interest?) {
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
