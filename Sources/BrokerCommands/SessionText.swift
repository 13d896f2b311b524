import BrokerClient

extension BrokerSession {
    /// Who the broker is, and who we are to it.
    func sentence(path: String) -> String {
        "connected to broker '\(brokerName)' \(brokerVersion) at \(path), which runs as uid "
            + "\(broker.uid) pid \(broker.pid); it sees us as uid \(identity.uid) gid "
            + "\(identity.gid) pid \(identity.pid), level \(identity.level.name)"
    }
}
