import CLinux
import Glibc
import SystemPackage

/// Who opened a connection: recorded once, at `connect`, and never changed afterwards.
///
/// The ids are the EFFECTIVE ones, whereas packets carry the real ones; they may differ.
/// On a client's side of a connection this is who called `listen`.
public struct PeerCredentials: Equatable, Sendable {
    public let pid: Int32
    public let uid: UInt32
    public let gid: UInt32
    /// Supplementary groups, ascending and without doubles. `gid` need not be among them.
    public let groups: [UInt32]

    public init(pid: Int32, uid: UInt32, gid: UInt32, groups: [UInt32]) {
        self.pid = pid
        self.uid = uid
        self.gid = gid
        self.groups = groups
    }

    /// The corresponding C function is `getsockopt` with `SO_PEERCRED`, then `SO_PEERGROUPS`.
    public static func read(
        _ fd: borrowing OwnedDescriptor
    ) throws(KernelError) -> PeerCredentials {
        let number = fd.rawValue
        var ids = clinux_ucred()
        var length = socklen_t(MemoryLayout<clinux_ucred>.size)
        try kernelTry("getsockopt SO_PEERCRED") {
            unsafe getsockopt(number, SOL_SOCKET, SO_PEERCRED, &ids, &length)
        }
        precondition(length == MemoryLayout<clinux_ucred>.size, "SO_PEERCRED has a fixed size")
        let groups = try readGroups(number)
        return PeerCredentials(pid: ids.pid, uid: ids.uid, gid: ids.gid, groups: groups)
    }

    /// A buffer that is too short is ERANGE, with the length needed. The list cannot change,
    /// so the second call is the last.
    private static func readGroups(_ fd: Int32) throws(KernelError) -> [UInt32] {
        let size = MemoryLayout<UInt32>.size
        var groups = [UInt32](repeating: 0, count: 64)
        var length = socklen_t(groups.count * size)
        let first = groupsCall(fd, &groups, &length)
        if case .failure(let error) = first, error.errno == .outOfRange {
            groups = [UInt32](repeating: 0, count: (Int(length) + size - 1) / size)
            length = socklen_t(groups.count * size)
            _ = try groupsCall(fd, &groups, &length).get()
        } else {
            _ = try first.get()
        }
        return sortedUnique(groups.prefix(Int(length) / size))
    }

    private static func groupsCall(
        _ fd: Int32, _ groups: inout [UInt32], _ length: inout socklen_t
    ) -> Result<Int32, KernelError> {
        kernelCall("getsockopt SO_PEERGROUPS") {
            unsafe getsockopt(fd, SOL_SOCKET, CLINUX_SO_PEERGROUPS, &groups, &length)
        }
    }

    private static func sortedUnique(_ groups: ArraySlice<UInt32>) -> [UInt32] {
        var result: [UInt32] = []
        for group in groups.sorted() where group != result.last {
            result.append(group)
        }
        return result
    }
}
