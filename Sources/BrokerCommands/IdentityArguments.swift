import ArgumentParser
import BrokerWire
import LinuxIO

/// Uids and gids on the command line: a number, or a name that is looked up once, here.

/// 4294967295 is never anybody.
private func idNumber(_ text: some StringProtocol) -> UInt32? {
    guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let id = UInt32(text),
        id != UInt32.max
    else { return nil }
    return id
}

/// One user.
struct UserArgument: ExpressibleByArgument, Equatable, Sendable {
    let uid: UInt32

    init?(argument: String) {
        guard let uid = idNumber(argument) ?? Users.id(ofUser: argument) else { return nil }
        self.uid = uid
    }
}

/// One group.
struct GroupArgument: ExpressibleByArgument, Equatable, Sendable {
    let gid: UInt32

    init?(argument: String) {
        guard let gid = idNumber(argument) ?? Users.id(ofGroup: argument) else { return nil }
        self.gid = gid
    }
}

/// `1000`, `1000-1999` or a name. A name may hold a `-`, so numbers are tried first.
func idRange(_ argument: String, lookUp: (String) -> UInt32?) -> IDRange? {
    if let id = idNumber(argument) { return IDRange(first: id, last: id) }
    let parts = argument.split(separator: "-", omittingEmptySubsequences: false)
    if parts.count == 2, let first = idNumber(parts[0]), let last = idNumber(parts[1]) {
        return first <= last ? IDRange(first: first, last: last) : nil
    }
    guard let id = lookUp(argument) else { return nil }
    return IDRange(first: id, last: id)
}

/// The uids that senders must be in.
struct UserRangeArgument: ExpressibleByArgument, Equatable, Sendable {
    let range: IDRange

    init?(argument: String) {
        guard let range = idRange(argument, lookUp: Users.id(ofUser:)) else { return nil }
        self.range = range
    }
}

/// The gids that senders must be in.
struct GroupRangeArgument: ExpressibleByArgument, Equatable, Sendable {
    let range: IDRange

    init?(argument: String) {
        guard let range = idRange(argument, lookUp: Users.id(ofGroup:)) else { return nil }
        self.range = range
    }
}
