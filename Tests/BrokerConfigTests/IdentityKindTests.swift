import BrokerWire
import Testing

@testable import BrokerConfig

@Suite struct IdentityKindTests {
    private func range(_ text: String) throws -> IDRange {
        try IdentityKind.user.range(text) {
            ["alice": 1000, "www-data": 33, "1-x": 7, "nobody-at-all": UInt32.max][$0]
        }
    }

    @Test func `numbers, ranges and names are uids`() throws {
        #expect(try range("0") == IDRange(first: 0, last: 0))
        #expect(try range("1000-1999") == IDRange(first: 1000, last: 1999))
        #expect(try range("alice") == IDRange(first: 1000, last: 1000))
        #expect(try range("www-data") == IDRange(first: 33, last: 33))
        #expect(try range("1-x") == IDRange(first: 7, last: 7))
        #expect(try range("4294967294") == IDRange(first: 4_294_967_294, last: 4_294_967_294))
    }

    @Test(arguments: [
        "", "-1", "2-1", "1-", "-", "1-2-3", "4294967295", "4294967296", "1-4294967295", "bob",
        "99999999999999999999", "+1", "٣", "nobody-at-all",
    ])
    func `nothing else is`(text: String) {
        #expect(throws: ConfigurationProblem.self) { try range(text) }
    }
}
