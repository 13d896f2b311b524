package import Foundation

/// A directory of its own for one test, removed with everything in it when the last reference
/// goes. Its path is short, so that socket paths in it stay below the 108 bytes of `sun_path`.
package final class TemporaryDirectory: Sendable {
    package let path: String

    /// - Parameter mode: permission bits; tests that switch uid need more than the owner's.
    package init(mode: Int = 0o700) throws {
        let name = String(UInt64.random(in: .min ... .max), radix: 36)
        path = FileManager.default.temporaryDirectory.path + "/broker-" + name
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false)
        // Not among the attributes of the creation: the umask would take bits away.
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    /// The same for what asks for a URL.
    package var url: URL { URL(fileURLWithPath: path) }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    /// The path of a file or directory in it, which need not exist.
    package func path(of name: String) -> String {
        path + "/" + name
    }
}
