import BrokerSigning
import Foundation
import TestSupport
import Testing

/// RFC 4231 and RFC 5869, from Protocol/vectors/signing.json.
struct VectorTests {
    struct Vectors: Decodable {
        struct MAC: Decodable, CustomTestStringConvertible {
            let name, key, data, tag: String
            var testDescription: String { name }
        }
        struct Derivation: Decodable, CustomTestStringConvertible {
            let name, secret, salt, info, output: String
            var testDescription: String { name }
        }
        let hmac: [MAC]
        let hkdf: [Derivation]
    }

    static func load() throws -> Vectors {
        let file = ProjectFiles.root.appending(path: "Protocol/vectors/signing.json")
        return try JSONDecoder().decode(Vectors.self, from: Data(contentsOf: file))
    }

    @Test func `HMAC-SHA-256 gives the tags of RFC 4231`() throws {
        let vectors = try Self.load().hmac
        #expect(vectors.count == 7)
        for vector in vectors {
            let key = HexText.bytes(vector.key)
            let data = HexText.bytes(vector.data)
            let authenticator = try MessageAuthenticator(keyBytes: key.span)
            // The same context over and over: nothing is left of the message before.
            for _ in 0..<3 {
                let tag = HexText.text(authenticator.tag(of: data.span).bytes)
                #expect(tag.hasPrefix(vector.tag), "\(vector.name)")
                _ = authenticator.tag(of: (data + [1]).span)
            }
        }
    }

    @Test func `HKDF-SHA-256 gives the output of RFC 5869`() throws {
        let vectors = try Self.load().hkdf
        #expect(vectors.count == 3)
        for vector in vectors {
            let (secret, salt) = (HexText.bytes(vector.secret), HexText.bytes(vector.salt))
            let info = HexText.bytes(vector.info)
            let output = try HKDF.derive(
                secret: secret.span, salt: salt.span, info: info.span,
                count: vector.output.count / 2)
            #expect(HexText.text(output) == vector.output, "\(vector.name)")
        }
    }

    @Test func `a tag verifies for its bytes alone`() throws {
        let key = [UInt8](repeating: 7, count: 32)
        let authenticator = try MessageAuthenticator(keyBytes: key.span)
        let bytes = Array("an envelope".utf8)
        let tag = authenticator.tag(of: bytes.span)
        let isOwnAccepted = authenticator.verifies(tag, of: bytes.span)
        #expect(isOwnAccepted)
        for bit in 0..<(8 * bytes.count) {
            var altered = bytes
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            let isAccepted = authenticator.verifies(tag, of: altered.span)
            #expect(!isAccepted, "bit \(bit)")
        }
        for bit in 0..<64 {
            var words = tag.words
            words.3 ^= 1 << UInt64(bit)
            let isAccepted = authenticator.verifies(
                AuthenticationTag(words: words), of: bytes.span)
            #expect(!isAccepted, "bit \(bit)")
        }
        let isZeroAccepted = authenticator.verifies(AuthenticationTag(), of: bytes.span)
        #expect(!isZeroAccepted)
    }

    @Test func `deriving from a secret equals deriving from its bytes`() throws {
        let bytes = [UInt8](0..<32)
        let secret = try SecretBytes(copying: bytes.span)
        let salt = [UInt8](repeating: 1, count: 64)
        let info = Array("broker-link/1".utf8)
        let derived = try secret.derive(salt: salt.span, info: info.span)
        let plain = try HKDF.derive(
            secret: bytes.span, salt: salt.span, info: info.span, count: 32)
        let expected = try SecretBytes(copying: plain.span)
        let (isExpected, isSource) = (derived.equals(expected), derived.equals(secret))
        #expect(isExpected && !isSource)
    }

    @Test func `random secrets differ`() throws {
        let first = try SecretBytes.random()
        let second = try SecretBytes.random()
        let isSame = first.equals(second)
        #expect(!isSame)
        #expect(RandomBytes.makeNumber() != 0)
        #expect(RandomBytes.make(count: 32) != RandomBytes.make(count: 32))
    }
}
