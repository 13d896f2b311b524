import LinuxIO
import SystemPackage

/// Roles played in namespaces of their own. Who is in one does not know what the outside calls
/// him, so the parent, who stays outside, says it: the pid from `clone3`, and the ids that the
/// map it wrote gives.
extension RolePlay {
    private var ownIDs: (user: UInt32, group: UInt32) {
        (CurrentProcess.userID, CurrentProcess.groupID)
    }

    /// Connects and writes from inside.
    func enterNamespace(_ namespaces: Actor.Child.Namespaces) throws(KernelError) {
        var child = Actor.Child()
        child.namespaces = namespaces
        child.connectPath = order.socket
        child.word = "inside"
        child.payload = Self.payload
        let pid = try Actor.fork(child, on: try Actor.socket(order.type))
        try reportWriter(pid: pid, ownIDs)
    }

    /// Ids from 0 inside are ids from here on outside, as in a container.
    static let rangeStart: UInt32 = 200_000

    func enterRange(insideID: UInt32, claiming claimed: UInt32?) throws(KernelError) {
        var child = Actor.Child()
        child.namespaces = .user(.range(from: Self.rangeStart))
        child.userID = insideID
        child.groupID = insideID
        child.connectPath = order.socket
        child.word = "inside"
        child.payload = Self.payload
        child.claimedID = claimed
        let pid = try Actor.fork(child, on: try Actor.socket(order.type))
        let id = Self.rangeStart + insideID
        try reportWriter(pid: pid, (id, id))
        if let claimed {
            let id = Self.rangeStart + claimed
            try Actor.say("claim \(pid) \(id) \(id) \(id) \(id)")
        }
    }

    /// Two processes in a user and pid namespace of their own: the second says "victim", and
    /// then the first claims to be the second.
    func claimPID() throws(KernelError) {
        var child = Actor.Child()
        child.namespaces = .userAndPID(.ownID(as: 0))
        child.connectPath = order.socket
        child.word = "inside"
        child.payload = Self.payload
        child.claimsSibling = true
        let pid = try Actor.fork(child, on: try Actor.socket(order.type))
        try reportWriter(pid: pid, ownIDs)
    }

    /// In a container: somebody else finds out who this is out there.
    func visit() throws(KernelError) {
        let socket = try connect()
        try Actor.report("inside")
        try Actor.send(socket, Array(Self.payload.utf8))
    }
}
