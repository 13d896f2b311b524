import LinuxIO
import SystemPackage

/// Roles about which of a process's ids count, and which it may claim.
extension RolePlay {
    /// Connects with privilege, gives it up, writes.
    func drop() throws(KernelError) {
        let socket = try open()
        try become(other)
        try write(socket)
    }

    /// A daemon that has set its effective ids for a while and keeps its real ones.
    func setEffective() throws(KernelError) {
        let real = (user: CurrentProcess.userID, group: CurrentProcess.groupID)
        try Actor.setGroupIDs(.init(real: real.group, effective: other, saved: real.group))
        try Actor.setUserIDs(.init(real: real.user, effective: other, saved: real.user))
        try write(try open())
    }

    /// The ids that a program with the set-user-id bit has when a user runs it.
    func beSetUIDProgram() throws(KernelError) {
        let owner = (user: CurrentProcess.userID, group: CurrentProcess.groupID)
        try Actor.setGroupIDs(.init(real: other, effective: owner.group, saved: owner.group))
        try Actor.setUserIDs(.init(real: other, effective: owner.user, saved: owner.user))
        try write(try open())
    }

    func sendFromThread() throws(KernelError) {
        let socket = try open()
        try Actor.sendFromThread(
            socket, Self.payload, as: other, groupID: other, reporting: "writer")
    }

    // MARK: claims

    /// With privilege: claims the saved ids, which are neither the real nor the effective ones.
    func claimOwn() throws(KernelError) {
        let isPrivileged = order.other != nil
        if isPrivileged {
            let ids = Actor.IDs(real: Stage.firstUser, effective: Stage.firstUser, saved: other)
            try Actor.setGroupIDs(ids)
            try Actor.setUserIDs(ids)
        }
        let socket = try open()
        try Actor.report("writer")
        let gid = isPrivileged ? other : CurrentProcess.groupID
        let claim = PacketCredentials(pid: CurrentProcess.pid, uid: other, gid: gid)
        try claimAndSay(claim, on: socket)
    }

    /// Tries what nobody without privilege may claim, then writes as itself.
    func claimRefused() throws(KernelError) {
        let socket = try open()
        let (pid, uid, gid) = (
            CurrentProcess.pid, CurrentProcess.userID, CurrentProcess.groupID
        )
        try refuse("uid", PacketCredentials(pid: pid, uid: 0, gid: gid), on: socket)
        try refuse("gid", PacketCredentials(pid: pid, uid: uid, gid: 0), on: socket)
        try refuse("pid", PacketCredentials(pid: 1, uid: uid, gid: gid), on: socket)
        try write(socket)
    }

    private func refuse(
        _ what: String, _ claim: PacketCredentials, on socket: borrowing OwnedDescriptor
    ) throws(KernelError) {
        do {
            try Actor.send(socket, Array("lie".utf8), claiming: claim)
            try Actor.say("accepted \(what)")
        } catch {
            // EINVAL: in our user namespace there is no such id to be claimed.
            let isRefused = error.errno == .notPermitted || error.errno == .invalidArgument
            try Actor.say(isRefused ? "refused \(what)" : "accepted \(what): \(error)")
        }
    }

    /// With privilege: names another process and another user.
    func claimAnything() throws(KernelError) {
        let socket = try open()
        try Actor.report("writer")
        let claim = PacketCredentials(pid: 1, uid: other, gid: other)
        try claimAndSay(claim, on: socket)
    }

    private func claimAndSay(
        _ claim: PacketCredentials, on socket: borrowing OwnedDescriptor
    ) throws(KernelError) {
        try Actor.say("claim \(claim.pid) \(claim.uid) \(claim.gid) \(claim.uid) \(claim.gid)")
        try Actor.send(socket, Array(Self.payload.utf8), claiming: claim)
    }

    // MARK: io_uring

    /// Opens a ring with privilege, gives the privilege up, connects, and sends through the ring.
    func ringDrop() throws(KernelError) {
        let ring = try ActorRing()
        try Actor.report("ring")
        try become(other)
        let socket = try open()
        try Actor.report("writer")
        try ring.send(socket, Self.payload)
    }

    /// A child sends through the ring of its parent.
    func ringShared() throws(KernelError) {
        let ring = try ActorRing()
        try Actor.report("ring")
        let socket = try open()
        var child = Actor.Child()
        child.word = "writer"
        child.payload = Self.payload
        try ring.fork(child, on: socket)
    }
}
