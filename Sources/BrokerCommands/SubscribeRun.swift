import BrokerClient
import UnixSignals

/// Prints messages until there were enough, time is up, a signal comes, nobody reads them any more
/// or the session ends.
struct SubscribeRun {
    private enum End {
        case enough
        case interrupted
        case timeUp
        /// The subscription finished, because its task was cancelled.
        case finished
    }

    /// Output is written in pieces of about this size when messages come faster.
    private static let outputBytesTarget = 65_536
    /// How long a reader of our output may hold up an end by a signal or by -W.
    private static let farewell = Duration.seconds(1)

    private let command: Subscribe
    private let diagnostics = Diagnostics(command: "sub")

    init(_ command: Subscribe) {
        self.command = command
    }

    func run() async throws {
        // Before anything is printed: whoever sees output may send the signal.
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        try judge(try await end(signals))
    }

    private var options: SubscriptionOptions {
        SubscriptionOptions(
            overflow: command.overflow.policy, senderUIDs: command.fromUIDs,
            senderGIDs: command.fromGIDs, queueBytesMax: command.queueBytes)
    }

    private func judge(_ end: End) throws(CommandFailure) {
        switch end {
        case .enough, .interrupted, .finished: return
        case .timeUp:
            guard let count = command.count else { return }
            throw CommandFailure(.failure, "fewer than \(count) messages came in the time of -W")
        }
    }

    /// Whatever ends first ends the others.
    private func end(_ signals: UnixSignalsSequence) async throws -> End {
        try await withThrowingTaskGroup(of: End.self) { group in
            group.addTask { try await printSessions() }
            group.addTask {
                for await _ in signals { return soon(.interrupted) }
                return .finished
            }
            group.addTask {
                await Output().waitUntilUnread()
                if Task.isCancelled { return .finished }
                throw OutputClosed()
            }
            if let wait = command.wait {
                group.addTask {
                    try await Task.sleep(for: wait.duration)
                    return soon(.timeUp)
                }
            }
            defer { group.cancelAll() }
            return try await group.next() ?? .finished
        }
    }

    /// A reader that has stopped reading keeps the printing task in its write: it cannot be
    /// cancelled, so the process ends without it.
    private func soon(_ end: End) -> End {
        Task.detached {
            try? await Task.sleep(for: Self.farewell)
            do throws(CommandFailure) {
                try judge(end)
            } catch {
                // It may be the same reader's.
                if diagnostics.hasRoom { diagnostics.note(error.message) }
                BrokerCommand.exit(error.status)
            }
            BrokerCommand.exit(.success)
        }
        return end
    }

    /// One session after the other with --reconnect, otherwise one.
    private func printSessions() async throws -> End {
        var printing = Printing(
            attachment: Attachment(diagnostics), left: command.count ?? .max)
        while true {
            do {
                return try await printSession(&printing)
            } catch let error as BrokerClientError {
                let failure = command.connection.failure(error)
                guard command.reconnects else { throw failure }
                try await printing.attachment.wait(after: error, failure)
                if Task.isCancelled { return .finished }
            }
        }
    }

    /// What goes on from one session to the next.
    private struct Printing {
        let output = Output()
        var attachment: Attachment
        /// Messages that -C still lets through.
        var left: Int
    }

    private func printSession(_ printing: inout Printing) async throws -> End {
        let client = try await BrokerClient.connect(
            command.connection.configuration(clientName: "broker sub"))
        if command.verbose {
            diagnostics.note(client.session.sentence(path: command.connection.path))
        }
        let subscription = try await client.subscribe(to: command.filters, options: options)
        if command.verbose {
            diagnostics.note("subscribed to \(command.filters.joined(separator: " "))")
        }
        var renderer = MessageRenderer(
            style: MessageRenderer.Style(command.format, template: command.template),
            brokerName: client.session.brokerName, toTerminal: printing.output.isTerminal)
        if printing.attachment.begin(again: "messages sent in between may have been missed") {
            renderer.appendReconnection()
            try flush(&renderer, printing.output)
        }
        let end = try await printMessages(of: subscription, &renderer, &printing)
        // A task of its own says goodbye even if this one was cancelled.
        await Task { await client.close() }.value
        return end
    }

    private func printMessages(
        of subscription: Subscription, _ renderer: inout MessageRenderer,
        _ printing: inout Printing
    ) async throws -> End {
        for try await batch in subscription.batches {
            var lost = batch.lost
            try batch.forEach { message throws in
                guard printing.left > 0 else { return }
                if message.lostBefore > 0 {
                    lost -= min(lost, message.lostBefore)
                    note(renderer.appendLoss(count: message.lostBefore))
                }
                renderer.append(MessageFields(message))
                printing.left -= 1
                if renderer.buffer.count >= Self.outputBytesTarget {
                    try flush(&renderer, printing.output)
                }
            }
            if lost > 0 && printing.left > 0 { note(renderer.appendLoss(count: lost)) }
            try flush(&renderer, printing.output)
            if printing.left == 0 { return .enough }
        }
        return .finished
    }

    private func flush(_ renderer: inout MessageRenderer, _ output: Output) throws {
        try output.write(renderer.buffer.span)
        renderer.removeAll()
    }

    private func note(_ text: String?) {
        if let text { diagnostics.note(text) }
    }
}

extension MessageFields {
    @_lifetime(copy view)
    init(_ view: borrowing MessageView) {
        self.init(
            topic: view.topic, payload: view.payload, sequence: view.sequence,
            sender: view.sender, origin: view.origin, user: view.user)
    }
}
