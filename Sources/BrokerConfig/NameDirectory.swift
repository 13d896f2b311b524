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
