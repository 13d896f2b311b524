import BrokerCore
import LinuxIO

/// The file with the links of a broker: where it is, and who may own it. It says where messages
/// go and who is believed, so it is trusted as the access file is.
package struct LinkFileSource: Sendable {
    package let path: String
    /// The broker's own uid, which may own the file besides root.
    package let brokerUID: UInt32
    /// The broker's own name, which no link may have.
    package let ownName: String

    package init(path: String, brokerUID: UInt32, ownName: String) {
        // What fails here fails again, with its reason, when the file is read.
        self.path = (try? TrustedFile.absolute(path)) ?? path
        self.brokerUID = brokerUID
        self.ownName = ownName
    }

    /// A file that was read and understood.
    package struct Loaded: Sendable {
        package let links: [LinkSettings]
        /// As it is written.
        package let text: [UInt8]
    }

    package func load() throws(AccessFileSource.Failure) -> Loaded {
        let text = try read()
        return Loaded(links: try parse(text), text: text)
    }

    /// The bytes as they are, of a file that only its owners can have written.
    package func read() throws(AccessFileSource.Failure) -> [UInt8] {
        do throws(TrustedFileError) {
            let file = try TrustedFile(path: path, trustedUIDs: [brokerUID])
            return try file.read(bytesMax: LinkFile.bytesMax)
        } catch {
            throw .unreadable(error)
        }
    }

    package func parse(_ bytes: [UInt8]) throws(AccessFileSource.Failure) -> [LinkSettings] {
        do throws(ConfigurationError) {
            return try LinkFile.parse(bytes, ownName: ownName)
        } catch {
            throw .invalid(path: path, error)
        }
    }
}
