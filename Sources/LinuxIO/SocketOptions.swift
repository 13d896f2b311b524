import CLinux
import Glibc

/// The options of one socket that matter to a broker, on a borrowed descriptor.
public enum SocketOptions {
    /// What the kernel takes of the send buffer for its own bookkeeping of one packet.
    private static let packetOverheadBytes = 32

    /// Whether SO_PASSCRED is on, so that every packet carries its sender's credentials.
    ///
    /// To be asked of every accepted descriptor: one queued before the listener had the option
    /// (socket activation) does not have it.
    ///
    /// The corresponding C function is `getsockopt` with `SO_PASSCRED`.
    public static func recordsCredentials(_ fd: borrowing OwnedDescriptor) -> Bool {
        (try? get(fd.rawValue, SO_PASSCRED, "getsockopt SO_PASSCRED")) == 1
    }

    /// Turns SO_PASSCRED on. Packets queued before may stay unrecorded.
    ///
    /// The corresponding C function is `setsockopt` with `SO_PASSCRED`.
    public static func enableCredentialRecording(
        _ fd: borrowing OwnedDescriptor
    ) throws(KernelError) {
        try set(fd.rawValue, SO_PASSCRED, 1, "setsockopt SO_PASSCRED")
    }

    /// Asks for SCM_PIDFD with every packet, or no more. False where the kernel (< 6.5) has no
    /// such option. It costs about as much as the packet itself.
    ///
    /// The corresponding C function is `setsockopt` with `SO_PASSPIDFD`.
    @discardableResult
    public static func setPassPidfd(_ fd: borrowing OwnedDescriptor, _ on: Bool) -> Bool {
        isSet(fd.rawValue, CLINUX_SO_PASSPIDFD, on ? 1 : 0)
    }

    /// Lets the peer send descriptors (the kernel's default), or makes its attempts fail with
    /// EPERM. False where the kernel (< 6.16) has no such option.
    ///
    /// The corresponding C function is `setsockopt` with `SO_PASSRIGHTS`.
    @discardableResult
    public static func setPassRights(_ fd: borrowing OwnedDescriptor, _ on: Bool) -> Bool {
        isSet(fd.rawValue, CLINUX_SO_PASSRIGHTS, on ? 1 : 0)
    }

    /// Asks for SCM_TIMESTAMPNS with every packet.
    ///
    /// The corresponding C function is `setsockopt` with `SO_TIMESTAMPNS`.
    public static func enableReceiveTimestamps(
        _ fd: borrowing OwnedDescriptor
    ) throws(KernelError) {
        try set(fd.rawValue, CLINUX_SO_TIMESTAMPNS, 1, "setsockopt SO_TIMESTAMPNS")
    }

    /// Asks for a send buffer of `bytes`. The kernel doubles it and caps it at twice the sysctl
    /// net.core.wmem_max without an error: read back with `sendBufferBytes`.
    ///
    /// The buffer of an accepted connection is not the listener's: set it on each.
    ///
    /// The corresponding C function is `setsockopt` with `SO_SNDBUF`.
    public static func setSendBuffer(
        _ fd: borrowing OwnedDescriptor, bytes: Int
    ) throws(KernelError) {
        precondition(bytes > 0, "a buffer has a size")
        try set(fd.rawValue, SO_SNDBUF, Int32(clamping: bytes), "setsockopt SO_SNDBUF")
    }

    /// The send buffer as the kernel accounts it.
    ///
    /// The corresponding C function is `getsockopt` with `SO_SNDBUF`.
    public static func sendBufferBytes(_ fd: borrowing OwnedDescriptor) throws(KernelError) -> Int {
        Int(try get(fd.rawValue, SO_SNDBUF, "getsockopt SO_SNDBUF"))
    }

    /// The largest packet that can be sent on this socket; a larger one is EMSGSIZE.
    public static func maximumPacketBytes(
        _ fd: borrowing OwnedDescriptor
    ) throws(KernelError) -> Int {
        max(0, try sendBufferBytes(fd) - packetOverheadBytes)
    }

    static func get(_ fd: Int32, _ option: Int32, _ name: String) throws(KernelError) -> Int32 {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        try kernelTry(name) { unsafe getsockopt(fd, SOL_SOCKET, option, &value, &length) }
        return value
    }

    static func set(
        _ fd: Int32, _ option: Int32, _ value: Int32, _ name: String
    ) throws(KernelError) {
        var value = value
        try kernelTry(name) {
            unsafe setsockopt(
                fd, SOL_SOCKET, option, &value, socklen_t(MemoryLayout<Int32>.size))
        }
    }

    private static func isSet(_ fd: Int32, _ option: Int32, _ value: Int32) -> Bool {
        do {
            try set(fd, option, value, "setsockopt")
            return true
        } catch {
            return false
        }
    }
}
