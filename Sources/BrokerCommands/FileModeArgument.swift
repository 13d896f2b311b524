import ArgumentParser

/// The permission bits of a file, in octal: `0660`, `666`.
struct FileModeArgument: ExpressibleByArgument, Equatable, Sendable {
    let mode: UInt32

    init?(argument: String) {
        guard argument.utf8.allSatisfy({ (0x30...0x37).contains($0) }),
            let mode = UInt32(argument, radix: 8), mode <= 0o777
        else { return nil }
        self.mode = mode
    }

    init(mode: UInt32) {
        self.mode = mode
    }

    var defaultValueDescription: String {
        "0" + String(mode, radix: 8)
    }
}
