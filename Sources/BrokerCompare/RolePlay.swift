import LinuxIO
import SystemPackage

/// Plays one role in this process: `broker compare-actor`.
///
/// What it prints is read by the process that started it: `opener`, `writer` and other words
/// with the ids that this process reads of itself at that moment; `done` when everything was
/// sent; `cannot …` when this system does not allow the role; `failed …` when a step failed
/// that never should. Afterwards it waits for the end of its standard input, so that it can be
/// looked at while it lives.
package struct RolePlay {
    let order: ActorOrder
    static let payload = "hello"

    package init(_ order: ActorOrder) {
        self.order = order
    }

    /// Returns the exit status.
    package func run() -> Int32 {
        Actor.endWithParent()
        do throws(KernelError) {
            if let user = order.user { try become(user) }
            try play()
            try Actor.say("done")
            // Whoever leaves a child behind leaves standard input to it as well.
            if order.role != .leave {
                while Actor.awaitLine() {}
            }
            return 0
        } catch {
            let word = Self.isRefusal(error.errno) ? "cannot" : "failed"
            try? Actor.say("\(word) \(error)")
            return 1
        }
    }

    /// What a system says that has not, or does not allow, what was asked for.
    private static func isRefusal(_ errno: Errno) -> Bool {
        switch errno {
        case .notPermitted, .permissionDenied, .noFunction, .noSpace, .notSupported: true
        default: false
        }
    }

    private func play() throws(KernelError) {
        switch order.role {
        case .send: try send()
        case .sendWhenTold: try sendWhenTold()
        case .fork: try forkAndSend()
        case .exec: try execShell()
        case .leave: try leave()
        case .tear: try tear()
        case .interleave: try interleave()
        case .give: try give()
        case .take: try take()
        case .deputy: try runDeputy()
        case .reusePID: try reusePID()
        case .drop: try drop()
        case .setEffective: try setEffective()
        case .setUID: try beSetUIDProgram()
        case .thread: try sendFromThread()
        case .claimOwn: try claimOwn()
        case .claimRefused: try claimRefused()
        case .claimAnything: try claimAnything()
        case .mappedUser: try enterNamespace(.user(.ownID(as: 0)))
        case .unmappedUser: try enterNamespace(.user(nil))
        case .rangeUser: try enterRange(insideID: 33, claiming: nil)
        case .rangeClaim: try enterRange(insideID: 0, claiming: 7)
        case .pidNamespace: try enterNamespace(.pid)
        case .pidClaim: try claimPID()
        case .ringDrop: try ringDrop()
        case .ringShared: try ringShared()
        case .visit: try visit()
        }
    }

    // MARK: steps

    func become(_ id: UInt32) throws(KernelError) {
        try Actor.setGroupIDs(Actor.IDs(id))
        try Actor.setUserIDs(Actor.IDs(id))
    }

    func connect() throws(KernelError) -> OwnedDescriptor {
        try Actor.connect(order.socket, order.type)
    }

    /// Connects and says as whom.
    func open() throws(KernelError) -> OwnedDescriptor {
        let socket = try connect()
        try Actor.report("opener")
        return socket
    }

    /// Says who writes, and writes.
    func write(_ socket: borrowing OwnedDescriptor) throws(KernelError) {
        try Actor.report("writer")
        try Actor.send(socket, Array(Self.payload.utf8))
    }

    var other: UInt32 {
        order.other ?? CurrentProcess.userID
    }

    /// Reports in the place of a child that cannot know its ids out here.
    func reportWriter(pid: Int32, _ id: (user: UInt32, group: UInt32)) throws(KernelError) {
        try Actor.say("writer \(pid) \(id.user) \(id.group) \(id.user) \(id.group)")
    }

    static let channelNumber: Int32 = 3

    func channel() throws(KernelError) -> OwnedDescriptor {
        guard let channel = OwnedDescriptor(inherited: Self.channelNumber) else {
            throw KernelError(call: "descriptor 3", errno: .badFileDescriptor)
        }
        return channel
    }
}
