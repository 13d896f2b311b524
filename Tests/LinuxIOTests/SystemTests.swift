import Foundation
import LinuxIO
import SystemPackage
import Testing

@Suite("The machine and this process")
struct SystemTests {
    @Test("an error says the call, the reason and the symbol")
    func errorText() {
        let error = KernelError(call: "bind", errno: .addressInUse)
        #expect("\(error)" == "bind: Address already in use (EADDRINUSE)")
        let unknown = KernelError(call: "bind", errno: Errno(rawValue: 9999))
        #expect("\(unknown)" == "bind: Unknown error 9999 (errno 9999)")
    }

    @Test("a descriptor is closed with its owner and never twice")
    func ownership() async {
        await #expect(processExitsWith: .success) {
            let number: Int32
            do {
                let event = try EventFD()
                number = event.descriptor.rawValue
                #expect(FileManager.default.fileExists(atPath: "/proc/self/fd/\(number)"))
            }
            #expect(!FileManager.default.fileExists(atPath: "/proc/self/fd/\(number)"))
        }
        await #expect(processExitsWith: .failure) {
            let event = try EventFD()
            _ = OwnedDescriptor(adopting: event.descriptor.rawValue)
            event.signal()
        }
    }

    @Test("a relinquished descriptor stays open, and descriptors are close-on-exec")
    func relinquish() throws {
        let pair = try Pair()
        let number = try pair.first.duplicate().relinquish()
        let again = OwnedDescriptor(adopting: number)
        #expect(send("still open", to: again) == .sent(1))
        let flags = try readSmallFile("/proc/self/fdinfo/\(number)", maxBytes: 4096)
        let octal = String(decoding: flags, as: UTF8.self).split(separator: "\n")
            .first { $0.hasPrefix("flags:") }?.split(separator: "\t").last
        #expect(octal.flatMap { Int($0, radix: 8) }.map { $0 & 0o2000000 != 0 } == true)
    }

    @Test("the probe finds what this machine shows elsewhere")
    func probe() throws {
        let release = try String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8)
        #expect(kernel.kernelRelease + "\n" == release)
        #expect(kernel.passCred)
        #expect(kernel.receiveTimestamp)
        #expect(
            kernel.uidMapIsIdentity == (kernel.uidMap.split(separator: " ").last == "4294967295\n"))
        #expect(try #require(kernel.sendBufferBytesMax) > 0)
        #expect(try #require(kernel.pidMax) > CurrentProcess.pid)
        #expect(kernel.descriptorLimit.soft <= kernel.descriptorLimit.hard)
        let version = kernel.kernelRelease.split { !$0.isNumber }.compactMap { Int($0) }
        let (major, minor) = (try #require(version.first), version[1])
        let modern = major > 6 || major == 6 && minor >= 16
        #expect(kernel.passRights == modern)
        #expect(!modern || kernel.passPidfd && kernel.peerPidfd && kernel.pidfdInode)
        #expect(!modern || kernel.pidfdGetInfo)
        let namespace = try FileManager.default.destinationOfSymbolicLink(
            atPath: "/proc/self/ns/pid")
        #expect(kernel.isInitialPIDNamespace == (namespace == "pid:[4026531836]"))
    }

    @Test("the descriptor limit is raised to the hard one")
    func descriptorLimit() async {
        await #expect(processExitsWith: .success) {
            #expect(CurrentProcess.setSoftDescriptorLimit(64))
            #expect(CurrentProcess.descriptorLimit.soft == 64)
            let raised = CurrentProcess.raiseDescriptorLimit()
            #expect(raised == CurrentProcess.descriptorLimit.hard)
            #expect(raised == CurrentProcess.descriptorLimit.soft)
        }
    }

    @Test("names of users and groups are found in both directions")
    func users() {
        #expect(Users.name(ofUser: 0) == "root")
        #expect(Users.id(ofUser: "root") == 0)
        #expect(Users.name(ofGroup: 0) == "root")
        #expect(Users.id(ofGroup: "root") == 0)
        #expect(Users.name(ofUser: 3_999_999_999) == nil)
        #expect(Users.name(ofGroup: 3_999_999_999) == nil)
        #expect(Users.id(ofUser: "no such user") == nil)
        #expect(Users.id(ofGroup: "") == nil)
    }

    @Test("a small file is read whole, cut at the limit, or not there")
    func smallFiles() throws {
        let scratch = try Scratch()
        try scratch.write("file")
        #expect(try readSmallFile(scratch.path("file"), maxBytes: 100) == packet("text"))
        #expect(try readSmallFile(scratch.path("file"), maxBytes: 4) == packet("text"))
        #expect(try readSmallFile(scratch.path("file"), maxBytes: 3) == packet("tex"))
        let error = #expect(throws: KernelError.self) {
            _ = try readSmallFile(scratch.path("nothing"), maxBytes: 3)
        }
        #expect(error == KernelError(call: "open", errno: .noSuchFileOrDirectory))
    }

    @Test("a socket is no terminal")
    func terminals() throws {
        #expect(!isTerminal(try Pair().first.rawValue))
    }

    @Test("connecting says why it failed")
    func connectErrors() throws {
        let scratch = try Scratch()
        func errno(_ path: String) -> Errno? {
            do throws(KernelError) {
                _ = try connectSeqpacket(path: path)
                return nil
            } catch {
                return error.errno
            }
        }
        #expect(errno(scratch.path("nothing")) == .noSuchFileOrDirectory)
        #expect(errno("") == .noSuchFileOrDirectory)
        #expect(errno("\0abstract") == .invalidArgument)
        try scratch.write("file")
        #expect(errno(scratch.path("file")) == .notSocket)
        let child = try Child(
            """
            c = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            c.bind('\(scratch.path("socket"))'); c.listen(4)
            d = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            d.bind('\(scratch.path("stream"))'); d.listen(4)
            say("listening"); sys.stdin.readline()
            """)
        #expect(try child.line() == "listening")
        #expect(errno(scratch.path("socket")) == nil)
        #expect(errno(scratch.path("stream")) == .protocolWrongTypeForSocket)
        try child.tell("x")
        try child.finish()
        #expect(errno(scratch.path("socket")) == .connectionRefused)
    }
}
