import LinuxIO

/// Where names are looked up when a file is loaded. Never afterwards: rules hold numbers.
package struct NameDirectory: Sendable {
    package var userID: @Sendable (String) -> UInt32?
    package var groupID: @Sendable (String) -> UInt32?
    /// All users that can be listed, in the order of their source.
    package var users: @Sendable () -> [(uid: UInt32, name: String)]

    package init(
        userID: @escaping @Sendable (String) -> UInt32?,
        groupID: @escaping @Sendable (String) -> UInt32?,
        users: @escaping @Sendable () -> [(uid: UInt32, name: String)]
    ) {
        self.userID = userID
        self.groupID = groupID
        self.users = users
    }

    /// The users and groups of this system.
    package static let system = NameDirectory(
        userID: { Users.id(ofUser: $0) }, groupID: { Users.id(ofGroup: $0) },
        users: { Users.all() })
}

/// Looks names up for one file, each once: rules repeat them.
struct NameLookup {
    private let names: NameDirectory
    private var users: [String: UInt32?] = [:]
    private var groups: [String: UInt32?] = [:]

    init(_ names: NameDirectory) {
        self.names = names
    }

    mutating func id(of name: String, _ kind: IdentityKind) -> UInt32? {
        switch kind {
        case .user: Self.id(of: name, in: &users, names.userID)
        case .group: Self.id(of: name, in: &groups, names.groupID)
        }
    }

    private static func id(
        of name: String, in known: inout [String: UInt32?], _ lookUp: (String) -> UInt32?
    ) -> UInt32? {
        if let id = known[name] { return id }
        let id = lookUp(name)
        known[name] = .some(id)
        return id
    }
}
