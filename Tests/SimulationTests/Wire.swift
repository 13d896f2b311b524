import BrokerCore
import BrokerWire

/// A byte stream between two nodes that can be cut, delayed and tampered with.
final class Wire {
    let connector: Int
    let listener: Int
    let connectorEnd: End
    let listenerEnd: End
    var isUp = false
    /// The wire stays down while this is set.
    var isPartitioned = false
    /// Takes few bytes at a time.
    var isSlow = false
    /// Bytes that once were on the wire: for replaying them.
    var captured: [[UInt8]] = []
    var tamperCount = 0

    /// One end: the connection of its node, what it has yet to send, what is on its way to it.
    final class End {
        let node: Int
        var connection: LinkConnectionID?
        var output = LinkOutput()
        /// Bytes in flight towards this end.
        var inFlight: [UInt8] = []
        /// Bytes that have arrived and were not used up.
        var unread: [UInt8] = []
        /// Ended by its broker: closes when its output is sent.
        var isClosing = false

        init(node: Int) {
            self.node = node
        }
    }

    init(connector: Int, listener: Int) {
        self.connector = connector
        self.listener = listener
        connectorEnd = End(node: connector)
        listenerEnd = End(node: listener)
    }

    var ends: [End] { [connectorEnd, listenerEnd] }

    func other(_ end: End) -> End { end === connectorEnd ? listenerEnd : connectorEnd }
}
