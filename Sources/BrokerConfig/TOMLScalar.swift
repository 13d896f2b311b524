/// Numbers, dates, true and false of TOML.
enum TOMLScalar {
    /// The value of a word; nil if it is none. Of dates only the shape is looked at: no key
    /// takes one.
    static func value(of word: String) -> TOMLTree? {
        if word == "true" || word == "false" { return .boolean(word == "true") }
        let bytes = Array(word.utf8)
        if let number = integer(bytes) { return .integer(number) }
        if isDateOrTime(bytes) { return .other("a date or time") }
        return isFraction(bytes) ? .other("a fraction") : nil
    }

    private static func integer(_ word: [UInt8]) -> Int? {
        let radixes: [(letter: UInt8, radix: Int)] = [
            (UInt8(ascii: "x"), 16), (UInt8(ascii: "o"), 8), (UInt8(ascii: "b"), 2),
        ]
        if word.count > 2, word[0] == UInt8(ascii: "0"),
            let radix = radixes.first(where: { $0.letter == word[1] })?.radix
        {
            return number(word[2...], radix: radix)
        }
        guard isDecimal(unsigned(word)) else { return nil }
        let isNegative = word.first == UInt8(ascii: "-")
        return number(unsigned(word), radix: 10, isNegative: isNegative)
    }

    private static func unsigned(_ word: [UInt8]) -> ArraySlice<UInt8> {
        let isSigned = word.first == UInt8(ascii: "+") || word.first == UInt8(ascii: "-")
        return word.dropFirst(isSigned ? 1 : 0)
    }

    /// Underscores stand between digits only.
    private static func number(
        _ word: ArraySlice<UInt8>, radix: Int, isNegative: Bool = false
    ) -> Int? {
        var value = 0
        var isDigitBefore = false
        for byte in word {
            if byte == UInt8(ascii: "_") {
                guard isDigitBefore else { return nil }
                isDigitBefore = false
                continue
            }
            let scalar = Character(Unicode.Scalar(byte))
            guard scalar.isASCII, let digit = scalar.hexDigitValue, digit < radix else {
                return nil
            }
            let (scaled, hasOverflown) = value.multipliedReportingOverflow(by: radix)
            let (sum, hasOverflownAgain) =
                isNegative
                ? scaled.subtractingReportingOverflow(digit)
                : scaled.addingReportingOverflow(digit)
            guard !hasOverflown, !hasOverflownAgain else { return nil }
            value = sum
            isDigitBefore = true
        }
        return isDigitBefore ? value : nil
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }

    /// Digits with single underscores between them.
    private static func isDigits(_ word: ArraySlice<UInt8>) -> Bool {
        let parts = word.split(separator: UInt8(ascii: "_"), omittingEmptySubsequences: false)
        return parts.allSatisfy { !$0.isEmpty && $0.allSatisfy(isDigit) }
    }

    /// The same, with no zero in front of others.
    private static func isDecimal(_ word: ArraySlice<UInt8>) -> Bool {
        isDigits(word) && (word.count == 1 || word.first != UInt8(ascii: "0"))
    }

    private static func isFraction(_ word: [UInt8]) -> Bool {
        let plain = unsigned(word)
        if plain.elementsEqual("inf".utf8) || plain.elementsEqual("nan".utf8) { return true }
        let halves = plain.split(maxSplits: 1, omittingEmptySubsequences: false) {
            $0 == UInt8(ascii: "e") || $0 == UInt8(ascii: "E")
        }
        let parts = halves[0].split(
            separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count <= 2, parts.count + halves.count > 2, isDecimal(parts[0]),
            parts.dropFirst().allSatisfy(isDigits)
        else { return false }
        return halves.count == 1 || isDigits(unsigned(Array(halves[1])))
    }

    /// `1979-05-27`, `07:32:00.5`, or both with `T` or a blank between and a zone behind.
    private static func isDateOrTime(_ word: [UInt8]) -> Bool {
        let shape = word.map { isDigit($0) ? UInt8(ascii: "0") : $0 }
        let date = Array("0000-00-00".utf8)
        guard shape.starts(with: date) else { return isTime(shape[...]) }
        guard shape.count > date.count else { return true }
        let hasSeparator = "Tt ".utf8.contains(shape[date.count])
        var rest = shape.dropFirst(date.count + 1)
        if rest.last == UInt8(ascii: "Z") || rest.last == UInt8(ascii: "z") {
            rest = rest.dropLast()
        } else if rest.suffix(6).elementsEqual("+00:00".utf8)
            || rest.suffix(6).elementsEqual("-00:00".utf8)
        {
            rest = rest.dropLast(6)
        }
        return hasSeparator && isTime(rest)
    }

    private static func isTime(_ shape: ArraySlice<UInt8>) -> Bool {
        guard shape.starts(with: "00:00:00".utf8) else { return false }
        let rest = shape.dropFirst(8)
        guard let first = rest.first else { return true }
        return first == UInt8(ascii: ".") && rest.count > 1 && rest.dropFirst().allSatisfy(isDigit)
    }
}
