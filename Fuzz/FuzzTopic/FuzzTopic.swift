import TestSupport

/// A filter and a name with a NUL between them, judged by `Topic` and by the reference.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzTopic(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
    if let violation = TopicInspection.violation(in: bytes) {
        fatalError(violation)
    }
    return 0
}
