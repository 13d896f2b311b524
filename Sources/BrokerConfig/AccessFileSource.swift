import BrokerCore
package import LinuxIO

/// The access file of a broker: where it is, and who may own it.
package struct AccessFileSource: Sendable {
    package let path: String
    /// The broker's own uid, which may own the file besides root.
    package let brokerUID: UInt32
    private let names: NameDirectory

    package init(path: String, brokerUID: UInt32, names: NameDirectory = .system) {
        // What fails here fails again, with its reason, when the file is read.
        self.path = (try? TrustedFile.absolute(path)) ?? path
        self.brokerUID = brokerUID
        self.names = names
    }

    /// A file that was read and understood.
    package struct Loaded: Sendable {
        package let file: AccessFile
        /// As it is written.
        package let text: [UInt8]
    }

    /// Why a file is not used.
    package enum Failure: Error, CustomStringConvertible, Sendable {
        case unreadable(TrustedFileError)
        case invalid(path: String, ConfigurationError)

        package var isMissing: Bool {
            switch self {
            case .unreadable(let error): error.isMissing
            case .invalid: false
            }
        }

        /// One line for each problem.
        package var description: String {
            switch self {
            case .unreadable(let error):
                error.description
            case .invalid(let path, let error):
                error.problems.report(path: path).joined(separator: "\n")
            }
        }
    }

    package func load() throws(Failure) -> Loaded {
        let text = try read()
        return Loaded(file: try parse(text), text: text)
    }

    /// The bytes as they are, of a file that only its owners can have written.
    package func read() throws(Failure) -> [UInt8] {
        do throws(TrustedFileError) {
            let file = try TrustedFile(path: path, trustedUIDs: [brokerUID])
            return try file.read(bytesMax: AccessFile.bytesMax)
        } catch {
            throw .unreadable(error)
        }
    }

    package func parse(_ bytes: [UInt8]) throws(Failure) -> AccessFile {
        do throws(ConfigurationError) {
            return try AccessFile(parsing: bytes, names: names)
        } catch {
            throw .invalid(path: path, error)
        }
    }

    /// Changes the file: reads it, lets `change` make another text of it, and puts that in its
    /// place if it loads. A file that does not exist yet is made. Edits by other processes wait.
    ///
    /// - Returns: the file as it is now.
    package func edit(
        _ change: (_ text: [UInt8]) throws(ConfigurationError) -> [UInt8]
    ) throws(Failure) -> AccessFile {
        let file: TrustedFile
        do throws(TrustedFileError) {
            file = try TrustedFile(path: path, trustedUIDs: [brokerUID])
        } catch {
            throw .unreadable(error)
        }
        var result: AccessFile?
        try file.edit(bytesMax: AccessFile.bytesMax, failure: Failure.unreadable) {
            (old) throws(Failure) in
            let new: [UInt8]
            do throws(ConfigurationError) {
                new = try change(old ?? [])
            } catch {
                throw .invalid(path: path, error)
            }
            result = try parse(new)
            return new
        }
        guard let result else { preconditionFailure("an edit makes a file or throws") }
        return result
    }
}
