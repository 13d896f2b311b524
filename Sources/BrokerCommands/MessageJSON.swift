import BrokerClient
import LinuxIO

/// One JSON object a line for each message, keys sorted. What one sender's messages have in
/// common is written once and copied from then on.
struct MessageJSON {
    var names: UserNames
    private let brokerName: [UInt8]
    private var sender: SenderRecord?
    private var origin: [UInt8] = []
    private var user: [UInt8] = []
    private var time = TimestampWriter()
    /// `,"level":…,"opener":{…},"origin":"…","payload":`
    private var openerPart: [UInt8] = []
    /// `,"sender":{…},"sequence":`
    private var senderPart: [UInt8] = []

    init(brokerName: String, names: UserNames) {
        self.brokerName = Array(brokerName.utf8)
        self.names = names
    }

    mutating func append(_ message: borrowing MessageFields, to buffer: inout [UInt8]) {
        prepare(message)
        let isText = message.payload.isUTF8
        buffer.append(message.sender.isDelegated ? "{\"delegated\":true" : "{\"delegated\":false")
        buffer.append(isText ? ",\"encoding\":\"utf8\"" : ",\"encoding\":\"base64\"")
        buffer.append(contentsOf: openerPart)
        if isText {
            buffer.append(jsonString: message.payload)
        } else {
            buffer.append(UInt8(ascii: "\""))
            buffer.append(base64: message.payload)
            buffer.append(UInt8(ascii: "\""))
        }
        buffer.append(contentsOf: senderPart)
        buffer.append(decimal: message.sequence)
        buffer.append(",\"time\":\"")
        time.append(message.sender.timeNanoseconds, .nanoseconds, to: &buffer)
        buffer.append("\",\"topic\":")
        if message.topic.isUTF8 {
            buffer.append(jsonString: message.topic)
        } else {
            buffer.append(jsonString: String(copyingRepaired: message.topic))
        }
        buffer.append("}\n")
    }

    private mutating func prepare(_ message: borrowing MessageFields) {
        let record = message.sender
        if let sender, sender.isSameIdentity(as: record), origin.span.isSame(as: message.origin),
            user.span.isSame(as: message.user)
        {
            return
        }
        sender = record
        origin.removeAll(keepingCapacity: true)
        origin.append(message.origin)
        user.removeAll(keepingCapacity: true)
        user.append(message.user)
        writeOpener(record)
        writeSender(record)
    }

    private mutating func writeOpener(_ record: SenderRecord) {
        openerPart.removeAll(keepingCapacity: true)
        openerPart.append(",\"level\":\"")
        openerPart.append(record.level.name)
        openerPart.append("\",\"opener\":{\"gid\":")
        openerPart.append(decimal: UInt64(record.opener.gid))
        openerPart.append(",\"pid\":")
        openerPart.append(decimal: record.opener.pid)
        appendTrustDomain(record)
        openerPart.append(",\"uid\":")
        openerPart.append(decimal: UInt64(record.opener.uid))
        openerPart.append(",\"user\":")
        openerPart.append(jsonStringOrNull: name(of: record.opener.uid, record))
        openerPart.append("},\"origin\":")
        let name = origin.isEmpty ? brokerName : origin
        openerPart.append(jsonString: String(copyingRepaired: name.span))
        openerPart.append(",\"payload\":")
    }

    /// The user namespace of the opener: `init`, or the uid that owns it. Absent where the
    /// broker could not find it out, and from other brokers.
    private mutating func appendTrustDomain(_ record: SenderRecord) {
        if record.level == .remote { return }
        switch record.domain {
        case .unknown:
            return
        case .own:
            // The broker's own; who is in another one than the first is in it together with us.
            let isInitial = CurrentProcess.isInInitialUserNamespace
            openerPart.append(",\"trustDomain\":\"\(isInitial ? "init" : "own")\"")
        case .other(.none):
            openerPart.append(",\"trustDomain\":\"other\"")
        case .other(.some(let owner)):
            openerPart.append(",\"trustDomain\":")
            openerPart.append(decimal: UInt64(owner))
        }
    }

    private mutating func writeSender(_ record: SenderRecord) {
        senderPart.removeAll(keepingCapacity: true)
        senderPart.append(",\"sender\":{\"gid\":")
        senderPart.append(decimal: UInt64(record.gid))
        if !user.isEmpty {
            senderPart.append(",\"mapped\":")
            senderPart.append(jsonString: String(copyingRepaired: user.span))
        }
        senderPart.append(",\"pid\":")
        senderPart.append(decimal: record.pid)
        senderPart.append(",\"process\":")
        if record.process == 0 {
            senderPart.append("null")
        } else {
            senderPart.append(decimal: record.process)
        }
        senderPart.append(",\"uid\":")
        senderPart.append(decimal: UInt64(record.uid))
        senderPart.append(",\"user\":")
        senderPart.append(jsonStringOrNull: name(of: record.uid, record))
        senderPart.append("},\"sequence\":")
    }

    /// A uid means something only where it was attested.
    private mutating func name(of uid: UInt32, _ record: SenderRecord) -> String? {
        record.level == .remote ? nil : names.name(of: uid)
    }
}

extension String {
    /// What is not UTF-8 becomes U+FFFD.
    init(copyingRepaired bytes: Span<UInt8>) {
        var copy: [UInt8] = []
        copy.append(bytes)
        self.init(decoding: copy, as: UTF8.self)
    }
}

extension Span where Element == UInt8 {
    func isSame(as other: Span<UInt8>) -> Bool {
        guard count == other.count else { return false }
        for index in 0..<count where self[index] != other[index] { return false }
        return true
    }
}
