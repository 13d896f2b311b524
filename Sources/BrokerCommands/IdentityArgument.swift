import ArgumentParser
import BrokerConfig
import BrokerWire
import LinuxIO

/// Uids and gids on the command line: as in the access file, looked up once, here.
enum IdentityArgument {
    /// One user.
    static func uid(_ text: String) throws -> UInt32 {
        try single(text, uids(text))
    }

    /// One group.
    static func gid(_ text: String) throws -> UInt32 {
        try single(text, gids(text))
    }

    static func uids(_ text: String) throws -> IDRange {
        try IdentityKind.user.range(text) { Users.id(ofUser: $0) }
    }

    static func gids(_ text: String) throws -> IDRange {
        try IdentityKind.group.range(text) { Users.id(ofGroup: $0) }
    }

    private static func single(_ text: String, _ range: IDRange) throws -> UInt32 {
        guard range.first == range.last else {
            throw ValidationError("a range is not accepted here: give one number or name")
        }
        return range.first
    }
}
