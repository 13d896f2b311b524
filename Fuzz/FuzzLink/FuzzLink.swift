import TestSupport

/// Any bytes at all as a script of what the other end of a link says.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzLink(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
    if let violation = LinkScript.violation(of: bytes) { fatalError(violation) }
    return 0
}
