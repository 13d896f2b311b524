import BrokerSigning
import Foundation
import TestSupport
import Testing

/// Both ends of a TLS connection in memory, with certificates made by `openssl`.
@Suite(.enabled(if: CertificateMaker.isAvailable, "needs the program openssl"))
struct `TLS by certificates` {
    /// An authority, and what it has signed for the two ends.
    private struct Setting {
        let maker: CertificateMaker
        let authority: CertificateMaker.Files
        let hub: CertificateMaker.Files
        let edge: CertificateMaker.Files

        init() throws {
            maker = try CertificateMaker()
            authority = try maker.authority("links")
            hub = try maker.certificate("hub", names: ["DNS:hub", "IP:10.0.0.7"], by: authority)
            edge = try maker.certificate("edge", names: ["DNS:edge"], by: authority)
        }

        func context(
            _ files: CertificateMaker.Files, trusting other: CertificateMaker.Files? = nil
        ) throws -> TLSContext {
            try TLSContext(
                certificate: files.certificate, key: files.key,
                authority: (other ?? authority).certificate)
        }

        /// - Parameters: names that each side wants the other's certificate to be for.
        func pair(
            hub: TLSContext, edge: TLSContext, hubWants: String? = nil, edgeWants: String? = nil
        ) throws -> TLSPair {
            TLSPair(
                try TLSSession(
                    edge, isConnector: true,
                    proof: .certificate([.init(link: "hub", name: edgeWants)])),
                try TLSSession(
                    hub, isConnector: false,
                    proof: .certificate([.init(link: "edge", name: hubWants)])))
        }
    }

    private func expect(
        _ pair: TLSPair, listener: TLSFailure.Kind?, connector: TLSFailure.Kind?,
        _ words: String = "", location: SourceLocation = #_sourceLocation
    ) {
        var pair = pair
        pair.run()
        // A connector is through with its handshake before the listener has seen its certificate.
        _ = TLSPair.read(pair.connector)
        let failures = (TLSPair.failure(pair.listener), TLSPair.failure(pair.connector))
        #expect(failures.0?.kind == listener, sourceLocation: location)
        #expect(failures.1?.kind == connector, sourceLocation: location)
        let texts = [failures.0, failures.1].compactMap { $0?.description }
        #expect(
            words.isEmpty || texts.contains { $0.contains(words) }, "\(texts)",
            sourceLocation: location)
    }

    @Test func `Both sides agree and know each other's names`() throws {
        let setting = try Setting()
        for name in ["hub", "10.0.0.7"] {
            var pair = try setting.pair(
                hub: setting.context(setting.hub), edge: setting.context(setting.edge),
                hubWants: "edge", edgeWants: name)
            pair.run()
            #expect(pair.connector.state == .established && pair.listener.state == .established)
            #expect(pair.connector.links == ["hub"] && pair.listener.links == ["edge"])
            #expect(pair.listener.peerSubject == "CN=edge")
            #expect(pair.connector.cipher?.hasPrefix("TLS_") == true)
            #expect(pair.listener.identity == nil)
            let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0) }
            let isWhole = pair.transfer(bytes, .toConnector) == bytes
            #expect(isWhole)
        }
    }

    @Test func `A certificate opens the links that it is for`() throws {
        let setting = try Setting()
        let listener = try TLSSession(
            setting.context(setting.hub), isConnector: false,
            proof: .certificate([
                .init(link: "a", name: "edge"), .init(link: "b", name: "other"),
                .init(link: "c", name: nil),
            ]))
        let connector = try TLSSession(
            setting.context(setting.edge), isConnector: true,
            proof: .certificate([.init(link: "hub", name: nil)]))
        var pair = TLSPair(connector, listener)
        pair.run()
        #expect(listener.links == ["a", "c"])
    }

    @Test func `An expired certificate is refused on either side, with its date`() throws {
        let setting = try Setting()
        let old = try setting.maker.certificate(
            "old", names: ["DNS:old"], by: setting.authority, days: -1)
        let context = try setting.context(old)
        #expect(context.warning?.contains("expired") == true)
        #expect(try setting.context(setting.hub).warning == nil)
        expect(
            try setting.pair(hub: context, edge: setting.context(setting.edge)),
            listener: .alert(45), connector: .certificateExpired, "has expired on")
        expect(
            try setting.pair(hub: setting.context(setting.hub), edge: context),
            listener: .certificateExpired, connector: .alert(45), "it means our certificate")
    }

    @Test func `A certificate for another name is refused on either side`() throws {
        let setting = try Setting()
        let (hub, edge) = (try setting.context(setting.hub), try setting.context(setting.edge))
        expect(
            try setting.pair(hub: hub, edge: edge, edgeWants: "hub2"),
            listener: .alert(42), connector: .wrongName,
            "\"CN=hub\" of the peer is not for \"hub2\"")
        expect(
            try setting.pair(hub: hub, edge: edge, hubWants: "edge2"),
            listener: .wrongName, connector: .alert(42),
            "\"CN=edge\" of the peer is not for \"edge2\"")
        expect(
            try setting.pair(hub: hub, edge: edge, edgeWants: "10.0.0.8"),
            listener: .alert(42), connector: .wrongName)
    }

    @Test func `An authority that is not known is refused on either side`() throws {
        let setting = try Setting()
        let other = try setting.maker.authority("others")
        let hub = try setting.context(setting.hub)
        let edge = try setting.context(setting.edge)
        expect(
            try setting.pair(hub: hub, edge: setting.context(setting.edge, trusting: other)),
            listener: .alert(48), connector: .unknownAuthority, "of no authority that we trust")
        expect(
            try setting.pair(hub: setting.context(setting.hub, trusting: other), edge: edge),
            listener: .unknownAuthority, connector: .alert(48))
    }

    @Test func `The peer's own certificate serves as authority`() throws {
        let setting = try Setting()
        var pair = try setting.pair(
            hub: setting.context(setting.hub, trusting: setting.edge),
            edge: setting.context(setting.edge, trusting: setting.hub))
        pair.run()
        #expect(pair.connector.state == .established && pair.listener.state == .established)
        let another = try setting.maker.certificate(
            "another", names: ["DNS:edge"], by: setting.authority)
        expect(
            try setting.pair(
                hub: setting.context(setting.hub, trusting: setting.edge),
                edge: setting.context(another)),
            listener: .unknownAuthority, connector: .alert(48))
    }

    @Test func `Certificates on one side and a key on the other are no common form`() throws {
        let setting = try Setting()
        let byKey = try TLSSession(
            .presharedKey(), isConnector: true,
            proof: .presharedKey(offer: TLSPair.identity) { _ in try? TLSPair.key(1) })
        let byCertificate = try TLSSession(
            setting.context(setting.hub), isConnector: false,
            proof: .certificate([.init(link: "edge", name: nil)]))
        expect(
            TLSPair(byKey, byCertificate), listener: .alert(48), connector: .noSharedKey,
            "the peer shows a certificate")
        let connector = try TLSSession(
            setting.context(setting.edge), isConnector: true,
            proof: .certificate([.init(link: "hub", name: nil)]))
        expect(
            TLSPair(connector, try TLSPair.keyListener()), listener: .noSharedKey,
            connector: .alert(40), "the peer offers no pre-shared key")
    }

    @Test func `Files that cannot be used are named with the reason`() throws {
        let setting = try Setting()
        let (hub, edge) = (setting.hub, setting.edge)
        let empty = setting.maker.path(of: "empty.pem")
        try "".write(toFile: empty, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: empty)
        func reason(_ certificate: String, _ key: String, _ authority: String) -> String {
            do throws(SigningError) {
                _ = try TLSContext(certificate: certificate, key: key, authority: authority)
                return ""
            } catch {
                return error.description
            }
        }
        let authority = setting.authority.certificate
        #expect(reason(hub.certificate, hub.key, authority) == "")
        #expect(reason(empty, hub.key, authority).hasPrefix("\(empty): no certificate"))
        #expect(reason(empty, hub.key, authority).hasSuffix("can be read from it"))
        #expect(reason(hub.certificate, hub.key, empty).hasPrefix("\(empty): no certificate"))
        #expect(reason(hub.certificate, empty, authority).contains("no private key"))
        #expect(reason(hub.certificate, edge.key, authority).contains("no private key"))
        #expect(reason(hub.certificate, hub.key, "/no/ca.pem").contains("No such file"))
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: hub.key)
        #expect(reason(hub.certificate, hub.key, authority).contains("chmod 600 \(hub.key)"))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: hub.key)
        try FileManager.default.setAttributes([.posixPermissions: 0o664], ofItemAtPath: authority)
        #expect(reason(hub.certificate, hub.key, authority).contains("chmod go-w \(authority)"))
    }
}
