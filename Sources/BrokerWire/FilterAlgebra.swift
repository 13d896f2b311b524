/// How topic filters relate to each other as sets of topic names. The intersection of two filters
/// is again a filter, or empty, which is what makes rules about filters decidable level by level.
extension Topic {
    /// The filter that matches exactly the topics that both match; nil: there are none.
    package static func intersection(_ first: [UInt8], _ second: [UInt8]) -> [UInt8]? {
        if hidesDollar(first) && second.first == dollar { return nil }
        if hidesDollar(second) && first.first == dollar { return nil }
        let left = levels(of: first)
        let right = levels(of: second)
        var common: [[UInt8]] = []
        var index = 0
        while true {
            let isLeftOpen = index < left.count && left[index] == [multiLevelWildcard]
            let isRightOpen = index < right.count && right[index] == [multiLevelWildcard]
            if isLeftOpen { return join(common + right.dropFirst(index)) }
            if isRightOpen { return join(common + left.dropFirst(index)) }
            switch (index < left.count, index < right.count) {
            case (true, true):
                guard let level = commonLevel(left[index], right[index]) else { return nil }
                common.append(level)
            case (false, false): return join(common)
            // `a/#` also matches `a`; that was looked at above.
            case (true, false), (false, true): return nil
            }
            index += 1
            if let ended = endOfParent(left, right, common, index) { return ended }
        }
    }

    /// Whether every topic that `filter` matches is matched by `pattern` too.
    package static func covers(pattern: [UInt8], filter: [UInt8]) -> Bool {
        if hidesDollar(pattern) && filter.first == dollar { return false }
        let (outer, inner) = (pattern.span, filter.span)
        var (outerOffset, innerOffset) = (0, 0)
        while outerOffset <= outer.count {
            let outerEnd = levelEnd(in: outer, from: outerOffset)
            let level = outer.extracting(outerOffset..<outerEnd)
            if isLevel(level, multiLevelWildcard) { return true }
            guard innerOffset <= inner.count else { return false }
            let innerEnd = levelEnd(in: inner, from: innerOffset)
            let other = inner.extracting(innerOffset..<innerEnd)
            if isLevel(other, multiLevelWildcard) { return false }
            guard isLevel(level, singleLevelWildcard) || level.equals(other) else { return false }
            outerOffset = outerEnd + 1
            innerOffset = innerEnd + 1
        }
        return innerOffset > inner.count
    }

    private static func isLevel(_ level: Span<UInt8>, _ wildcard: UInt8) -> Bool {
        level.count == 1 && level[0] == wildcard
    }

    /// One side ends where the other has `#` left: only the parent itself is common.
    private static func endOfParent(
        _ left: [[UInt8]], _ right: [[UInt8]], _ common: [[UInt8]], _ index: Int
    ) -> [UInt8]?? {
        let rest = left.count > right.count ? left : right
        let end = min(left.count, right.count)
        guard index == end, rest.count == end + 1, rest[end] == [multiLevelWildcard] else {
            return nil
        }
        // `+` and `/#` have the empty topic in common, and there is no such topic.
        return .some(common == [[]] ? nil : join(common))
    }

    private static func commonLevel(_ first: [UInt8], _ second: [UInt8]) -> [UInt8]? {
        if first == [singleLevelWildcard] { return second }
        if second == [singleLevelWildcard] || first == second { return first }
        return nil
    }

    private static func hidesDollar(_ filter: [UInt8]) -> Bool {
        guard let first = filter.first else { return false }
        return first == singleLevelWildcard || first == multiLevelWildcard
    }

    private static func levels(of filter: [UInt8]) -> [[UInt8]] {
        filter.split(separator: separator, omittingEmptySubsequences: false).map { Array($0) }
    }

    private static func join(_ levels: some Sequence<[UInt8]>) -> [UInt8] {
        Array(levels.joined(separator: [separator]))
    }
}
