import BrokerConfig
import LinuxIO

/// The links that a configuration file names.
enum LinkSource {
    private static let bytesMax = 1_048_576

    static func read(_ path: String, ownName: String) throws(CommandFailure) -> [LinkSettings] {
        let bytes: [UInt8]
        do throws(KernelError) {
            bytes = try readSmallFile(path, maxBytes: bytesMax)
        } catch {
            throw CommandFailure(.failure, "\(path): \(error)")
        }
        do throws(LinkFileError) {
            return try LinkFile.parse(
                String(decoding: bytes, as: UTF8.self), ownName: ownName)
        } catch {
            throw CommandFailure(.failure, "\(path): \(error)")
        }
    }
}
