/// Who sent a packet: the attestation of the packet and the opener of its connection, side by
/// side. Protocol/README.md, section 6.
public struct SenderRecord: Equatable, Sendable {
    /// How far an identity may be believed.
    public enum Level: UInt8, Sendable {
        /// Recorded by the kernel for a sender without the power to claim other ids.
        case kernel = 1
        /// The opener or sender can claim other ids: root, or root of a user namespace of its own.
        case claimable = 2
        /// Vouched for by another broker.
        case remote = 3
        case unknown = 4
    }

    /// The user namespace behind the opener.
    public enum Domain: Hashable, Sendable {
        case unknown
        /// The broker's own.
        case own
        /// Another one, and the uid that owns it, if the kernel tells.
        case other(ownerUID: UInt32?)
    }

    /// Who opened the connection: SO_PEERCRED, effective ids at connect().
    public struct Opener: Hashable, Sendable {
        public let pid: Int32
        public let uid: UInt32
        public let gid: UInt32
        /// Inode of its pidfd; 0 where the kernel has none.
        public let process: UInt64

        public init(pid: Int32, uid: UInt32, gid: UInt32, process: UInt64) {
            self.pid = pid
            self.uid = uid
            self.gid = gid
            self.process = process
        }
    }

    /// SCM_CREDENTIALS: the process that sent, and its real ids when it did.
    public let pid: Int32
    public let uid: UInt32
    public let gid: UInt32
    /// Inode of the sender's pidfd, unique until reboot; 0: not known.
    public let process: UInt64
    public let opener: Opener
    /// When the kernel queued the packet, nanoseconds since 1970.
    public let timeNanoseconds: UInt64
    public let level: Level
    /// Sender and opener are different processes or different uids.
    public let isDelegated: Bool
    public let domain: Domain

    public init(
        pid: Int32, uid: UInt32, gid: UInt32, process: UInt64, opener: Opener,
        timeNanoseconds: UInt64, level: Level, isDelegated: Bool, domain: Domain
    ) {
        self.pid = pid
        self.uid = uid
        self.gid = gid
        self.process = process
        self.opener = opener
        self.timeNanoseconds = timeNanoseconds
        self.level = level
        self.isDelegated = isDelegated
        self.domain = domain
    }
}

extension SenderRecord {
    /// (uid_t)-1 is never a uid or gid: the kernel uses it for "none".
    package static let noID = UInt32.max
    @inlinable
    package static var byteCount: Int { 56 }

    /// Reads the record at `offset`, which must have `byteCount` bytes behind it.
    package init(reading bytes: Span<UInt8>, at offset: Int) {
        precondition(offset >= 0 && offset + Self.byteCount <= bytes.count)
        let owner = bytes.loadUInt32(at: offset + 52)
        let domain: Domain =
            switch bytes[offset + 50] {
            case 1: .own
            case 2: .other(ownerUID: owner == Self.noID ? nil : owner)
            default: .unknown
            }
        self.init(
            pid: Int32(bitPattern: bytes.loadUInt32(at: offset)),
            uid: bytes.loadUInt32(at: offset + 4),
            gid: bytes.loadUInt32(at: offset + 8),
            process: bytes.loadUInt64(at: offset + 24),
            opener: Opener(
                pid: Int32(bitPattern: bytes.loadUInt32(at: offset + 12)),
                uid: bytes.loadUInt32(at: offset + 16),
                gid: bytes.loadUInt32(at: offset + 20),
                process: bytes.loadUInt64(at: offset + 32)),
            timeNanoseconds: bytes.loadUInt64(at: offset + 40),
            level: Level(rawValue: bytes[offset + 48]) ?? .unknown,
            isDelegated: bytes[offset + 49] & 1 == 1,
            domain: domain)
    }

    @_lifetime(output: copy output)
    package func write(to output: inout OutputSpan<UInt8>) {
        let words = words
        for index in words.indices { output.append(littleEndian: words[index]) }
    }

    /// The record as numbers, the first of its bytes in the lowest bits of the first.
    @inline(__always)
    var words: InlineArray<7, UInt64> {
        let (domainCode, owner): (UInt64, UInt32) =
            switch domain {
            case .unknown: (0, Self.noID)
            case .own: (1, Self.noID)
            case .other(let ownerUID): (2, ownerUID ?? Self.noID)
            }
        let flags = UInt64(level.rawValue) | (isDelegated ? 1 << 8 : 0) | domainCode << 16
        return [
            UInt64(UInt32(bitPattern: pid)) | UInt64(uid) << 32,
            UInt64(gid) | UInt64(UInt32(bitPattern: opener.pid)) << 32,
            UInt64(opener.uid) | UInt64(opener.gid) << 32,
            process, opener.process, timeNanoseconds,
            flags | UInt64(owner) << 32,
        ]
    }
}
