import Foundation

/// Certificates and keys for tests, made by the `openssl` program in a directory of their own.
public final class CertificateMaker: Sendable {
    public static let isAvailable = FileManager.default.isExecutableFile(atPath: program)
    private static let program = "/usr/bin/openssl"

    private let directory: TemporaryDirectory

    public init() throws {
        directory = try TemporaryDirectory()
    }

    /// A certificate and its private key, as files.
    public struct Files: Sendable {
        public let certificate: String
        public let key: String
    }

    public func path(of name: String) -> String { directory.path(of: name) }

    /// An authority with a certificate that it has signed itself.
    public func authority(_ name: String) throws -> Files {
        let files = self.files(name)
        try run(
            ["req", "-x509"] + Self.newKey + [
                "-keyout", files.key, "-out", files.certificate, "-days", "2",
                "-subj", "/CN=\(name)", "-addext", "basicConstraints=critical,CA:TRUE",
            ])
        return files
    }

    /// A certificate of an authority.
    ///
    /// - Parameters:
    ///   - names: as `subjectAltName` has them: `DNS:edge`, `IP:10.0.0.7`.
    ///   - days: how long it is valid from now on; negative: until when it was.
    public func certificate(
        _ name: String, names: [String], by authority: Files, days: Int = 2
    ) throws -> Files {
        let files = self.files(name)
        let request = path(of: name + ".csr")
        let extensions = path(of: name + ".ext")
        try "subjectAltName=\(names.joined(separator: ","))\n"
            .write(toFile: extensions, atomically: true, encoding: .utf8)
        try run(
            ["req"] + Self.newKey + ["-keyout", files.key, "-out", request, "-subj", "/CN=\(name)"])
        try run([
            "x509", "-req", "-in", request, "-CA", authority.certificate,
            "-CAkey", authority.key, "-CAcreateserial", "-days", "\(days)",
            "-extfile", extensions, "-out", files.certificate,
        ])
        return files
    }

    private static let newKey = [
        "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
    ]

    private func files(_ name: String) -> Files {
        Files(certificate: path(of: name + ".pem"), key: path(of: name + ".key"))
    }

    private func run(_ arguments: [String]) throws {
        let process = try ChildProcess([Self.program] + arguments)
        process.closeInput()
        guard process.wait() == 0 else {
            throw BrokerUnderTest.Failure(
                description: "openssl \(arguments): \(process.errorText)")
        }
    }
}
