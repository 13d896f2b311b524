import TestSupport

/// Any bytes at all as a script of what clients, kernel and clock do to the core.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzBroker(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
    if let violation = BrokerScript.violation(of: bytes) { fatalError(violation) }
    return 0
}
