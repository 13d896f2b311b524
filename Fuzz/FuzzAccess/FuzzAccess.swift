import TestSupport

/// Any bytes at all as an access file: read, judged by, and edited.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzAccess(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
    if let violation = AccessFileInspection.violation(of: bytes) { fatalError(violation) }
    return 0
}
