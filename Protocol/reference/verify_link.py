#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks a captured exchange of two brokers against forwarding.md, with the standard library only.

    verify_link.py CAPTURE.json              the exchange must be right from end to end
    verify_link.py --flip N CAPTURE.json     and each of N altered copies must be found out
    verify_link.py --key FILE CAPTURE.json   with the keys of a key file in place of the capture's

A capture is one JSON object: "keys" (hexadecimal, by key id), and what each side sent,
"connector" and "listener", in hexadecimal.
"""
import argparse, hashlib, hmac, json, random, struct, sys

MAGIC, HEADER, TAG = b"\xC5\x00\xB8\x00", 40, 32
HELLO, REFUSAL, OPEN, DATA, CONTROL = 1, 2, 3, 4, 5
LIMITS = {HELLO: (37, 100), REFUSAL: (4, 260), OPEN: (20, 34816), DATA: (16, 262152),
          CONTROL: (8, 65536)}
REKEY, REKEYED, REKEYEND = 0x45, 0x46, 0x47


class Refused(Exception):
    pass


def require(condition, text):
    if not condition:
        raise Refused(text)


def hkdf(secret, salt, info):
    """RFC 5869 with SHA-256, one block of output."""
    key = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()


class Record:
    def __init__(self, stream, offset):
        require(len(stream) - offset >= HEADER, "a header is cut short")
        magic, version, self.kind, zero, self.key_id, self.epoch, self.sequence, length, zero2 = \
            struct.unpack_from("<4sBBHQQQII", stream, offset)
        require(magic == MAGIC and version == 1, "not a record of version 1")
        require(self.kind in LIMITS, "unknown kind")
        require(LIMITS[self.kind][0] <= length <= LIMITS[self.kind][1], "length out of range")
        self.is_clean = zero == 0 and zero2 == 0
        self.is_signed = self.kind >= OPEN
        end = offset + HEADER + length
        self.end = end + (TAG if self.is_signed else 0)
        require(self.end <= len(stream), "a record is cut short")
        self.signed = stream[offset:end]
        self.body = stream[offset + HEADER:end]
        self.tag = stream[end:self.end]


def records(stream):
    offset = 0
    while offset < len(stream):
        record = Record(stream, offset)
        offset = record.end
        yield record


def hello(record, role):
    require(record.kind == HELLO and record.is_clean and record.sequence == 0, "not a HELLO")
    require(record.body[:4] == bytes([role, 0, 0, 0]), "the role is wrong")
    name = record.body[36:]
    require(all(chr(c).isalnum() or c in b"._-" for c in name) and name.isascii(), "bad name")
    return record.body[4:36]


def frames(body, offset=0):
    while offset < len(body):
        require(len(body) - offset >= 8, "a frame is cut short")
        length, kind, _, lead = struct.unpack_from("<IBBH", body, offset)
        require(8 <= length <= len(body) - offset, "a frame does not fit")
        yield kind, body[offset + 8:offset + length], lead
        offset += length


class Direction:
    """What one side sends: its key, and the sequence that must come next."""

    def __init__(self, name, key, first, hello_record):
        self.name, self.key, self.key_id = name, key, hello_record.key_id
        self.epoch, self.sequence, self.first = hello_record.epoch, 0, first
        self.batch, self.messages, self.next = None, 0, None

    def verify(self, record):
        require(record.is_signed, "an unsigned record behind HELLO")
        tag = hmac.new(self.key, record.signed, hashlib.sha256).digest()
        require(hmac.compare_digest(tag, record.tag), f"{self.name}: the tag is wrong")
        self.sequence += 1
        require(record.sequence == self.sequence and record.is_clean
                and record.key_id == self.key_id and record.epoch == self.epoch,
                f"{self.name}: not the next envelope")
        require((record.kind == OPEN) == (self.sequence == 1), "OPEN out of place")
        if record.kind == DATA:
            self.read_batch(record.body)

    def read_batch(self, body):
        batch, = struct.unpack_from("<Q", body)
        require(self.batch is None or batch == self.batch + 1, "a batch is missing")
        require(body[8:12] == b"\xC5\x00\xB7\x00"
                and struct.unpack_from("<I", body, 12)[0] == len(body) - 8, "not a packet")
        self.batch = batch
        self.messages += sum(kind == 0x08 for kind, _, _ in frames(body, 16))


def verify(keys, connector, listener):
    """- Returns: envelopes and messages, both ways together."""
    sent = {1: list(records(connector)), 2: list(records(listener))}
    require(sent[1] and sent[2], "a side has said nothing")
    first = {role: sent[role].pop(0) for role in sent}
    nonces = {role: hello(first[role], role) for role in first}
    require(first[1].key_id == first[2].key_id, "the key ids differ")
    transcript = first[1].signed + first[2].signed
    sides = {}

    def derive(key_id, salt, label):
        require(key_id in keys, "an unknown key id")
        return {role: hkdf(keys[key_id], salt, label + name + b"\0" + transcript)
                for role, name in ((1, b" connector"), (2, b" listener"))}

    made = derive(first[1].key_id, nonces[1] + nonces[2], b"broker-link/1")
    for role, name in ((1, "connector"), (2, "listener")):
        sides[role] = Direction(name, made[role], None, first[role])
    rotations = find_rotations(sent)
    for role in sent:
        rotation = iter(rotations)
        for record in sent[role]:
            sides[role].verify(record)
            last = REKEYEND if role == 1 else REKEYED
            if record.kind == CONTROL and any(k == last for k, _, _ in frames(record.body)):
                key_id, salt = next(rotation, (None, b""))
                made = derive(key_id, salt, b"broker-link/1 rekey")
                sides[role].key, sides[role].key_id = made[role], key_id
    return sum(s.sequence for s in sides.values()), sum(s.messages for s in sides.values())


def find_rotations(sent):
    """Key id and salt of each change of keys, from REKEY and REKEYED."""
    asked = [b for r in sent[1] if r.kind == CONTROL for k, b, _ in frames(r.body) if k == REKEY]
    answers = [b for r in sent[2] if r.kind == CONTROL
               for k, b, _ in frames(r.body) if k == REKEYED]
    rotations = []
    for answer in answers:
        for ask in asked:
            if ask[:8] == answer[:8]:
                rotations.append((struct.unpack("<Q", ask[:8])[0], ask[8:] + answer[8:]))
    return rotations


def flipped(keys, connector, listener, place, bit):
    streams = [bytearray(connector), bytearray(listener)]
    stream = streams[0] if place < len(connector) else streams[1]
    stream[place if place < len(connector) else place - len(connector)] ^= 1 << bit
    try:
        verify(keys, bytes(streams[0]), bytes(streams[1]))
    except (Refused, struct.error):
        return
    raise Refused(f"a flipped bit {bit} of byte {place} was not found")


def read_keys(path):
    keys = {}
    for line in open(path):
        if line.startswith("key "):
            fields = dict(field.split("=", 1) for field in line.split()[1:])
            keys[int(fields["id"], 16)] = bytes.fromhex(fields["secret"])
    return keys


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("capture")
    parser.add_argument("--flip", type=int, default=0)
    parser.add_argument("--key")
    arguments = parser.parse_args()
    capture = json.load(open(arguments.capture))
    keys = {int(i, 16): bytes.fromhex(k) for i, k in capture.get("keys", {}).items()}
    if arguments.key:
        keys = read_keys(arguments.key)
    streams = [bytes.fromhex(capture[side]) for side in ("connector", "listener")]
    try:
        envelopes, messages = verify(keys, *streams)
        chance = random.Random(1)
        for _ in range(arguments.flip):
            flipped(keys, *streams, chance.randrange(len(streams[0]) + len(streams[1])),
                    chance.randrange(8))
    except Refused as reason:
        sys.exit(f"refused: {reason}")
    print(f"{envelopes} envelopes, {messages} messages, {arguments.flip} alterations found out")


if __name__ == "__main__":
    main()
