import CLinux
import Glibc
import SystemPackage

/// Receives packets in batches into memory that is set up once.
///
/// Each slot has room for one packet and for every control message that can come with one: so
/// a sender cannot push credentials out of the buffer by adding descriptors. All control
/// messages are read inside `receive`, and every descriptor among them is closed there.
/// `bytes(at:)` and `attestation(at:)` describe the latest `receive` only.
@safe
public struct PacketReceiver: ~Copyable, @unchecked Sendable {
    // Unchecked Sendable: the pointers are owned by this one value, which cannot be copied.

    public enum Outcome: Equatable, Sendable {
        /// This many packets (1 or more) are there.
        case packets(Int)
        /// Nothing is queued.
        case wouldBlock
        /// The peer closed, or shut down its writing side, and everything was read.
        case endOfStream
        case failed(KernelError)
    }

    public let slots: Int
    public let packetBytesMax: Int
    /// Whether the latest `receive` saw the end of the stream, also after packets.
    public private(set) var endOfStreamSeen = false
    /// Bytes of all packets of the latest `receive`.
    public private(set) var byteCount = 0

    private let controlBytesMax: Int
    private let region: UnsafeMutableRawBufferPointer
    private let control: UnsafeMutableRawPointer
    private let messages: UnsafeMutablePointer<clinux_mmsghdr>
    private let vectors: UnsafeMutablePointer<iovec>
    private var attestations: [PacketAttestation]
    private var packetCount = 0
    /// Bytes from one slot to the next.
    private let stride: Int
    /// Slots in which the kernel has left the length of the control messages.
    private var slotsUsed = 0

    private static let cacheLineBytes = 64
    /// Room for most small packets.
    private static let cacheLinesBetween = 5

    /// Room for credentials, time, process descriptor, the most descriptors, and one more.
    static let controlBytesNeeded =
        clinux_cmsg_space(MemoryLayout<clinux_ucred>.size)
        + clinux_cmsg_space(MemoryLayout<timespec>.size)
        + clinux_cmsg_space(MemoryLayout<Int32>.size)
        + clinux_cmsg_space(Int(CLINUX_SCM_MAX_FD) * MemoryLayout<Int32>.size)
        + clinux_cmsg_space(256)

    /// Memory for `slots` packets of up to `packetBytesMax` bytes. Pages that no packet has
    /// reached yet cost nothing.
    ///
    /// The corresponding C function is `mmap`.
    public init(slots: Int, packetBytesMax: Int) {
        self.init(
            slots: slots, packetBytesMax: packetBytesMax,
            controlBytesMax: PacketReceiver.controlBytesNeeded)
    }

    /// With a control buffer of a chosen size, to see the kernel truncate.
    package init(slots: Int, packetBytesMax: Int, controlBytesMax: Int) {
        precondition(slots > 0 && slots <= 1024, "1 to 1024 packets at a time")
        precondition(packetBytesMax > 0 && packetBytesMax <= 1 << 30, "1 byte to 1 GiB a packet")
        precondition(controlBytesMax >= 0 && controlBytesMax <= 1 << 16, "at most 64 KiB")
        self.slots = slots
        self.packetBytesMax = packetBytesMax
        self.controlBytesMax = controlBytesMax
        // Small packets that all began at the same place of a page would take each other's lines
        // of the processor's cache.
        stride = packetBytesMax + Self.cacheLinesBetween * Self.cacheLineBytes
        let bytes = slots * stride
        let start = unsafe mmap(
            nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let start = unsafe start, unsafe start != MAP_FAILED else {
            preconditionFailure("no address space for \(bytes) bytes of packets")
        }
        unsafe region = UnsafeMutableRawBufferPointer(start: start, count: bytes)
        unsafe control = .allocate(byteCount: max(1, slots * controlBytesMax), alignment: 16)
        unsafe messages = .allocate(capacity: slots)
        unsafe vectors = .allocate(capacity: slots)
        attestations = Array(repeating: PacketAttestation(), count: slots)
        for slot in 0..<slots {
            unsafe (vectors + slot).initialize(
                to: iovec(iov_base: start + slot * stride, iov_len: packetBytesMax))
            var message = unsafe clinux_mmsghdr()
            unsafe message.msg_hdr.msg_iov = vectors + slot
            unsafe message.msg_hdr.msg_iovlen = 1
            unsafe message.msg_hdr.msg_control = control + slot * controlBytesMax
            unsafe message.msg_hdr.msg_controllen = controlBytesMax
            unsafe (messages + slot).initialize(to: message)
        }
    }

    deinit {
        unsafe munmap(region.baseAddress, region.count)
        unsafe control.deallocate()
        unsafe messages.deallocate()
        unsafe vectors.deallocate()
    }

    /// Takes as many queued packets as there are slots, without waiting.
    ///
    /// ECONNRESET is not an end: a peer that closed with our packets unread makes the kernel
    /// report it before the packets the peer had sent. It is passed over once.
    ///
    /// - Parameter packetsMax: take at most this many, if that is fewer than there are slots.
    ///
    /// The corresponding C function is `recvmmsg` (`MSG_DONTWAIT | MSG_CMSG_CLOEXEC`).
    public mutating func receive(
        from fd: borrowing OwnedDescriptor, packetsMax: Int = .max
    ) -> Outcome {
        precondition(packetsMax > 0, "1 packet or more")
        packetCount = 0
        byteCount = 0
        endOfStreamSeen = false
        let count = min(packetsMax, slots)
        var result = receiveBatch(fd.rawValue, count: count)
        if case .failure(let error) = result, error.errno == .connectionReset {
            result = receiveBatch(fd.rawValue, count: count)
        }
        switch result {
        case .success(let filled):
            return readBatch(filled: Int(filled))
        case .failure(let error):
            return error.errno == .wouldBlock ? .wouldBlock : .failed(error)
        }
    }

    /// The bytes of one packet of the latest `receive`.
    @_lifetime(borrow self)
    public func bytes(at index: Int) -> Span<UInt8> {
        precondition(index >= 0 && index < packetCount, "no such packet")
        let length = unsafe Int(messages[index].msg_len)
        let start = index * stride
        let slice = unsafe UnsafeRawBufferPointer(rebasing: region[start..<start + length])
        let span = unsafe Span<UInt8>(_unsafeBytes: slice)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// What the kernel said of one packet of the latest `receive`.
    public func attestation(at index: Int) -> PacketAttestation {
        precondition(index >= 0 && index < packetCount, "no such packet")
        return attestations[index]
    }

    private mutating func receiveBatch(
        _ fd: Int32, count: Int
    ) -> Result<Int32, KernelError> {
        for slot in 0..<slotsUsed {
            unsafe messages[slot].msg_hdr.msg_controllen = controlBytesMax
        }
        slotsUsed = 0
        return kernelCall("recvmmsg") {
            unsafe clinux_recvmmsg(
                fd, messages, UInt32(count),
                Int32(MSG_DONTWAIT | MSG_CMSG_CLOEXEC))
        }
    }

    /// Reads the control messages of a batch. At the end of the stream recvmmsg fills up all
    /// slots with nothing: the first of those is the end.
    ///
    /// Where credentials are not recorded an empty packet looks the same, and counts as the end.
    /// Packets behind it count no more, but their descriptors are ours and have to be closed.
    private mutating func readBatch(filled: Int) -> Outcome {
        precondition(filled > 0 && filled <= slots, "recvmmsg filled \(filled) of \(slots)")
        slotsUsed = filled
        for slot in 0..<filled {
            endOfStreamSeen = endOfStreamSeen || isEndOfStream(slot)
            let attestation = unsafe PacketAttestation(reading: messages + slot)
            if endOfStreamSeen { continue }
            attestations[slot] = attestation
            unsafe byteCount += Int(messages[slot].msg_len)
            packetCount = slot + 1
        }
        return packetCount == 0 ? .endOfStream : .packets(packetCount)
    }

    /// An empty packet has at least its credentials, if recorded; the end has nothing at all.
    private func isEndOfStream(_ slot: Int) -> Bool {
        unsafe messages[slot].msg_len == 0 && messages[slot].msg_hdr.msg_controllen == 0
            && messages[slot].msg_hdr.msg_flags & Int32(MSG_CTRUNC) == 0
    }
}
