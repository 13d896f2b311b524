import CLinux
import Glibc

/// The ids the kernel shows for what it cannot name: unrecorded, or not mapped in our user
/// namespace (the default of /proc/sys/kernel/overflowuid, overflowgid).
private let overflowID: UInt32 = 65534

extension PacketAttestation {
    /// Reads all control messages of one received packet and closes every descriptor in them,
    /// also when some were lost.
    init(reading received: UnsafeMutablePointer<clinux_mmsghdr>) {
        self.init()
        let header = unsafe received.pointer(to: \.msg_hdr)
        guard let header = unsafe header else { preconditionFailure("a message has a header") }
        let flags = unsafe header.pointee.msg_flags
        controlTruncated = flags & Int32(MSG_CTRUNC) != 0
        dataTruncated = flags & Int32(MSG_TRUNC) != 0
        isEmpty = unsafe received.pointee.msg_len == 0
        if unsafe !readUsual(header) { unsafe readEach(header) }
        if case .recorded(let ids) = credentials, ids.pid == 0, !senderProcessDelivered,
            ids.uid == overflowID, ids.gid == overflowID
        {
            credentials = .unrecorded
        }
    }

    /// A time and credentials, each whole, in this order and nothing else.
    ///
    /// - Returns: false: it is anything but that, and nothing was read.
    @inline(__always)
    private mutating func readUsual(_ header: UnsafeMutablePointer<msghdr>) -> Bool {
        guard
            unsafe header.pointee.msg_controllen == MemoryLayout<clinux_usual_control>.size,
            let control = unsafe header.pointee.msg_control
        else { return false }
        let usual = unsafe control.loadUnaligned(as: clinux_usual_control.self)
        guard usual.time_length == Self.timeLength, usual.time_level == SOL_SOCKET,
            usual.time_type == CLINUX_SO_TIMESTAMPNS,
            usual.credentials_length == Self.credentialsLength,
            usual.credentials_level == SOL_SOCKET,
            usual.credentials_type == CLINUX_SCM_CREDENTIALS
        else { return false }
        receiveTimeNanoseconds = nanoseconds(usual.time)
        let ids = usual.credentials
        credentials = .recorded(PacketCredentials(pid: ids.pid, uid: ids.uid, gid: ids.gid))
        return true
    }

    /// `cmsg_len` counts header and data, without the padding.
    private static var timeLength: UInt64 {
        UInt64(MemoryLayout<cmsghdr>.size + MemoryLayout<timespec>.size)
    }
    private static var credentialsLength: UInt64 {
        UInt64(MemoryLayout<cmsghdr>.size + MemoryLayout<clinux_ucred>.size)
    }

    private mutating func readEach(_ header: UnsafeMutablePointer<msghdr>) {
        var next = unsafe clinux_cmsg_first(header)
        while let current = unsafe next {
            unsafe read(current)
            unsafe next = clinux_cmsg_next(header, current)
        }
    }

    private mutating func read(_ message: UnsafeMutablePointer<cmsghdr>) {
        guard unsafe message.pointee.cmsg_level == SOL_SOCKET else { return }
        let length = unsafe max(0, Int(message.pointee.cmsg_len) - clinux_cmsg_len(0))
        let data = unsafe UnsafeRawBufferPointer(start: clinux_cmsg_data(message), count: length)
        switch unsafe message.pointee.cmsg_type {
        case CLINUX_SCM_CREDENTIALS: unsafe readCredentials(data)
        case Int32(SCM_RIGHTS): unsafe closeAll(data)
        case CLINUX_SCM_PIDFD: unsafe readProcess(data)
        case CLINUX_SO_TIMESTAMPNS: unsafe readTime(data)
        default: break  // SCM_SECURITY and what later kernels add
        }
    }

    private mutating func readCredentials(_ data: UnsafeRawBufferPointer) {
        guard credentials == .missing, data.count == MemoryLayout<clinux_ucred>.size else {
            credentials = .malformed
            return
        }
        let ids = unsafe data.loadUnaligned(as: clinux_ucred.self)
        credentials = .recorded(PacketCredentials(pid: ids.pid, uid: ids.uid, gid: ids.gid))
    }

    private mutating func closeAll(_ data: UnsafeRawBufferPointer) {
        let size = MemoryLayout<Int32>.size
        for index in 0..<data.count / size {
            let number = unsafe data.loadUnaligned(fromByteOffset: index * size, as: Int32.self)
            guard number >= 0 else { continue }
            closeDescriptor(number)
            descriptorsClosed += 1
        }
    }

    /// With no descriptor number left the kernel writes a negative error instead.
    private mutating func readProcess(_ data: UnsafeRawBufferPointer) {
        guard data.count == MemoryLayout<Int32>.size else { return }
        let number = unsafe data.loadUnaligned(as: Int32.self)
        guard number >= 0 else { return }
        senderProcessDelivered = true
        if ProcessDescriptor.inodesAreUnique {
            senderProcessInode = fileIdentity(number)?.inode
        }
        closeDescriptor(number)
    }

    private mutating func readTime(_ data: UnsafeRawBufferPointer) {
        guard data.count == MemoryLayout<timespec>.size else { return }
        receiveTimeNanoseconds = unsafe nanoseconds(data.loadUnaligned(as: timespec.self))
    }
}
