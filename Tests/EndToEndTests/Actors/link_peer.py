#!/usr/bin/python3
"""A peer of a listening broker, written from Protocol/forwarding.md: it holds the link key, and
says what it is told to. What each scene found is printed as one JSON object.

    link_peer.py SCENE HOST PORT KEYFILE [ARGUMENTS]
"""
import collections, hmac, json, os, pathlib, random, select, socket, struct
import sys, time

for folder in ("Protocol/reference", "Benchmarks"):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / folder))
import verify_link as link
from wire import frame, packet

REASONS = dict(enumerate(
    "versionUnsupported nameUnknown keyUnknown roleWrong nameConflict tagMismatch sequenceWrong "
    "malformed tooLong handshakeTimeout silent replaced shuttingDown limitExceeded "
    "reconfigured".split(), 1))
# A record whose length is wrong swallows what follows: let there be enough.
FILLER = bytes(300_000)


def sender(uid=1000, gid=1000, level=1, pid=77):
    """SENDER with a record as README.md, section 6, lays it out."""
    return frame(0x07, struct.pack("<iIIiIIQQQBBBBI", pid, uid, gid, pid, uid, gid, 0, 0,
                                   time.time_ns(), level, 0, 1, 0, 0xFFFFFFFF))


def route(*path, epoch=5):
    return frame(0x0F, struct.pack("<Q", epoch), "/".join(path).encode())


def deliver(number, topic, payload):
    return frame(0x08, struct.pack("<QI", number, 0), topic.encode(), payload.encode())


class Peer:
    """One connection as `name`; the tags are right unless somebody alters the bytes."""

    def __init__(self, address, key_id, secret, name="edge", epoch=None):
        self.key_id, self.secret, self.name = key_id, secret, name
        self.epoch = epoch or random.getrandbits(63) + 1
        self.sequence = self.heard = 0
        self.unread, self.received, self.reason = b"", b"", None
        self.sock = socket.create_connection(address, timeout=40)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        """- Returns: whether the other side still takes it."""
        try:
            self.sock.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def record(self):
        """The next record of the broker; None at the end."""
        while True:
            try:
                record = link.Record(self.unread, 0)
                self.unread = self.unread[record.end:]
                return record
            except link.Refused as reason:
                if "cut short" not in str(reason):
                    raise
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self.unread += data
            self.received += data

    def header(self, kind, body, sequence):
        return struct.pack("<4sBBHQQQII", link.MAGIC, 1, kind, 0, self.key_id, self.epoch,
                           sequence, len(body), 0)

    def hello(self):
        body = b"\1\0\0\0" + os.urandom(32) + self.name.encode()
        self.own_hello = self.header(link.HELLO, body, 0) + body
        return self.own_hello

    def derive(self, other):
        """Both keys, from our HELLO as we meant it and the broker's as it came."""
        salt = self.own_hello[44:76] + other.body[4:36]
        transcript = self.own_hello + other.signed
        return [link.hkdf(self.secret, salt, b"broker-link/1 " + side + b"\0" + transcript)
                for side in (b"connector", b"listener")]

    def envelope(self, kind, body, key=None):
        self.sequence += 1
        record = self.header(kind, body, self.sequence) + body
        return record + hmac.digest(key or self.key, record, "sha256")

    def open(self, body=struct.pack("<QQHH", 0, 0, 8, 0)):
        return self.envelope(link.OPEN, body)

    def greet(self, alter=lambda data: data):
        """HELLO and the broker's answer. - Returns: whether the broker answered with HELLO."""
        self.send(alter(self.hello()))
        record = self.record()
        if record is None or record.kind != link.HELLO:
            self.note(record)
            return False
        self.key, self.their_key = self.derive(record)
        return True

    def establish(self):
        if not self.greet():
            raise SystemExit("the broker refused an honest HELLO")
        self.send(self.open())
        self.verified(link.OPEN)
        return self

    def verified(self, kind):
        """The next record, which must be an envelope of this kind with a right tag."""
        record = self.record()
        self.heard += 1
        assert record and record.kind == kind and record.sequence == self.heard, record
        assert hmac.compare_digest(
            hmac.digest(self.their_key, record.signed, "sha256"), record.tag)
        return record

    def batch(self, number, *frames):
        return self.envelope(link.DATA, struct.pack("<Q", number) + packet(*frames))

    def ending(self):
        """Reads to the end. - Returns: the reason that the broker gives, or None."""
        while (record := self.record()) is not None:
            self.note(record)
        self.sock.close()
        return self.reason

    def note(self, record):
        """Keeps the reason, if this record gives one."""
        if record is None:
            return
        if record.kind == link.REFUSAL:
            self.reason, = struct.unpack_from("<H", record.body)
        elif record.kind == link.CONTROL:
            for kind, body, _ in link.frames(record.body):
                if kind == 0x0C:
                    self.reason, = struct.unpack_from("<H", body)


class Scene:
    def __init__(self, host, port, key_file, *arguments):
        self.address = (host, int(port))
        # The current key is the first that stands in the file.
        self.key_id, self.secret = next(iter(link.read_keys(key_file).items()))
        self.reasons = collections.Counter()
        self.cases = 0

    def peer(self, **options):
        return Peer(self.address, self.key_id, self.secret, **options)

    def end(self, peer, what):
        """A case must end with a reason that the broker gives."""
        reason = peer.ending()
        self.cases += 1
        self.reasons[REASONS.get(reason, "none")] += 1
        if reason is None:
            raise SystemExit(f"{what}: the broker gave no reason")

    def tell(self, **more):
        print(json.dumps({"cases": self.cases, "reasons": self.reasons, **more}), flush=True)


def message(peer, text, batch=1, topic="wire/x"):
    """A batch as an honest broker sends it, of an origin epoch that was never seen."""
    return peer.batch(batch, route(peer.name, epoch=random.getrandbits(63) + 1), sender(),
                      deliver(1, topic, text))


def honest(scene, text):
    """What nobody disturbs arrives: without this, that nothing arrives would prove nothing."""
    peer = scene.peer().establish()
    peer.send(message(peer, text))
    acknowledged(peer, 1)
    peer.sock.close()


# A stage is what a connection says last; everything before it is right.

def at_hello(peer, alter):
    if peer.greet(alter):
        peer.send(peer.open())
        peer.send(message(peer, "forged behind HELLO"))


def at_open(peer, alter):
    peer.greet()
    peer.send(alter(peer.open()))
    peer.send(message(peer, "forged behind OPEN"))


def at_control(peer, alter):
    peer.establish()
    peer.send(alter(peer.envelope(link.CONTROL, frame(0x42, b"\0\0\0\0", b"forged/#")
                                  + frame(0x44, b"") + frame(0x0A, bytes(8)))))
    peer.send(message(peer, "forged behind CONTROL"))


def at_data(peer, alter):
    peer.establish()
    peer.send(alter(peer.batch(
        1, route(peer.name, epoch=random.getrandbits(63) + 1), sender(),
        *(deliver(n, "wire/altered", "forged %d " % n + "." * 60) for n in (1, 2, 3)))))
    peer.send(message(peer, "forged behind DATA", batch=2))


def at_rekey(peer, alter):
    peer.establish()
    peer.send(alter(peer.envelope(
        link.CONTROL, frame(0x45, struct.pack("<Q", peer.key_id) + os.urandom(32)))))
    peer.send(message(peer, "forged behind REKEY"))


STAGES = (at_hello, at_open, at_control, at_data, at_rekey)


class Measure(Exception):
    pass


def stage_length(scene, stage):
    """Bytes of the record that a stage alters."""
    def measure(data):
        raise Measure(len(data))
    peer = scene.peer()
    try:
        stage(peer, measure)
    except Measure as length:
        peer.sock.close()
        return length.args[0]


def other_values(byte, chance):
    """Thirteen other values of a byte: each bit turned, the extremes, and some more."""
    values = dict.fromkeys([byte ^ 1 << bit for bit in range(8)] + [0, 255, (byte + 1) & 255])
    values.pop(byte, None)
    while len(values) < 13:
        value = chance.randrange(256)
        if value != byte:
            values[value] = None
    return list(values)


def corrupt(scene, part="0", parts="1", seed="1"):
    """One altered byte a connection: each byte of each stage, thirteen other values of each."""
    chance = random.Random(int(seed))
    cases = [(stage, place, number) for stage in STAGES
             for place in range(stage_length(scene, stage)) for number in range(13)]
    for index, (stage, place, number) in enumerate(cases[int(part)::int(parts)]):
        def alter(data):
            value = other_values(data[place], chance)[number]
            altered = data[:place] + bytes([value]) + data[place + 1:]
            return altered + (FILLER if 32 <= place < 36 else b"")
        peer = scene.peer()
        stage(peer, alter)
        scene.end(peer, f"{stage.__name__} byte {place}")
        if index % 500 == 0:
            honest(scene, f"honest {part}.{index}")
    honest(scene, f"honest {part} end")
    scene.tell(honest=1 + (len(cases[int(part)::int(parts)]) + 499) // 500)


def session(scene, texts):
    """An honest session. - Returns: its peer, with all that was sent, record by record."""
    peer = scene.peer()
    peer.greet()
    records = [peer.own_hello, peer.open()]
    peer.send(records[1])
    peer.verified(link.OPEN)
    for number, text in enumerate(texts, 1):
        records.append(message(peer, text, batch=number))
        peer.send(records[-1])
    acknowledged(peer, len(texts))
    peer.sock.close()
    return peer, records


def attacks(scene, rounds="5"):
    """Replays, reflections, splices, truncations, gaps and changes of order."""
    delivered = []
    for turn in range(int(rounds)):
        texts = [f"session {turn}.{n}" for n in range(3)]
        peer, old = session(scene, texts)
        delivered += texts
        replay(scene, old, peer.received)
        splice(scene, old)
        delivered += within_a_session(scene, turn)
    scene.tell(delivered=delivered)


def replay(scene, old, heard):
    """The whole session again, its parts, and what the broker itself said."""
    for pieces in ([b"".join(old)], old, [old[0] + old[2]], old[1:], [old[2]], [heard],
                   [old[0] + heard], [old[0][::-1]], [b"GET / HTTP/1.1\r\n" * 4]):
        peer = scene.peer()
        for piece in pieces:
            if not peer.send(piece):
                break
        scene.end(peer, "replay")


def splice(scene, old):
    """The beginning of one valid stream and the rest of another, between and inside records."""
    for border in (1, 2):
        peer = scene.peer()
        peer.greet()
        for piece in [peer.open()][:border - 1] + old[border:]:
            if not peer.send(piece):
                break
        scene.end(peer, f"splice at record {border}")
    for place in range(0, len(old[2]), 5):
        # As long as the other one: nothing that is still waited for.
        peer, spliced = altered(
            scene, "forged  0.0", lambda peer, record: record[:place] + old[2][place:])
        peer.send(spliced)
        scene.end(peer, f"splice at byte {place} of a record")


def altered(scene, text, alter):
    """A session, and what became of a record of it. Never by chance what it was: where only the
    end of the tag is another, that would happen once in 256 times."""
    while True:
        peer = scene.peer().establish()
        record = message(peer, text)
        data = alter(peer, record)
        if not data.startswith(record):
            return peer, data
        peer.sock.close()


def within_a_session(scene, turn):
    """Right envelopes at the wrong place. - Returns: the payloads that are to arrive."""
    def fresh(*texts):
        peer = scene.peer().establish()
        return peer, [message(peer, text, batch=n) for n, text in enumerate(texts, 1)]

    def broken(what, peer, *pieces):
        peer.send(b"".join(pieces))
        scene.end(peer, what)

    text = f"repeated {turn}"
    peer, (one, two) = fresh(text, "never")
    broken("a record twice", peer, one, one, two)
    peer, (one, two) = fresh("never", "never")
    broken("a record left out", peer, two)
    peer, (one, two) = fresh("never", "never")
    broken("out of order", peer, two, one)
    peer, _ = fresh()
    broken("its own bytes back", peer, peer.received)
    peer, (one, two) = fresh("never", "never")
    broken("HELLO once more", peer, peer.own_hello, one)
    length = len(one)
    for place in range(1, length):
        peer, data = altered(scene, "never", lambda peer, record: (
            record[:place] + message(peer, "never", batch=2) + FILLER))
        broken(f"cut short at {place}", peer, data)
    for place in range(1, length, 5):
        peer, (one, two) = fresh("never", "never")
        peer.send(one[:place])
        peer.sock.close()
    return [text]


def drip(scene):
    """A byte at a time: whole if it comes soon enough, and else ended."""
    peer = scene.peer(name="slow").establish()
    for byte in message(peer, "drop by drop"):
        peer.send(bytes([byte]))
    acknowledged(peer, 1)
    stalled = [scene.peer(name="slow") for _ in range(20)]
    # One a peer: a link has one connection that has passed its handshake.
    record = [peer.batch(2, route("slow"), sender(), deliver(9, "wire/x", "never"))]
    streams = [(peer, record[0])] + [(other, other.hello()) for other in stalled]
    offset, deadline = 0, time.monotonic() + 30
    while streams and time.monotonic() < deadline:
        streams = [(other, data) for other, data in streams
                   if offset < len(data) and other.send(data[offset:offset + 1])
                   and not select.select([other.sock], [], [], 0)[0]]
        offset += 1
        time.sleep(0.25)
    for other in [peer] + stalled:
        scene.end(other, "slow drip")
    scene.tell(delivered=["drop by drop"])


def claims(scene):
    """An honest signature under dishonest contents. What is counted where must agree."""
    peer = scene.peer().establish()
    root = sender(uid=0, gid=0, level=1)
    peer.send(peer.batch(
        1,
        route("hub"), root, deliver(1, "claims/x", "the hub itself"),
        route("other"), root, deliver(1, "claims/x", "another broker"),
        route("other", "edge"), root, deliver(2, "claims/x", "another broker, passed on"),
        route("hub", "edge"), root, deliver(3, "claims/x", "back to where it came from"),
        route("edge", "edge"), root, deliver(3, "claims/x", "twice the same"),
        route("edge"), sender(uid=0xFFFFFFFF), deliver(4, "claims/x", "no uid"),
        route("edge"), sender(gid=0xFFFFFFFF), deliver(5, "claims/x", "no gid"),
        route("edge"), root, deliver(6, "$SYS/forged", "the broker's own topic"),
        deliver(7, "claims/#", "a filter"),
        deliver(8, "claims/x", "level kernel"), deliver(8, "claims/x", "level kernel"),
        # Frames with bit 7 set are skipped, whatever they pretend to be.
        frame(0x87, bytes(56), b"hub"), frame(0x8F, b"uid=0"),
        deliver(9, "claims/x", "end")))
    acknowledged(peer, 1)
    scene.tell(dropped={"pathInvalid": 3, "originNotAllowed": 1, "loop": 1, "identityInvalid": 2,
                        "topicInvalid": 2, "duplicate": 1})


def acknowledged(peer, batch):
    """Reads until the broker has acknowledged a batch."""
    while True:
        for kind, body, _ in link.frames(peer.verified(link.CONTROL).body):
            if kind == 0x41 and struct.unpack("<Q", body)[0] >= batch:
                return


def flood(scene, held, more):
    """Holds connections that say nothing, and makes more until each was closed."""
    address = (sys.argv[2], int(sys.argv[3]))
    silent = [socket.create_connection(address, timeout=40) for _ in range(int(held))]
    for _ in range(int(more)):
        with socket.create_connection(address, timeout=40) as sock:
            while sock.recv(4096):
                pass
    print(json.dumps({"connections": len(silent) + int(more)}))


def main():
    scene = Scene(*sys.argv[2:5])
    globals()[sys.argv[1]](scene, *sys.argv[5:])


if __name__ == "__main__":
    main()
