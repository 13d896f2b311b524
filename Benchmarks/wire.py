"""The few frames of the protocol that measurements and tests put together by themselves."""
import struct


def frame(kind, fixed, lead=b"", tail=b"", flags=0):
    """Protocol/README.md, section 5."""
    body = fixed + lead + tail
    return struct.pack("<IBBH", 8 + len(body), kind, flags, len(lead)) + body


def packet(*frames):
    body = b"".join(frames)
    return b"\xc5\0\xb7\0" + struct.pack("<I", 8 + len(body)) + body


HELLO = packet(frame(1, struct.pack("<HH", 1, 1), b"measurement"))


def subscribe(number, name):
    """Drops the oldest when it is full."""
    tail = struct.pack("<H", len(name)) + name
    return frame(5, struct.pack("<IIIBBBB", number, number, 0, 1, 1, 0, 0), b"", tail)


def publish(number, name, payload, acknowledge=False):
    return frame(3, struct.pack("<I", number), name, payload, flags=1 if acknowledge else 0)
