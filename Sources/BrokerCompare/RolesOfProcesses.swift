import LinuxIO
import SystemPackage

/// Roles about which process writes: forks, programs, descriptors that change hands.
extension RolePlay {
    func send() throws(KernelError) {
        let socket = try open()
        try write(socket)
    }

    func sendWhenTold() throws(KernelError) {
        let socket = try open()
        try Actor.say("ready")
        Actor.awaitLine()
        try write(socket)
    }

    /// A child writes, on the connection that its parent opened.
    func forkAndSend() throws(KernelError) {
        let socket = try open()
        var child = Actor.Child()
        child.word = "writer"
        child.payload = Self.payload
        try Actor.fork(child, on: socket)
    }

    /// The same process goes on as another program, which finds the connection open.
    func execShell() throws(KernelError) {
        let socket = try open()
        let script = """
            echo "writer $$ $(id -ru) $(id -rg) $(id -u) $(id -g)"
            printf \(Self.payload) >&4
            echo done
            read line || :
            """
        try Actor.exec("/bin/sh", ["-c", script], with: socket, as: 4)
    }

    /// Leaves the connection to a child and exits.
    func leave() throws(KernelError) {
        let socket = try open()
        var child = Actor.Child()
        child.word = "writer"
        child.payload = Self.payload
        child.waitsForInput = true
        try Actor.forkAndLeave(child, on: socket)
    }

    /// Opens a connection and hands it to whoever is at the other end of the channel.
    func give() throws(KernelError) {
        let socket = try open()
        try Actor.give(socket, through: try channel())
    }

    /// Writes to a connection that another process opened.
    func take() throws(KernelError) {
        let socket = try Actor.take(through: try channel())
        try write(socket)
    }

    /// A program runs with somebody's connection as its standard error, and says there what
    /// its arguments made it say.
    func runDeputy() throws(KernelError) {
        let socket = try Actor.take(through: try channel())
        try Actor.report("writer")
        try Actor.say("done")
        try Actor.exec("/bin/ls", ["--", Deputy.argument], with: socket, as: 2)
    }

    /// One process connects and exits; another one gets its number and writes.
    func reusePID() throws(KernelError) {
        for _ in 0..<8 {
            let socket = try Actor.socket(order.type)
            var opener = Actor.Child()
            opener.connectPath = order.socket
            opener.word = "opener"
            opener.userID = order.user ?? Stage.firstUser
            opener.groupID = opener.userID
            let pid = try Actor.fork(opener, on: socket)
            var stranger = Actor.Child()
            stranger.takePID = pid
            stranger.word = "writer"
            stranger.payload = Self.payload
            stranger.userID = other
            stranger.groupID = other
            do {
                try Actor.fork(stranger, on: socket)
                return
            } catch {
                // Somebody else was given the number meanwhile: once more, with another one.
                guard error.errno == .fileExists else { throw error }
                try Actor.say("again")
            }
        }
        throw KernelError(call: "clone3", errno: .fileExists)
    }

    /// Half of a long message, then a child's, then the other half. A stream takes what fits.
    func tear() throws(KernelError) {
        let socket = try open()
        let whole = [UInt8](repeating: UInt8(ascii: "A"), count: TornFrame.bytes)
        let count = try Actor.send(socket, whole, waiting: false)
        try Actor.say("partial \(count)")
        Actor.awaitLine()
        var child = Actor.Child()
        child.word = "writer"
        child.payload = TornFrame.other
        child.userID = order.other
        child.groupID = order.other
        try Actor.fork(child, on: socket)
        try Actor.say("torn")
        Actor.awaitLine()
        try Actor.send(socket, Array(whole[count...]))
    }

    /// Two processes send many packets at the same time.
    func interleave() throws(KernelError) {
        let socket = try open()
        var child = Actor.Child()
        child.word = "writer"
        child.payload = String(repeating: "B", count: Interleaving.packetBytes)
        child.repeats = Interleaving.packets
        child.userID = order.other
        child.groupID = order.other
        try Actor.forkAndLeave(child, on: socket)
        let packet = [UInt8](repeating: UInt8(ascii: "A"), count: Interleaving.packetBytes)
        for _ in 0..<Interleaving.packets { try Actor.send(socket, packet) }
    }
}

/// What an attacker makes a program say.
enum Deputy {
    static let argument = "PUB topic=/admin action=reboot"
}

/// A message longer than any send buffer, and a short one that gets into it.
enum TornFrame {
    static let bytes = 600_000
    static let other = "BBBB"
}

enum Interleaving {
    static let packetBytes = 8_000
    static let packets = 200
}
