import BrokerConfig
import BrokerCore
import Testing

@testable import BrokerCommands

@Suite("What acl learn makes of denials")
struct AccessLessonTests {
    private func denial(
        _ uid: UInt32, _ topic: String, _ action: Action = .publish, rule: String? = nil
    ) -> AccessLesson.Denial {
        AccessLesson.Denial(action: action.name, topic: topic, uid: uid, rule: rule)
    }

    @Test("Users who want the same share a rule, and so do their topics")
    func grouping() {
        let lesson = AccessLesson([
            denial(1, "a"), denial(2, "a"), denial(1, "b"), denial(2, "b"), denial(1, "a"),
            denial(3, "c", .subscribe),
        ])
        #expect(lesson.rules.map(\.uids) == [["1", "2"], ["3"]])
        #expect(lesson.rules.map(\.topics) == [["a", "b"], ["c"]])
        #expect(lesson.rules.map(\.allows) == [[.publish], [.subscribe]])
        #expect(lesson.unteachable.isEmpty)
    }

    @Test("Users who each want what has their own number in it share a rule with %u")
    func ownTopics() {
        let lesson = AccessLesson([
            denial(1, "home/1/a"), denial(2, "home/2/a"), denial(3, "home/3/b"),
            denial(1, "home/2/c"),
        ])
        #expect(lesson.rules.map(\.uids) == [["1"], ["1", "2"], ["3"]])
        #expect(lesson.rules.map(\.topics) == [["home/2/c"], ["home/%u/a"], ["home/3/b"]])
    }

    @Test("What was denied to senders of another broker is learned for that broker's")
    func origins() {
        var there = denial(1, "a")
        there.origin = "edge-1"
        let lesson = AccessLesson([denial(1, "a"), there])
        #expect(Set(lesson.rules.map(\.origins)) == [[], ["edge-1"]])
        #expect(lesson.rules.allSatisfy { $0.uids == ["1"] })
    }

    @Test("What a rule denies cannot be learned away, and percent signs stay themselves")
    func edges() {
        let lesson = AccessLesson([denial(1, "a", rule: "no"), denial(1, "100%u")])
        #expect(lesson.unteachable.count == 1)
        #expect(lesson.rules.map(\.topics) == [["100%%u"]])
    }
}
