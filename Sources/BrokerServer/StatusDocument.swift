import BrokerCore
import BrokerWire
import FoundationEssentials
import LinuxIO

/// The JSON document that `broker status` shows. Protocol/README.md, section 9.
enum StatusDocument {
    /// - Parameters:
    ///   - linkFile: nil if the broker was started without one.
    ///   - links: by peer, for each link of the snapshot.
    static func encode(
        _ snapshot: BrokerSnapshot, turns: FairQueue, rules: RulesStatus,
        linkFile: LinkFileStatus? = nil, links: [String: LinkShellStatus] = [:]
    ) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            var document = Document(snapshot, turns: turns, rules: rules)
            document.linkFile = linkFile
            document.links = snapshot.links.compactMap { link in
                links[link.peer].map { LinkStatus(link, $0) }
            }
            return Array(try encoder.encode(document))
        } catch {
            // Strings and numbers always encode.
            preconditionFailure("status does not encode: \(error)")
        }
    }

    private struct Document: Encodable {
        let name: String
        let version: String
        let instance: String
        let uptimeSeconds: UInt64
        let counters: [String: UInt64]
        let sessions: [Session]
        let users: [User]
        let rules: RulesStatus
        var linkFile: LinkFileStatus?
        var links: [LinkStatus] = []

        init(_ snapshot: BrokerSnapshot, turns: FairQueue, rules: RulesStatus) {
            self.rules = rules
            name = snapshot.name
            version = snapshot.version
            instance = String(snapshot.instance, radix: 16)
            uptimeSeconds = snapshot.uptimeSeconds
            counters = Dictionary(
                snapshot.statistics.named.map { ($0.name, $0.value) },
                uniquingKeysWith: { first, _ in first })
            sessions = snapshot.sessions.map(Session.init)
            users = snapshot.users.map { account in
                User(
                    account, throttled: turns.throttledNanoseconds(of: account.uid),
                    snapshot.quotas.limits(of: account.uid))
            }
        }
    }

    private struct Session: Encodable {
        let session: UInt64
        let name: String
        let state: String
        let opener: Opener
        let connectedSeconds: UInt64
        let messagesPublished: UInt64
        let messagesDelivered: UInt64
        let publishesRefused: UInt64
        let heldBack: Bool
        let subscriptions: [Subscription]
        /// Who has sent here other than the opener, as far as remembered.
        let otherSenders: [OtherSender]
        let otherSendersForgotten: UInt64

        init(_ snapshot: BrokerSnapshot.Session) {
            session = snapshot.number
            name = snapshot.name
            state = snapshot.isHeld ? "held" : snapshot.isGreeting ? "greeting" : "active"
            opener = Opener(snapshot.opener)
            connectedSeconds = snapshot.connectedSeconds
            messagesPublished = snapshot.messagesPublished
            messagesDelivered = snapshot.messagesDelivered
            publishesRefused = snapshot.publishesRefused
            heldBack = snapshot.isPaused
            subscriptions = snapshot.subscriptions.map(Subscription.init)
            otherSenders = snapshot.othersSeen.entries.map(OtherSender.init)
            otherSendersForgotten = snapshot.othersSeen.forgotten
        }
    }

    private struct OtherSender: Encodable {
        let pid: Int32
        let uid: UInt32
        let gid: UInt32
        let process: UInt64?
        let level: String
        let packets: UInt64
        let messages: UInt64
        /// Since 1970.
        let lastSeconds: UInt64

        init(_ entry: SendersSeen.Entry) {
            pid = entry.pid
            uid = entry.uid
            gid = entry.gid
            process = entry.process == 0 ? nil : entry.process
            level = entry.level.statusText
            packets = entry.packets
            messages = entry.messages
            lastSeconds = entry.lastNanoseconds / 1_000_000_000
        }
    }

    private struct Opener: Encodable {
        let pid: Int32
        let uid: UInt32
        let gid: UInt32
        let groups: [UInt32]
        let process: UInt64?
        /// `own`, `other` or `unknown`.
        let domain: String
        let domainOwner: UInt32?
        /// `init`, `own` or the uid that owns the namespace; absent where it is not known.
        let trustDomain: TrustDomain?

        init(_ peer: Peer) {
            pid = peer.record.pid
            uid = peer.record.uid
            gid = peer.record.gid
            groups = peer.groups
            process = peer.record.process == 0 ? nil : peer.record.process
            switch peer.domain {
            case .own:
                domain = "own"
                domainOwner = nil
                trustDomain = .name(CurrentProcess.isInInitialUserNamespace ? "init" : "own")
            case .other(let ownerUID):
                domain = "other"
                domainOwner = ownerUID
                trustDomain = ownerUID.map { .owner($0) } ?? .name("other")
            case .unknown:
                domain = "unknown"
                domainOwner = nil
                trustDomain = nil
            }
        }
    }

    /// A name or a uid, as such in JSON.
    private enum TrustDomain: Encodable {
        case name(String)
        case owner(UInt32)

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch self {
            case .name(let name): try container.encode(name)
            case .owner(let uid): try container.encode(uid)
            }
        }
    }

    private struct Subscription: Encodable {
        let subscription: UInt32
        let filters: [String]
        let overflow: String
        let fromUIDs: [String]
        let fromGIDs: [String]
        let queuedBytes: Int
        let queueBytesMax: Int
        let messagesDelivered: UInt64
        let messagesLost: UInt64

        init(_ snapshot: BrokerSnapshot.Subscription) {
            subscription = snapshot.number
            filters = snapshot.filters.map { String(decoding: $0, as: UTF8.self) }
            overflow =
                switch snapshot.policy {
                case .disconnect: "disconnect"
                case .dropOldest: "drop-oldest"
                case .block: "block"
                }
            fromUIDs = snapshot.uidRanges.map(\.statusText)
            fromGIDs = snapshot.gidRanges.map(\.statusText)
            queuedBytes = snapshot.queuedBytes
            queueBytesMax = snapshot.queueBytesMax
            messagesDelivered = snapshot.messagesDelivered
            messagesLost = snapshot.messagesLost
        }
    }

    private struct User: Encodable {
        let uid: UInt32
        let connections: Int
        let greetings: Int
        let held: Int
        let subscriptions: Int
        let subscriptionBytes: Int
        let queuedBytes: Int
        let throttledMilliseconds: UInt64
        let limits: Limits

        init(_ account: UserAccount, throttled nanoseconds: UInt64, _ limits: QuotaLimits) {
            throttledMilliseconds = nanoseconds / 1_000_000
            self.limits = Limits(limits)
            uid = account.uid
            connections = account.connections
            greetings = account.greetings
            held = account.held
            subscriptions = account.subscriptions
            subscriptionBytes = account.subscriptionBytes
            queuedBytes = account.queuedBytes
        }
    }
}

extension SenderRecord.Level {
    fileprivate var statusText: String {
        switch self {
        case .kernel: "kernel"
        case .claimable: "claimable"
        case .remote: "remote"
        case .unknown: "unknown"
        }
    }
}

extension StatusDocument {
    /// What a user may hold and how fast it may publish; 0: as fast as it can.
    fileprivate struct Limits: Encodable {
        let connections: Int
        let greetings: Int
        let subscriptions: Int
        let subscriptionBytes: Int
        let queuedBytes: Int
        let connectionsPerSecond: Int
        let messagesPerSecond: Int
        let bytesPerSecond: Int

        init(_ limits: QuotaLimits) {
            connections = limits.connections
            greetings = limits.greetings
            subscriptions = limits.subscriptions
            subscriptionBytes = limits.subscriptionBytes
            queuedBytes = limits.queuedBytes
            connectionsPerSecond = limits.connectionsPerSecond
            messagesPerSecond = limits.messagesPerSecond
            bytesPerSecond = limits.bytesPerSecond
        }
    }
}

extension IDRange {
    fileprivate var statusText: String { first == last ? "\(first)" : "\(first)-\(last)" }
}
