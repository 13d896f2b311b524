import TestSupport

/// Any bytes at all as a packet, to either end: as they are, and with a right packet header in
/// front, so that mutations reach the frames.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzPacket(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
    let candidates = [bytes, PacketInspection.withRightHeader(bytes)]
    for candidate in candidates {
        if let violation = PacketInspection.violation(in: candidate) {
            fatalError(violation)
        }
    }
    return 0
}
