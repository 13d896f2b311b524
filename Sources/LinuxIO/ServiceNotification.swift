import CLinux

/// Tells a service manager something of this process: assignments, one in each line.
///
/// - Parameters:
///   - address: the path of its socket, or a name in the abstract namespace behind `@`.
///   - waitMilliseconds: how long to wait for room where it has much to read; 0: not at all.
/// - Throws: EAGAIN (`.wouldBlock`) without room, ECONNREFUSED and ENOENT without a manager,
///   ENAMETOOLONG.
///
/// The corresponding C function is `sd_notify`.
public func notifyService(
    at address: String, _ text: String, waitMilliseconds: Int32
) throws(KernelError) {
    precondition(waitMilliseconds >= 0, "0 does not wait")
    let bytes = Array(text.utf8)
    try kernelTry("sendto") {
        unsafe clinux_notify(address, bytes, bytes.count, waitMilliseconds)
    }
}
