import BrokerWire
import Testing

@Suite struct `Limits of the protocol` {
    @Test func `The limits fit each other`() {
        Limits.checkRelations()
    }

    /// Protocol/README.md, sections 4, 5 and 9, states these numbers to other implementers.
    @Test func `The limits are those of the protocol text`() {
        #expect(Limits.packetBytesMax == 262_144)
        #expect(Limits.packetBytesMin == 16_384)
        #expect(Limits.topicBytesMax == 1_024)
        #expect(Limits.topicLevelsMax == 64)
        #expect(Limits.clientNameBytesMax == 128)
        #expect(Limits.explanationBytesMax == 512)
        #expect(Limits.filtersPerSubscriptionMax == 32)
        #expect(Limits.rangesPerSubscriptionMax == 32)
        #expect(Limits.subscriptionsPerSessionMax == 16_384)
        #expect(Limits.subscriptionsPerUserMax == 65_536)
        #expect(Limits.connectionsPerUserMax == 4_096)
        #expect(Limits.greetingsPerUserMax == 256)
        #expect(Limits.queueBytesPerSubscriptionMax == 16_777_216)
        #expect(Limits.queueBytesPerUserMax == 268_435_456)
        #expect(Limits.replyBytesPerSessionMax == 1_048_576)
        #expect(Limits.handshakeSecondsMax == 10)
        #expect(Limits.drainSecondsMax == 2)
        #expect(Limits.blockSecondsMax == 5)
    }
}
