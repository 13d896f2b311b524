import BrokerWire
import Testing

@Suite struct `Limits of the protocol` {
    @Test func `The limits fit each other`() {
        Limits.checkRelations()
    }
}
