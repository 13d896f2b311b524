#!/usr/bin/env python3
"""The pre-shared key of TLS for a link: forwarding.md, section 14, with nothing but hmac.

    tls_key.py KEYFILE CONNECTOR LISTENER

Prints the identity and the key in hexadecimal, as `openssl s_client -psk_identity … -psk …` takes
them. What it prints is a secret.
"""

import hashlib
import hmac
import sys


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, extract and expand."""
    extracted = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    output = block = b""
    counter = 1
    while len(output) < length:
        block = hmac.new(extracted, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
        counter += 1
    return output[:length]


def current_key(path: str) -> tuple[str, bytes]:
    """Id and secret of the key in state current."""
    with open(path, encoding="ascii") as file:
        for line in file:
            if line.startswith("key "):
                fields = dict(field.split("=", 1) for field in line.split()[1:])
                if fields["state"] == "current":
                    return fields["id"], bytes.fromhex(fields["secret"])
    sys.exit(f"{path}: no key in state current")


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    path, connector, listener = sys.argv[1:]
    key_id, secret = current_key(path)
    identity = f"broker-link/1/{connector}/{listener}/{key_id}"
    info = b"broker-link/1 tls psk\0" + identity.encode("ascii")
    print(identity, hkdf_sha256(secret, b"", info, 32).hex())


if __name__ == "__main__":
    main()
