import BrokerClient

/// One line for each message, for people:
/// `2026-07-01T05:54:21.123456Z alice(1000) pid 42 via root(0) pid 17  jobs/build: hello`
///
/// Who sent it stands before anything that the sender chose, and what the sender chose is
/// escaped, wherever the line goes: neither a topic nor a line break in a payload can pretend
/// to be another sender.
struct MessageText {
    var names: UserNames
    private var time = TimestampWriter()

    init(names: UserNames) {
        self.names = names
    }

    mutating func append(_ message: borrowing MessageFields, to buffer: inout [UInt8]) {
        let sender = message.sender
        time.append(sender.timeNanoseconds, .microseconds, to: &buffer)
        buffer.append(UInt8(ascii: " "))
        append(user: sender.uid, pid: sender.pid, sender.level, to: &buffer)
        if sender.isDelegated {
            buffer.append(" via ")
            append(user: sender.opener.uid, pid: sender.opener.pid, sender.level, to: &buffer)
        }
        if case .other(let owner) = sender.domain {
            buffer.append(" in a user namespace of ")
            if let owner {
                append(user: owner, sender.level, to: &buffer)
            } else {
                buffer.append("?")
            }
        }
        if !message.origin.isEmpty {
            buffer.append(" at ")
            Printable.append(message.origin, to: &buffer)
            if !message.user.isEmpty {
                buffer.append(" as ")
                Printable.append(message.user, to: &buffer)
            }
        }
        buffer.append("  ")
        Printable.append(message.topic, to: &buffer)
        buffer.append(": ")
        Printable.append(message.payload, to: &buffer)
        buffer.append(UInt8(ascii: "\n"))
    }

    private mutating func append(
        user uid: UInt32, pid: Int32, _ level: SenderRecord.Level, to buffer: inout [UInt8]
    ) {
        append(user: uid, level, to: &buffer)
        buffer.append(" pid ")
        // 0: a process outside of the broker's pid namespace.
        if pid == 0 { buffer.append("?") } else { buffer.append(decimal: pid) }
    }

    private mutating func append(
        user uid: UInt32, _ level: SenderRecord.Level, to buffer: inout [UInt8]
    ) {
        if uid == UserNames.unmappedID {
            buffer.append("unmapped")
        } else if level != .remote, let name = names.name(of: uid) {
            buffer.append(name)
        } else {
            buffer.append("?")
        }
        buffer.append("(")
        buffer.append(decimal: UInt64(uid))
        buffer.append(")")
    }
}
