import BrokerWire
import Testing

@Suite struct `Reason codes` {
    @Test func `Codes below 0x80 are successes, known or not`() {
        #expect(ReasonCode.success.isSuccess)
        #expect(ReasonCode.noMatchingSubscribers.isSuccess)
        #expect(ReasonCode(rawValue: 0x7F).isSuccess)
        #expect(!ReasonCode.unspecifiedError.isSuccess)
        #expect(!ReasonCode(rawValue: 0xFFFF).isSuccess)
    }

    @Test func `A code reads as its name, an unknown one as what it counts as`() {
        #expect(ReasonCode.notPermitted.description == "notPermitted")
        #expect(ReasonCode.repliesUnread.description == "repliesUnread")
        #expect(ReasonCode(rawValue: 0x01).description == "success")
        #expect(ReasonCode(rawValue: 0xFE).description == "unspecifiedError")
    }
}
