import BrokerClient

/// Hands messages to the broker; with `--reconnect` at least once.
///
/// Without it the end of the session is the end. With it what was published is kept until the
/// broker has answered a ping behind it, and sent again in the next session if there was no answer.
struct Publisher {
    private let command: Publish
    private let topic: PreparedTopic
    private let diagnostics: Diagnostics
    private let refusals: RefusalNotes
    private let configuration: BrokerClient.Configuration
    private var client: BrokerClient?
    private var attachment: Attachment
    /// Only with `--reconnect`.
    private var unconfirmed = UnconfirmedMessages()

    /// - Parameter alarm: rings at the first refusal, and when the session has ended for good.
    init(
        _ command: Publish, _ diagnostics: Diagnostics, _ refusals: RefusalNotes, _ alarm: Alarm
    ) throws {
        self.command = command
        self.diagnostics = diagnostics
        self.refusals = refusals
        topic = try PreparedTopic(command.topic)
        attachment = Attachment(diagnostics)
        var configuration = command.connection.configuration(clientName: "broker pub")
        configuration.onRefusal = { refusal in
            refusals.add(refusal)
            alarm.ring()
        }
        // Otherwise the next message connects again, if there is one.
        if !command.reconnects {
            configuration.onStateChange = { state in
                if case .ended = state { alarm.ring() }
            }
        }
        self.configuration = configuration
    }

    /// Begins the first session.
    mutating func connect() async throws {
        do {
            try await begin()
        } catch let error as BrokerClientError {
            try await reconnect(after: error)
        }
    }

    mutating func publish(_ payload: Span<UInt8>) async throws {
        guard command.reconnects else {
            return try await session.publish(payload, to: topic)
        }
        unconfirmed.append(payload)
        do {
            try await session.publish(payload, to: topic)
        } catch {
            try await reconnect(after: error)
        }
        if unconfirmed.areMany { try await settle() }
    }

    mutating func publishAcknowledged(_ payload: Span<UInt8>) async throws -> Acknowledgement {
        while true {
            do {
                return try await session.publishAcknowledged(payload, to: topic)
            } catch {
                try await reconnect(after: error)
            }
        }
    }

    /// With `--reconnect`: waits until the broker has everything.
    mutating func settle() async throws {
        while !unconfirmed.isEmpty {
            do {
                try await check()
                // What was refused is said behind it.
                try refusals.check()
                unconfirmed.removeAll()
            } catch let error as BrokerClientError {
                try await reconnect(after: error)
            }
        }
    }

    /// Asks the broker for a sign of life. Refusals of everything sent come before the answer.
    func check() async throws(BrokerClientError) {
        _ = try await session.ping()
    }

    /// Waits until the broker has answered everything, and says goodbye.
    mutating func finish() async throws {
        if command.reconnects { try await settle() } else if !command.ack { try await check() }
        await client?.close()
    }

    private var session: BrokerClient {
        guard let client else { preconditionFailure("connected first") }
        return client
    }

    private mutating func begin() async throws {
        let client = try await BrokerClient.connect(configuration)
        self.client = client
        _ = attachment.begin(again: "what was not acknowledged is sent again")
        if command.verbose {
            diagnostics.note(client.session.sentence(path: command.connection.path))
        }
    }

    /// Waits for a broker and hands it everything that none has confirmed.
    private mutating func reconnect(after error: BrokerClientError) async throws {
        guard command.reconnects else { throw error }
        var error = error
        while true {
            try refusals.check()
            try await attachment.wait(after: error, command.connection.failure(error))
            do {
                try await begin()
                return try await unconfirmed.publish(on: session, to: topic)
            } catch let next as BrokerClientError {
                error = next
            }
        }
    }
}

/// Messages that no broker has confirmed yet, in order. Memory is bounded by what is let in before
/// they `areMany`, and one message.
struct UnconfirmedMessages {
    private static let bytesMany = 1_048_576
    private static let messagesMany = 4_096

    /// Of all of them, one behind the other.
    private var payloads: [UInt8] = []
    private var byteCounts: [Int] = []

    var isEmpty: Bool { byteCounts.isEmpty }

    /// Time to ask the broker whether it has them.
    var areMany: Bool {
        payloads.count >= Self.bytesMany || byteCounts.count >= Self.messagesMany
    }

    mutating func append(_ payload: Span<UInt8>) {
        payloads.append(payload)
        byteCounts.append(payload.count)
    }

    mutating func removeAll() {
        payloads.removeAll(keepingCapacity: true)
        byteCounts.removeAll(keepingCapacity: true)
    }

    func publish(on client: BrokerClient, to topic: PreparedTopic) async throws {
        try await client.publish(payloads.span, byteCounts: byteCounts.span, to: topic)
    }
}
