import CLinux
import Glibc
import SystemPackage

/// What became of packets handed to the kernel. A packet is accepted whole or not at all.
public enum SendOutcome: Equatable, Sendable {
    /// The first n packets (1 or more) were accepted; try the rest again.
    case sent(Int)
    /// The peer's queue is full: the send buffer is used up.
    case wouldBlock
    /// The peer has closed (EPIPE, ECONNRESET, ENOTCONN).
    case peerGone
    /// The first packet is larger than `SocketOptions.maximumPacketBytes`.
    case tooLarge
    case failed(KernelError)
}

/// Sends up to four packets with one call and without copying: the first `count` of the four.
///
/// The corresponding C function is `sendmmsg` (`MSG_DONTWAIT | MSG_NOSIGNAL`).
public func sendPackets(
    to fd: borrowing OwnedDescriptor, _ first: Span<UInt8>, _ second: Span<UInt8>,
    _ third: Span<UInt8>, _ fourth: Span<UInt8>, count: Int
) -> SendOutcome {
    precondition(count >= 1 && count <= 4, "1 to 4 packets")
    let number = fd.rawValue
    let result = unsafe first.withUnsafeBytes { first in
        unsafe second.withUnsafeBytes { second in
            unsafe third.withUnsafeBytes { third in
                unsafe fourth.withUnsafeBytes { fourth in
                    kernelCall("sendmmsg") {
                        unsafe clinux_sendmmsg4(
                            number, vector(first), vector(second), vector(third), vector(fourth),
                            UInt32(count), sendFlags)
                    }
                }
            }
        }
    }
    switch result {
    case .success(let accepted): return .sent(Int(accepted))
    case .failure(let error): return outcome(of: error)
    }
}

/// Sends one packet. No bytes make an empty packet, which the receiver sees as such.
///
/// The corresponding C function is `send` (`MSG_DONTWAIT | MSG_NOSIGNAL`).
public func sendPacket(to fd: borrowing OwnedDescriptor, _ bytes: Span<UInt8>) -> SendOutcome {
    let number = fd.rawValue
    let result = unsafe bytes.withUnsafeBytes { bytes in
        kernelCall("send") { unsafe send(number, bytes.baseAddress, bytes.count, sendFlags) }
    }
    switch result {
    case .success(let accepted):
        precondition(accepted == bytes.count, "a packet is sent whole")
        return .sent(1)
    case .failure(let error): return outcome(of: error)
    }
}

/// Whether the peer has read everything that was sent to it.
///
/// The corresponding C function is `ioctl` with `SIOCOUTQ`.
public func isEverythingRead(by fd: borrowing OwnedDescriptor) -> Bool {
    let number = fd.rawValue
    switch kernelCall("ioctl SIOCOUTQ", { clinux_unread_output(number) }) {
    case .success(let bytes): return bytes == 0
    case .failure: return false
    }
}

let sendFlags = Int32(MSG_DONTWAIT | MSG_NOSIGNAL)

/// A vector that the kernel only reads; C has no type for that.
private func vector(_ bytes: UnsafeRawBufferPointer) -> iovec {
    unsafe iovec(
        iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
}

private func outcome(of error: KernelError) -> SendOutcome {
    switch error.errno {
    case .wouldBlock: .wouldBlock
    case .brokenPipe, .connectionReset, .socketNotConnected: .peerGone
    case .messageTooLong: .tooLarge
    default: .failed(error)
    }
}
