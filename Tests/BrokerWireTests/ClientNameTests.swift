import BrokerWire
import Testing

@Suite struct `Client names` {
    @Test(arguments: ["", "thermometer", String(repeating: "é", count: 64), "a b/c"])
    func `A name of at most 128 bytes is taken`(_ name: String) {
        #expect(parse(Array(name.utf8)) == name)
    }

    @Test(arguments: [
        [UInt8](repeating: 0x61, count: 129), [0x00], Array("a\nb".utf8), Array("a\u{7F}".utf8),
        Array("\u{9B}31m".utf8), [0xC3], [0xED, 0xA0, 0x80],
    ])
    func `A name that is long, ill-formed or would steer a terminal is refused`(_ name: [UInt8]) {
        #expect(parse(name) == nil)
    }

    private func parse(_ bytes: [UInt8]) -> String? {
        ClientName.parse(bytes.span)
    }
}
