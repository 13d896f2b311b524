import BrokerConfig
import BrokerCore
import BrokerSigning
import LinuxIO
import Logging

/// How the reactor gets to the peers of links: a name is looked up elsewhere, then its addresses
/// are tried one after the other.
extension Reactor {
    mutating func dial(_ link: LinkSettings) {
        links.dialing.insert(link.peer)
        let deadline = nowNanoseconds + DialAttempt.nanosecondsMax
        if let target = StreamTarget(link.address) {
            return connect(link.peer, [target], deadlineNanoseconds: deadline)
        }
        do throws(KernelError) {
            guard let number = try links.resolver.begin(link.address, for: link.peer) else {
                return dialFailed(
                    link.peer, "\(link.address): the name service has still not answered")
            }
            links.lookUps[link.peer] = LookUp(number: number, deadlineNanoseconds: deadline)
        } catch {
            dialFailed(link.peer, "\(link.address): \(Server.noThread("to look it up", error))")
        }
    }

    /// What the name service says, unless that was waited for too long.
    mutating func linkLookedUp(_ answer: LinkResolver.Answer) {
        guard let lookUp = links.lookUps[answer.link], lookUp.number == answer.number else {
            return
        }
        links.lookUps[answer.link] = nil
        switch answer.result {
        case .success(let targets):
            connect(
                answer.link, targets[...], deadlineNanoseconds: lookUp.deadlineNanoseconds)
        case .failure(let error):
            dialFailed(answer.link, error.description)
        }
    }

    /// Tries the first of some addresses that can be tried at all.
    private mutating func connect(
        _ peer: String, _ targets: ArraySlice<StreamTarget>, deadlineNanoseconds: UInt64,
        after failure: String = "its name has no address"
    ) {
        precondition(links.dialing.contains(peer))
        var failure = failure
        var rest = targets
        while let attempt = DialAttempt(
            rest, nowNanoseconds: nowNanoseconds, lastDeadlineNanoseconds: deadlineNanoseconds)
        {
            do throws(StreamError) {
                let descriptor = try connectStream(to: attempt.target)
                let stream = addStream(descriptor, dialed: peer)
                stream.attempt = attempt
                watch(stream, .writable)
                return
            } catch {
                failure = error.description
                rest = attempt.others
            }
        }
        dialFailed(peer, failure)
    }

    mutating func finishDial(_ stream: LinkStream) {
        guard let peer = stream.dialed else { return }
        if let error = connectError(stream.descriptor) {
            attemptFailed(stream, peer, "\(error)")
            return
        }
        guard let link = links.settings.first(where: { $0.peer == peer }) else {
            close(stream)
            return
        }
        stream.isConnecting = false
        stream.attempt = nil
        disableDelay(stream.descriptor)
        do throws(SigningError) {
            stream.tls = try links.tlsSession(
                dialing: link, ownName: broker.configuration.name)
        } catch {
            drop(stream)
            dialFailed(peer, "\(error)")
            return
        }
        guard let id = broker.linkDialed(peer, nowNanoseconds: nowNanoseconds, into: &effects)
        else {
            close(stream)
            return
        }
        stream.connection = id
        links.slots[id] = stream.slot
        watch(stream, .readable)
    }

    private mutating func attemptFailed(_ stream: LinkStream, _ peer: String, _ reason: String) {
        guard let attempt = stream.attempt else { preconditionFailure("nothing was tried") }
        drop(stream)
        connect(
            peer, attempt.others, deadlineNanoseconds: attempt.lastDeadlineNanoseconds,
            after: "\(attempt.target): \(reason)")
    }

    /// Gives up what takes too long.
    mutating func passDialTime() {
        for (peer, lookUp) in links.lookUps where lookUp.deadlineNanoseconds <= nowNanoseconds {
            links.lookUps[peer] = nil
            dialFailed(peer, "no answer from the name service")
        }
        for case .some(let stream) in links.streams where stream.isConnecting {
            guard let attempt = stream.attempt, let peer = stream.dialed,
                attempt.deadlineNanoseconds <= nowNanoseconds
            else { continue }
            attemptFailed(stream, peer, "no answer")
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
}
