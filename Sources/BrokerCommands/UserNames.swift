import LinuxIO

/// Names of uids, remembered for a while: looking one up may ask a server.
struct UserNames {
    private static let entriesMax = 4096
    private static let nanosecondsMax: UInt64 = 60 * 1_000_000_000

    private var names: [UInt32: String?] = [:]
    private var startedNanoseconds = Clock.monotonicNanoseconds()
    private let lookUp: @Sendable (UInt32) -> String?

    init(lookUp: @escaping @Sendable (UInt32) -> String? = { Users.name(ofUser: $0) }) {
        self.lookUp = lookUp
    }

    /// What the kernel shows for every uid that is not mapped into our user namespace. Systems
    /// call it "nobody", but it may be anybody.
    static let unmappedID: UInt32 = 65534

    /// Nil if there is no such user here.
    mutating func name(of uid: UInt32) -> String? {
        if uid == Self.unmappedID { return nil }
        if let known = names[uid] { return known }
        if names.count >= Self.entriesMax { names.removeAll() }
        let name = lookUp(uid)
        names[uid] = .some(name)
        return name
    }

    /// Users come and go: after a minute names are asked for again.
    mutating func forgetOld() {
        let now = Clock.monotonicNanoseconds()
        guard now - startedNanoseconds > Self.nanosecondsMax else { return }
        names.removeAll()
        startedNanoseconds = now
    }
}
