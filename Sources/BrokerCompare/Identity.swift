package import LinuxIO

/// Who: a process and its user and group, as numbers of our own namespaces.
package struct Identity: Equatable, Sendable, Encodable {
    package let pid: Int32
    package let uid: UInt32
    package let gid: UInt32

    package init(pid: Int32, uid: UInt32, gid: UInt32) {
        self.pid = pid
        self.uid = uid
        self.gid = gid
    }

    package init(_ credentials: PacketCredentials) {
        self.init(pid: credentials.pid, uid: credentials.uid, gid: credentials.gid)
    }

    /// What the kernel shows in place of credentials that nobody asked it to record.
    package static let unrecorded = Identity(pid: 0, uid: 65534, gid: 65534)

    package var text: String { "\(pid) \(uid) \(gid)" }
}

/// What a process said of itself: `WORD pid uid gid euid egid`, read by itself from `getpid`,
/// `getuid` and their like. This is the truth that the kernel's word is held against.
struct ActorReport: Equatable, Sendable {
    let word: String
    let real: Identity
    let effective: Identity

    /// Nil if the line is of another kind.
    init?(line: String) {
        let fields = line.split(separator: " ")
        guard fields.count == 6, let pid = Int32(fields[1]), let uid = UInt32(fields[2]),
            let gid = UInt32(fields[3]), let effectiveUID = UInt32(fields[4]),
            let effectiveGID = UInt32(fields[5])
        else { return nil }
        word = String(fields[0])
        real = Identity(pid: pid, uid: uid, gid: gid)
        effective = Identity(pid: pid, uid: effectiveUID, gid: effectiveGID)
    }
}
