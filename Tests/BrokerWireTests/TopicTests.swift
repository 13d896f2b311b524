import BrokerWire
import TestSupport
import Testing

@Suite struct `Topics` {
    @Test(arguments: try VectorFile.topics().names)
    func `A name is judged as its vector says`(_ candidate: TopicVectors.Candidate) {
        #expect(TopicInspection.isValidName(candidate.bytes) == candidate.valid)
        #expect(TopicInspection.violation(in: candidate.bytes) == nil)
    }

    @Test(arguments: try VectorFile.topics().filters)
    func `A filter is judged as its vector says`(_ candidate: TopicVectors.Candidate) {
        #expect(TopicInspection.isValidFilter(candidate.bytes) == candidate.valid)
        #expect(TopicInspection.violation(in: candidate.bytes) == nil)
    }

    @Test(arguments: try VectorFile.topics().matches)
    func `A filter matches what its vector says`(_ vector: TopicVectors.Match) {
        let filter = Array(vector.filter.utf8)
        let name = Array(vector.topic.utf8)
        #expect(TopicInspection.matches(filter: filter, name: name) == vector.matches)
        #expect(TopicReference.matches(filter: filter, name: name) == vector.matches)
    }

    @Test(
        arguments: [
            ([], .empty, 0),
            ([UInt8](repeating: 0x61, count: 1_025), .tooLong(bytes: 1_025), 1_024),
            ([UInt8](repeating: 0x2F, count: 64), .tooManyLevels, 64),
            (Array("ab".utf8) + [0xC3], .notUTF8, 2),
            (Array("ab\u{7F}".utf8), .controlCharacter, 2),
            (Array("ab\u{85}c".utf8), .controlCharacter, 2),
            (Array("a/+".utf8), .wildcardInName, 2),
            (Array("a#".utf8), .wildcardInName, 1),
        ] as [([UInt8], Topic.Violation.Kind, Int)])
    func `A name that is refused says why and where`(
        _ bytes: [UInt8], _ kind: Topic.Violation.Kind, _ offset: Int
    ) {
        let violation = #expect(throws: Topic.Violation.self) {
            try Topic.validateName(bytes.span)
        }
        #expect(violation?.kind == kind)
        #expect(violation?.offset == offset)
        #expect(violation?.description.isEmpty == false)
    }

    @Test(
        arguments: [
            ("a/b+", .wildcardNotWholeLevel, 3),
            ("+a", .wildcardNotWholeLevel, 0),
            ("a#", .wildcardNotWholeLevel, 1),
            ("#/a", .multiLevelWildcardNotLast, 0),
            ("a/#/b", .multiLevelWildcardNotLast, 2),
            ("$share/group/a", .sharedSubscription, 0),
        ] as [(String, Topic.Violation.Kind, Int)])
    func `A filter that is refused says why and where`(
        _ text: String, _ kind: Topic.Violation.Kind, _ offset: Int
    ) {
        let violation = #expect(throws: Topic.Violation.self) {
            try Topic.validateFilter(Array(text.utf8).span)
        }
        #expect(violation?.kind == kind)
        #expect(violation?.offset == offset)
    }

    @Test func `The longest name and the deepest name are allowed, one more is not`() {
        #expect(TopicInspection.isValidName([UInt8](repeating: 0x61, count: 1_024)))
        #expect(!TopicInspection.isValidName([UInt8](repeating: 0x61, count: 1_025)))
        #expect(TopicInspection.isValidName([UInt8](repeating: 0x2F, count: 63)))
        #expect(!TopicInspection.isValidName([UInt8](repeating: 0x2F, count: 64)))
    }

    /// Few different levels, so that filters and names meet often enough.
    @Test func `Matching agrees with the reference on random filters and names`() {
        var random = SeededRandom()
        var matches = 0
        for _ in 0..<20_000 {
            let name = randomTopic(&random, levels: ["a", "b", "", "$SYS", "é", "abcdefghij"])
            let filter = randomTopic(
                &random, levels: ["a", "b", "", "+", "+", "#", "$SYS", "é", "abcdefghij"])
            let violation = TopicInspection.violation(filter: filter, name: name)
            #expect(violation == nil, "\(random)")
            if TopicInspection.matches(filter: filter, name: name) { matches += 1 }
        }
        #expect(matches > 200, "the test has lost its meaning; \(random)")
    }

    @Test func `The grammar agrees with the reference on random bytes`() {
        var random = SeededRandom()
        let pieces: [[UInt8]] = [
            [0x2F], [0x2B], [0x23], [0x24], [0x61], [0x00], [0x1F], [0x7F], [0xC2], [0xC2, 0x80],
            [0xC2, 0xA0], [0xC0, 0xAF], [0xED, 0xA0, 0x80], [0xE2, 0x82, 0xAC], [0xF4, 0x90],
            [0xF0, 0x9F, 0x98, 0x80], Array("$share/".utf8),
        ]
        for _ in 0..<20_000 {
            let filter = (0..<random.int(in: 0...6)).flatMap { _ in random.pick(pieces) }
            let name = (0..<random.int(in: 0...6)).flatMap { _ in random.pick(pieces) }
            let violation = TopicInspection.violation(filter: filter, name: name)
            #expect(violation == nil, "\(random)")
        }
    }

    private func randomTopic(_ random: inout SeededRandom, levels: [String]) -> [UInt8] {
        let count = random.int(in: 1...5)
        return Array((0..<count).map { _ in random.pick(levels) }.joined(separator: "/").utf8)
    }
}
