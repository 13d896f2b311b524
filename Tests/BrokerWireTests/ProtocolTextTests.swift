import BasicContainers
import BrokerWire
import Foundation
import TestSupport
import Testing

/// Others write their programs from Protocol/*.md: what stands in its tables is what we do.
@Suite struct `The protocol text and the code` {
    private func hexadecimal(_ cell: String) -> UInt8? {
        cell.hasPrefix("0x") ? UInt8(cell.dropFirst(2), radix: 16) : nil
    }

    // MARK: README.md

    @Test func `every frame type is in the text as it is in the code`() throws {
        let rows = try ProtocolTable("README.md", section: "5. ", first: "type").rows
        #expect(rows.map { hexadecimal($0[0]) } == FrameType.allCases.map(\.rawValue))
        for (row, type) in zip(rows, FrameType.allCases) {
            #expect(row[1] == "\(type)".uppercased())
            #expect(ProtocolTable.numbers(in: row[3]) == [type.fixedBytes], "\(row[1])")
            #expect((row[4] != "–") == type.hasLead, "\(row[1])")
            #expect((row[5] != "–") == type.hasTail, "\(row[1])")
        }
    }

    @Test func `the headers have the sizes of the text`() throws {
        let packet = try ProtocolLayout(ProtocolTable("README.md", section: "2. ", first: "offset"))
        #expect(packet.end == PacketHeader.byteCount)
        let frame = try ProtocolLayout(ProtocolTable("README.md", section: "3. ", first: "offset"))
        #expect(frame.end == FrameHeader.byteCount)
        let record = try ProtocolLayout(ProtocolTable("README.md", section: "6. ", first: "offset"))
        #expect(record.end == SenderRecord.byteCount)
    }

    @Test func `a packet begins with the magic of the text`() throws {
        let magic = try ProtocolTable("README.md", section: "2. ", first: "offset").value(
            "0", column: 3)
        #expect(magic == hexText(PacketHeader.magic))
    }

    @Test(
        arguments: [
            ("5.1 ", FrameType.hello), ("5.2 ", .welcome), ("5.3 ", .publish), ("5.4 ", .reply),
            ("5.5 ", .subscribe),
        ])
    func `the fields of a frame fill it`(section: String, type: FrameType) throws {
        let fields = try ProtocolLayout(
            ProtocolTable("README.md", section: section, first: "offset"))
        #expect(fields.end == FrameHeader.byteCount + type.fixedBytes)
    }

    @Test func `every field of a sender record is where the text says`() throws {
        let fields = try ProtocolLayout(ProtocolTable("README.md", section: "6. ", first: "offset"))
        let record = SenderRecord(
            pid: 1, uid: 2, gid: 3, process: 7,
            opener: .init(pid: 4, uid: 5, gid: 6, process: 8), timeNanoseconds: 9, level: .remote,
            isDelegated: true, domain: .other(ownerUID: 10))
        let bytes = UniqueArray<UInt8>(capacity: SenderRecord.byteCount) { output in
            record.write(to: &output)
        }
        for (field, value) in [
            ("pid", 1), ("uid", 2), ("gid", 3), ("opener pid", 4), ("opener uid", 5),
            ("opener gid", 6), ("process", 7), ("opener process", 8), ("time", 9), ("level", 3),
            ("flags", 1), ("domain", 2), ("domain owner", 10),
        ] as [(String, UInt8)] {
            let offset = try #require(fields.offsets[field], "\(field)")
            #expect(bytes.span[offset] == value, "\(field)")
        }
    }

    @Test func `every reason is in the text as it is in the code`() throws {
        let rows = try ProtocolTable("README.md", section: "7. ", first: "code").rows
        var named: [UInt16: String] = [:]
        for row in rows { named[UInt16(try #require(hexadecimal(row[0])))] = row[1] }
        // A code without a name of its own reads as one of these two.
        for code in UInt16(0)...0x1FF {
            let reason = ReasonCode(rawValue: code)
            let unknown = reason.isSuccess ? "success" : "unspecifiedError"
            #expect(reason.description == named[code] ?? unknown, "\(code)")
        }
        #expect(named.count == rows.count)
    }

    @Test func `the limits of sessions and users are those of the text`() throws {
        let limits = try ProtocolTable("README.md", section: "9. ", first: "limit")
        func expect(_ row: String, _ values: Int...) throws {
            #expect(try limits.numbers(row) == values, "\(row)")
        }
        try expect("packet", Limits.packetBytesMax)
        try expect("topic name, filter", Limits.topicBytesMax, Limits.topicLevelsMax)
        try expect("client name", Limits.clientNameBytesMax)
        #expect(Limits.filtersPerSubscriptionMax == Limits.rangesPerSubscriptionMax)
        try expect(
            "filters, uid ranges, gid ranges of a subscription", Limits.filtersPerSubscriptionMax)
        try expect("subscriptions of a session", Limits.subscriptionsPerSessionMax)
        try expect("subscriptions of an opener uid", Limits.subscriptionsPerUserMax)
        try expect(
            "memory of its subscriptions (access-rules.md, section 5)",
            Limits.subscriptionBytesPerUserMax)
        try expect("connections of an opener uid", Limits.connectionsPerUserMax)
        try expect(
            "connections of an opener uid that have not sent HELLO", Limits.greetingsPerUserMax)
        try expect("new connections of an opener uid", Limits.connectionsPerSecondMax)
        try expect("queue of a subscription", Limits.queueBytesPerSubscriptionMax)
        try expect("queues of an opener uid together", Limits.queueBytesPerUserMax)
        try expect("unread replies of a session", Limits.replyBytesPerSessionMax)
        #expect(limits.rows.count == 13, "a row that nothing is held against")
    }

    @Test func `the defaults of quotas are those of the text`() throws {
        let quotas = try ProtocolTable("access-rules.md", section: "5. ", first: "key")
        for (key, value) in [
            ("connections", Limits.connectionsPerUserMax),
            ("greetings", Limits.greetingsPerUserMax),
            ("connections_per_second, connection_burst", Limits.connectionsPerSecondMax),
            ("subscriptions", Limits.subscriptionsPerUserMax),
            ("subscription_bytes", Limits.subscriptionBytesPerUserMax),
            ("queued_bytes", Limits.queueBytesPerUserMax),
        ] {
            #expect(
                try quotas.value(key, column: 2).split(separator: ";").first.map {
                    ProtocolTable.numbers(in: String($0))
                } == [value], "\(key)")
        }
        let names = try ProtocolTable("access-rules.md", section: "4. ", first: "key of a map")
        #expect(try names.value("name").contains("1–\(Limits.mappedNameBytesMax) bytes"))
    }

    /// What is said of limits outside of tables.
    @Test(
        arguments: [
            ("receive packets of up to # bytes", Limits.packetBytesMax),
            ("nor larger than # bytes before it knows", Limits.packetBytesMin),
            ("is 1 to # bytes of well-formed UTF-8", Limits.topicBytesMax),
            ("split into 1 to # levels", Limits.topicLevelsMax),
            ("for logs and status, 0 to # bytes", Limits.clientNameBytesMax),
            ("explanations at most #.", Limits.explanationBytesMax),
            ("access-rules.md, section 4), at most # bytes", Limits.mappedNameBytesMax),
            ("longest topic name or filter, #", Limits.topicBytesMax),
            ("filterCount | 1 to #", Limits.filtersPerSubscriptionMax),
            ("uidRangeCount | 0 to #", Limits.rangesPerSubscriptionMax),
            ("gidRangeCount | 0 to #", Limits.rangesPerSubscriptionMax),
        ])
    func `a sentence with a limit says what the code has`(sentence: String, limit: Int) throws {
        let text = try String(
            contentsOf: ProjectFiles.root.appending(path: "Protocol/README.md"), encoding: .utf8
        ).replacing("`", with: "").replacing("\n", with: " ")
        let isSaid = text.contains(sentence.replacing("#", with: grouped(limit)))
        #expect(isSaid, "\(grouped(limit))")
    }

    @Test func `times are those of the text`() throws {
        let text = try String(
            contentsOf: ProjectFiles.root.appending(path: "Protocol/README.md"), encoding: .utf8
        ).replacing("\n", with: " ")
        let words = [2: "two", 5: "five", 10: "ten"]
        for (sentence, seconds) in [
            ("has not sent HELLO within # seconds", Limits.handshakeSecondsMax),
            ("still has to say (at most # seconds)", Limits.drainSecondsMax),
            ("until there is room, at most # seconds", Limits.blockSecondsMax),
            ("are published every # seconds", Limits.systemTopicsIntervalSeconds),
        ] {
            let word = try #require(words[seconds], "\(sentence): \(seconds)")
            let isSaid = text.contains(sentence.replacing("#", with: word))
            #expect(isSaid, "\(sentence) \(word)")
        }
    }

    /// `C5 00 B7 00` of a number that is sent with its lowest byte first.
    private func hexText(_ number: UInt32) -> String {
        HexText.text((0..<4).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) })
            .uppercased().enumerated().map { $0 > 0 && $0.isMultiple(of: 2) ? " \($1)" : "\($1)" }
            .joined()
    }

    private func grouped(_ number: Int) -> String {
        number < 1_000
            ? "\(number)" : "\(number / 1_000),\(String("\(1_000 + number % 1_000)".dropFirst()))"
    }

    // MARK: forwarding.md

    @Test func `a record of a link has the header of the text`() throws {
        let table = try ProtocolTable("forwarding.md", section: "2. ", first: "offset")
        #expect(try ProtocolLayout(table).end == LinkRecordHeader.byteCount)
        #expect(try table.value("0", column: 3) == hexText(LinkRecordHeader.magic))
        #expect(try table.value("4", column: 3) == "\(LinkRecordHeader.version)")
        let kinds = LinkRecordHeader.Kind.allCases.map { "\($0.rawValue) \("\($0)".uppercased())" }
        #expect(try table.value("5", column: 3) == kinds.joined(separator: ", "))
    }

    @Test(arguments: [("5. ", true), ("7. ", false), ("8. ", false)])
    func `every frame of a link is in the text as it is in the code`(
        section: String, isData: Bool
    ) throws {
        let names: [LinkFrame.Kind: String] = [.acknowledge: "ACK"]
        for row in try ProtocolTable("forwarding.md", section: section, first: "type").rows {
            let code = try #require(hexadecimal(row[0]))
            let kind = try #require(LinkFrame.Kind(rawValue: code), "\(row)")
            #expect(row[1] == names[kind] ?? "\(kind)".uppercased())
            #expect(kind.isData == isData, "\(row[1])")
            #expect(try fixedBytes(row[2]) == kind.fixedBytes, "\(row[1])")
            let isFilled = row[3] != "–" && row[3] != "empty"
            #expect(isFilled == kind.hasLead, "\(row[1])")
        }
    }

    @Test func `no frame of a link is missing in the text`() throws {
        let rows = try ["5. ", "7. ", "8. "].flatMap {
            try ProtocolTable("forwarding.md", section: $0, first: "type").rows
        }
        let told = Set(rows.compactMap { hexadecimal($0[0]) })
        #expect(told == Set(LinkFrame.Kind.allCases.map(\.rawValue)))
    }

    /// Of `u64 key id, 32 bytes nonce`.
    private func fixedBytes(_ cell: String) throws -> Int {
        if cell == "–" { return 0 }
        if cell == "sender record" { return SenderRecord.byteCount }
        return try cell.split(separator: ",").reduce(0) { sum, field in
            let word = field.trimmingCharacters(in: .whitespaces).prefix { $0 != " " }
            let sizes = ["u8": 1, "u16": 2, "u32": 4, "u64": 8]
            return try sum + #require(sizes[String(word)] ?? Int(word), "\(field)")
        }
    }

    @Test func `every reason of a link is in the text as it is in the code`() throws {
        let rows = try ProtocolTable("forwarding.md", section: "9. ", first: "code").rows
        let reasons = LinkFault.Reason.allCases.map { ["\($0.rawValue)", "\($0)"] }
        #expect(rows.map { Array($0.prefix(2)) } == reasons)
    }

    @Test func `the limits of links are those of the text`() throws {
        let limits = try ProtocolTable("forwarding.md", section: "10. ", first: "limit")
        func expect(_ row: String, _ values: Int...) throws {
            #expect(try limits.numbers(row) == values, "\(row)")
        }
        try expect("name", LinkLimits.nameBytesMax)
        try expect("path", LinkLimits.pathNamesMax, LinkLimits.pathBytesMax)
        try expect("import and export filters of a link", LinkLimits.filtersMax)
        try expect("filters announced on a link", LinkLimits.announcedFiltersMax)
        try expect("bytes sent and not acknowledged", LinkLimits.windowBytes)
        try expect("handshake", LinkLimits.handshakeSecondsMax)
        try expect("unfinished handshakes of a listener", LinkLimits.handshakesMax)
    }

    @Test func `the bodies of records have the lengths of the text`() throws {
        let text = try String(
            contentsOf: ProjectFiles.root.appending(path: "Protocol/forwarding.md"),
            encoding: .utf8
        ).replacing("\n", with: " ")
        func range(_ kind: LinkRecordHeader.Kind) -> ClosedRange<Int> { kind.bodyBytes }
        let (hello, refusal) = (range(.hello), range(.refusal))
        let sentence =
            "HELLO has \(hello.lowerBound) to \(hello.upperBound) bytes, of a REFUSAL "
            + "\(refusal.lowerBound) to \(refusal.upperBound), of an OPEN at most "
            + "\(grouped(range(.open).upperBound)), of a CONTROL at most "
            + "\(grouped(range(.control).upperBound)), of a DATA at most "
            + "\(grouped(range(.data).upperBound))."
        for sentence in [sentence, "stand \(LinkRecordHeader.tagBytes) bytes of **tag**"] {
            let isSaid = text.contains(sentence)
            #expect(isSaid, "\(sentence)")
        }
    }
}
