internal import BasicContainers
internal import BrokerWire
internal import DequeModule
internal import LinuxIO
internal import SystemPackage

/// The connected socket, shared by the client's thread, which reads, and everybody who sends.
final class Socket: Sendable {
    let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }
}

/// Frames on their way to the kernel, in the order of their tokens. All sending happens under
/// the lock around this value, so packets leave in the order in which they were written.
///
/// A frame that comes while all is quiet is sent at once by whoever wrote it. Frames that come
/// in quick succession gather in `current` until it is full; whoever wrote the frame that no
/// longer fits sends them. The client's thread, woken once, looks after what is left: it sends
/// what has waited for `gatherNanoseconds`, and goes on looking while a lot is written. When the
/// kernel takes no more, full packets queue up and only the client's thread sends, as room
/// appears.
///
/// Invariants: `queue` is empty unless `isBacklogged` or offline; while online and not
/// backlogged, `current` is empty unless the thread looks after it (`isWatched`).
struct Outbox: ~Copyable {
    enum Link {
        case offline
        case online(Socket)
        case ended(BrokerClientError)

        var isOpen: Bool {
            if case .ended = self { false } else { true }
        }
    }

    /// Why the kernel takes nothing any more.
    enum Breakage: Equatable {
        case peerGone
        case failed(KernelError)
    }

    /// How soon a frame is to leave.
    enum Urgency {
        /// With others, if others come.
        case gathers
        /// Somebody waits for the answer: as soon as the thread is awake.
        case hurries
        /// Now, by the caller.
        case immediate
    }

    /// A frame that comes this soon after a packet that the broker has not read yet is taken for
    /// one of many.
    private static let quietNanoseconds: UInt64 = 3_000
    /// How long frames wait for others at most.
    private static let gatherNanoseconds: UInt64 = 50_000
    /// While packets leave by themselves the thread looks less and less often, down to this: what
    /// is left at the end of a long burst waits as long.
    private static let lookNanosecondsMax: UInt64 = 400_000
    /// Fewer frames in that time are no load: the next one is sent at once again.
    private static let gatherFramesMin = 8
    /// Buffers kept for the next packets while all is calm.
    private static let calmSparesMax = 4

    private let pendingBytesMax: Int
    private(set) var link = Link.offline {
        didSet { isOpen = link.isOpen && !isClosing }
    }
    private(set) var isClosing = false {
        didSet { isOpen = link.isOpen && !isClosing }
    }
    /// Whether anything may be written.
    private var isOpen = true
    private(set) var breakage: Breakage?
    private(set) var isBacklogged = false
    /// The thread has been woken, or is awake from time to time, to send what gathers.
    private var isWatched = false
    /// It is to send at once.
    private var isHurried = false
    /// When it looks again.
    private var lookNanoseconds = Outbox.gatherNanoseconds
    /// The caller of `dispatch` is to be told to wake the thread.
    private var owesWake = false

    /// All buffers can hold the largest packet: memory that no packet has reached costs nothing,
    /// and what large messages need is there again for the next.
    private var current: PacketBuffer
    private var queue = UniqueDeque<PacketBuffer>()
    private var queuedBytes = 0
    private var spares = UniqueArray<PacketBuffer>()
    private var packetBytesMax = Limits.packetBytesMin
    private(set) var messageBytesMax = 0
    /// Packets of several frames are no larger.
    private var batchBytes = Limits.packetBytesMin
    private var lastSendNanoseconds: UInt64 = 0
    /// Publishes of all sessions, whose tokens are the lower half of their numbers. Counted apart
    /// from requests: the broker answers publishes of consecutive tokens together.
    private(set) var publishCount: UInt64 = 0
    private var nextRequestToken: UInt32 = 1

    /// Packets that are finished, and those of them that the kernel has (or that are lost).
    private var sealedCount: UInt64 = 0
    private var sentCount: UInt64 = 0
    private var roomWaiters: [OneShot<Void>] = []
    private var flushWaiters: [(packets: UInt64, waiter: OneShot<Void>)] = []
    private var closeWaiters: [OneShot<Void>] = []

    init(pendingBytesMax: Int) {
        self.pendingBytesMax = pendingBytesMax
        current = PacketBuffer(capacityBytes: packetBytesMax)
    }

    var isOnline: Bool {
        if case .online = link { true } else { false }
    }

    private var pendingBytes: Int {
        queuedBytes + (current.isEmpty ? 0 : current.byteCount)
    }

    private var hasPending: Bool { !queue.isEmpty || !current.isEmpty }

    mutating func takePublishToken() -> UInt32 {
        publishCount &+= 1
        return UInt32(truncatingIfNeeded: publishCount)
    }

    mutating func takeRequestToken() -> UInt32 {
        defer { nextRequestToken &+= 1 }
        return nextRequestToken
    }

    /// Asked for each message. Mutating, as all that is: what is not would be given a copy of
    /// the outbox by what is.
    ///
    /// - Throws: why nothing may be written any more.
    @inline(__always)
    mutating func checkOpen() throws(BrokerClientError) {
        if !isOpen { try refuse() }
    }

    private mutating func refuse() throws(BrokerClientError) {
        if case .ended(let error) = link { throw error }
        if isClosing { throw .closed }
    }
}

// MARK: Writing

extension Outbox {
    /// Prepares `current` for one more publish.
    ///
    /// - Returns: nil, or what to wait for before another attempt.
    @inline(__always)
    mutating func roomForPublish(bodyBytes: Int) throws(BrokerClientError) -> OneShot<Void>? {
        try checkOpen()
        try checkSize(bodyBytes: bodyBytes)
        let frameBytes = PublishFrame.overheadBytes + bodyBytes
        if hasPending, pendingBytes + frameBytes > pendingBytesMax { return waitForRoom() }
        makeRoom(frameBytes)
        return nil
    }

    private mutating func waitForRoom() -> OneShot<Void> {
        let waiter = OneShot<Void>()
        roomWaiters.removeAll { $0.isAbandoned }
        roomWaiters.append(waiter)
        // Nobody will write until there is room.
        isHurried = true
        return waiter
    }

    /// - Throws: `.messageTooLarge`.
    @inline(__always)
    mutating func checkSize(bodyBytes: Int) throws(BrokerClientError) {
        if bodyBytes > messageBytesMax { throw tooLarge(bodyBytes: bodyBytes) }
    }

    private mutating func tooLarge(bodyBytes: Int) -> BrokerClientError {
        BrokerClientError(
            .messageTooLarge(limitBytes: messageBytesMax),
            "topic and payload have \(bodyBytes) bytes, at most \(messageBytesMax) can be "
                + "sent; \(Limits.advice(packetBytesMax: packetBytesMax))")
    }

    /// Prepares `current` for a frame that does not count against `pendingBytesMax`: a request,
    /// of which there are few.
    mutating func roomForRequest(frameBytes: Int) throws(BrokerClientError) {
        try checkOpen()
        guard frameBytes + PacketHeader.byteCount <= packetBytesMax else {
            throw BrokerClientError(
                .messageTooLarge(limitBytes: packetBytesMax),
                "the request has \(frameBytes) bytes, a packet at most \(packetBytesMax)")
        }
        makeRoom(frameBytes)
    }

    @inline(__always)
    mutating func appendPublish(
        token: UInt32, wantsAcknowledgement: Bool, topic: Span<UInt8>, payload: Span<UInt8>
    ) {
        current.appendPublish(
            token: token, wantsAcknowledgement: wantsAcknowledgement, topic: topic,
            payload: payload)
    }

    mutating func append(_ request: RequestFrame) {
        request.append(to: &current)
    }

    /// Answers a PING with the next drain. A broker that pings and never reads gets no answer.
    mutating func appendPong(nonce: UInt64) {
        guard isOnline, !isClosing, pendingBytes <= pendingBytesMax else { return }
        let pong = RequestFrame.pong(nonce: nonce)
        makeRoom(pong.byteCount)
        append(pong)
    }

    /// To be called after each append.
    ///
    /// - Returns: whether the caller must wake the client's thread.
    mutating func dispatch(_ urgency: Urgency) -> Bool {
        if urgency == .gathers, isWatched, !owesWake { return false }  // one of many
        if case .online(let socket) = link, !isBacklogged {
            if urgency == .immediate || (!isWatched && isQuiet(socket)) {
                sendCurrent(socket)
            } else {
                owesWake = owesWake || !isWatched || (urgency == .hurries && !isHurried)
                isWatched = true
                isHurried = isHurried || urgency == .hurries
            }
        }
        defer { owesWake = false }
        return owesWake
    }

    private func isQuiet(_ socket: Socket) -> Bool {
        Clock.monotonicNanoseconds() &- lastSendNanoseconds >= Self.quietNanoseconds
            || isEverythingRead(by: socket.descriptor)
    }

    @inline(__always)
    private mutating func makeRoom(_ frameBytes: Int) {
        if !current.isEmpty, current.byteCount + frameBytes > batchBytes { finishCurrent() }
    }

    private mutating func finishCurrent() {
        if case .online(let socket) = link, !isBacklogged {
            sendCurrent(socket)
        } else {
            queueCurrent()
        }
    }
}

// MARK: Sending

extension Outbox {
    /// What the client's thread is to do next.
    enum Drained {
        case everything
        /// Look again at that time (CLOCK_MONOTONIC): more may come to what waits.
        case gathering(untilNanoseconds: UInt64)
        /// Wait until the socket is writable.
        case blocked
        case broken(Breakage)
    }

    /// Waiters whose condition holds now. They are resolved outside of the lock.
    struct Ready {
        var waiters: [OneShot<Void>] = []

        func resolve(_ outcome: OneShot<Void>.Outcome = .success(())) {
            for waiter in waiters { waiter.resolve(outcome) }
        }
    }

    /// Hands everything to the kernel, as far as it takes it. Only the client's thread calls it.
    mutating func drain() -> Drained {
        guard case .online(let socket) = link else { return .everything }
        if let breakage { return .broken(breakage) }
        while !queue.isEmpty {
            guard accepted(sendPacket(to: socket.descriptor, queue[0].span)) else { break }
            var sent = queue.removeFirst()
            queuedBytes -= sent.byteCount
            sent.clear()
            recycle(sent)
        }
        isBacklogged = !queue.isEmpty
        let deadline = isBacklogged ? nil : sendGathered(socket)
        owesWake = false
        if let breakage { return .broken(breakage) }
        if isBacklogged { return .blocked }
        if let deadline { return .gathering(untilNanoseconds: deadline) }
        // One by one: there may be as many again soon.
        if spares.count > Self.calmSparesMax { spares.removeLast() }
        return .everything
    }

    /// Sends what has waited long enough, or what somebody waits for.
    ///
    /// - Returns: when to look again, if many frames come.
    private mutating func sendGathered(_ socket: Socket) -> UInt64? {
        if isWatched, !isHurried, !isClosing, roomWaiters.isEmpty {
            // What waits came after the latest packet, and so no earlier than that.
            let now = Clock.monotonicNanoseconds()
            if now < lastSendNanoseconds + Self.gatherNanoseconds {
                defer { lookNanoseconds = min(2 * lookNanoseconds, Self.lookNanosecondsMax) }
                return now + lookNanoseconds
            }
        }
        isHurried = false
        lookNanoseconds = Self.gatherNanoseconds
        isWatched = isWatched && current.frameCount >= Self.gatherFramesMin && !isClosing
        sendCurrent(socket)
        return isWatched ? lastSendNanoseconds + Self.gatherNanoseconds : nil
    }

    /// Half of the queue must be free before writers go on, so that they wake rarely.
    mutating func takeReady() -> Ready {
        var ready = Ready()
        if !roomWaiters.isEmpty, pendingBytes <= pendingBytesMax / 2 {
            swap(&ready.waiters, &roomWaiters)
        }
        if !flushWaiters.isEmpty {
            ready.waiters += flushWaiters.filter { $0.packets <= sentCount }.map(\.waiter)
            flushWaiters.removeAll { $0.packets <= sentCount }
        }
        return ready
    }

    /// Sends what can be sent now.
    ///
    /// - Returns: nil if the kernel has everything, or what to wait for.
    mutating func flush() throws(BrokerClientError) -> OneShot<Void>? {
        try checkOpen()
        if case .online(let socket) = link, !isBacklogged { sendCurrent(socket) }
        guard hasPending else { return nil }
        queueCurrent()
        let waiter = OneShot<Void>()
        flushWaiters.append((sealedCount, waiter))
        return waiter
    }

    private mutating func sendCurrent(_ socket: Socket) {
        if current.isEmpty { return }
        current.seal()
        guard accepted(sendPacket(to: socket.descriptor, current.span)) else {
            queueCurrent()
            isBacklogged = true
            owesWake = true
            return
        }
        sealedCount += 1
        current.clear()
    }

    /// - Returns: false if the packet has to wait, or never will be sent.
    private mutating func accepted(_ outcome: SendOutcome) -> Bool {
        switch outcome {
        case .sent:
            sentCount += 1
            lastSendNanoseconds = Clock.monotonicNanoseconds()
            return true
        case .wouldBlock:
            return false
        case .peerGone:
            breakage = .peerGone
        case .tooLarge:
            breakage = .failed(KernelError(call: "send", errno: .messageTooLong))
        case .failed(let error):
            breakage = .failed(error)
        }
        return false
    }

    private mutating func queueCurrent() {
        if current.isEmpty { return }
        current.seal()
        sealedCount += 1
        queuedBytes += current.byteCount
        var packet = spares.popLast() ?? PacketBuffer(capacityBytes: packetBytesMax)
        swap(&packet, &current)
        queue.append(packet)
    }

    /// As many as could be pending are kept under load: fresh memory costs more than filling it.
    private mutating func recycle(_ buffer: consuming PacketBuffer) {
        guard buffer.capacityBytes == packetBytesMax, spares.count * batchBytes < pendingBytesMax
        else { return }
        buffer.clear()
        spares.append(buffer)
    }
}

// MARK: Sessions

extension Outbox {
    /// A session has begun: the frames that take up subscriptions again go first, then what was
    /// written meanwhile. The client's thread drains next.
    mutating func begin(
        _ socket: Socket, _ limits: BrokerSession.Limits, requests: [RequestFrame]
    ) {
        let waiting = takeQueue()
        packetBytesMax = limits.packetBytesMax
        messageBytesMax = limits.messageBytesMax
        batchBytes = min(Limits.batchBytesTarget, limits.packetBytesMax)
        spares.removeAll()
        current = PacketBuffer(capacityBytes: packetBytesMax)
        for request in requests {
            if current.byteCount + request.byteCount > batchBytes { queueCurrent() }
            if current.freeBytes < request.byteCount {
                current = PacketBuffer(capacityBytes: request.byteCount + PacketHeader.byteCount)
            }
            request.append(to: &current)
        }
        queueCurrent()
        var rest = waiting
        while let packet = rest.popFirst() {
            queuedBytes += packet.byteCount
            queue.append(packet)
        }
        link = .online(socket)
        isBacklogged = !queue.isEmpty
        breakage = nil
        isWatched = false
        isHurried = false
    }

    /// The session has ended. What was not sent yet is dropped.
    ///
    /// - Parameter error: nil if another session may follow.
    /// - Returns: how many publishes were dropped, and who waits in vain.
    mutating func end(_ error: BrokerClientError?) -> (unsent: Int, flushes: Ready, others: Ready) {
        var dropped = takeQueue()
        var unsent = 0
        while let packet = dropped.popFirst() { unsent += Self.publishCount(packet.span) }
        link = error.map { .ended($0) } ?? .offline
        isBacklogged = false
        breakage = nil
        isWatched = false
        isHurried = false
        sentCount = sealedCount
        let flushes = Ready(waiters: flushWaiters.map(\.waiter))
        flushWaiters = []
        var others = Ready(waiters: roomWaiters)
        roomWaiters = []
        if error != nil {
            others.waiters += closeWaiters
            closeWaiters = []
        }
        return (unsent, flushes, others)
    }

    /// The last frame: nothing is written after it.
    ///
    /// - Parameter waiter: resolved when all is over.
    mutating func close(_ waiter: OneShot<Void>?) {
        if let waiter { closeWaiters.append(waiter) }
        if isClosing { return }
        isClosing = true
        if case .online = link {
            let farewell = RequestFrame.disconnect(.success, "")
            makeRoom(farewell.byteCount)
            append(farewell)
        }
    }

    private mutating func takeQueue() -> UniqueDeque<PacketBuffer> {
        queueCurrent()
        var taken = UniqueDeque<PacketBuffer>()
        swap(&taken, &queue)
        queuedBytes = 0
        return taken
    }

    private static func publishCount(_ packet: Span<UInt8>) -> Int {
        var count = 0
        do {
            var frames = try FrameCursor(packet: packet)
            while let header = try frames.next(in: packet) {
                if header.type == .publish { count += 1 }
            }
        } catch {
            preconditionFailure("we wrote this packet: \(error)")
        }
        return count
    }
}
