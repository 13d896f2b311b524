import BrokerCore
package import LinuxIO

/// The file with the links of a broker: where it is, and who may own it. It says where messages
/// go and who is believed, so it is trusted as the access file is.
package struct LinkFileSource: Sendable {
    private static let bytesMax = 1_048_576

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
        package let content: TrustedFile.Content
    }

    package func load() throws(AccessFileSource.Failure) -> Loaded {
        let content: TrustedFile.Content
        do throws(TrustedFileError) {
            let file = try TrustedFile(path: path, trustedUIDs: [brokerUID])
            content = try file.read(bytesMax: Self.bytesMax)
        } catch {
            throw .unreadable(error)
        }
        guard let text = String(validating: content.bytes, as: UTF8.self) else {
            throw .invalid(path: path, ConfigurationError("the file is not UTF-8"))
        }
        do throws(LinkFileError) {
            return Loaded(
                links: try LinkFile.parse(text, ownName: ownName), content: content)
        } catch {
            throw .invalid(path: path, ConfigurationError(error.description))
        }
    }
}
