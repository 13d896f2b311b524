#!/usr/bin/python3
"""Stands between brokers that are linked over TCP, with publishers and subscribers at both ends.
A scene begins its load when a line comes on standard input: by then links are up and interest is
known. What it found is printed as one JSON object.

    link_proxy.py cuts HOST PORT TARGETPORT SOCKETA SOCKETB CUTS SEED
    link_proxy.py tamper HOST TARGETPORT HUBSOCKET CASES SEED PORT=SOCKET…
    link_proxy.py steady SOCKETA SOCKETB RATE
    link_proxy.py delay HOST PORT TARGETPORT MILLISECONDS
    link_proxy.py capture HOST PORT TARGETPORT
"""
import collections, json, pathlib, queue, random, select, socket, struct, sys, threading, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "Benchmarks"))
from wire import frame, packet

FILLER = bytes(300_000)


def frames(data):
    offset = 8
    while offset < len(data):
        length, kind, _, lead = struct.unpack_from("<IBBH", data, offset)
        yield kind, lead, data[offset + 8:offset + length]
        offset += length


class Client:
    """A client of a broker, as Protocol/README.md has it."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.connect(path)
        self.sock.settimeout(60)
        self.sock.send(packet(frame(1, struct.pack("<HH", 1, 1), b"load")))
        assert self.sock.recv(262144)[12] == 2

    def subscribe(self, name):
        """Holds publishers back while its queue is full."""
        self.sock.send(packet(frame(5, struct.pack("<IIIBBBB", 1, 1, 0, 2, 1, 0, 0), b"",
                                    struct.pack("<H", len(name)) + name)))
        assert any(kind == 4 for kind, _, _ in frames(self.sock.recv(262144)))

    def publish(self, topic, payloads):
        self.sock.send(packet(*(frame(3, struct.pack("<I", 1), topic, p) for p in payloads)))

    def payloads(self):
        """The next payloads."""
        for kind, lead, body in frames(self.sock.recv(262144)):
            assert kind != 9, "the broker lost messages"
            if kind == 8:
                yield body[12 + lead:]

    def finish(self):
        """Returns when the broker has taken all that was published."""
        self.sock.send(packet(frame(0x0A, bytes(8))))
        while all(kind != 0x0B for kind, _, _ in frames(self.sock.recv(262144))):
            pass


class Publisher(threading.Thread):
    """Numbered messages at a steady rate until told to stop."""

    def __init__(self, path, topic, name, rate, at_once, stop):
        super().__init__(daemon=True)
        self.client, self.topic, self.name_bytes = Client(path), topic, name
        self.rate, self.at_once, self.stop_event, self.count = rate, at_once, stop, 0

    def run(self):
        due = time.monotonic()
        while not self.stop_event.is_set():
            first = self.count
            self.count += self.at_once
            self.client.publish(self.topic, [b"%s %d" % (self.name_bytes, n)
                                             for n in range(first, self.count)])
            due += self.at_once / self.rate
            time.sleep(max(0, due - time.monotonic()))
        self.client.finish()


class Subscriber(threading.Thread):
    """Checks that each publisher's messages come once, in order and unaltered."""

    def __init__(self, path, name):
        super().__init__(daemon=True)
        self.client, self.next, self.wrong = Client(path), collections.Counter(), []
        self.client.subscribe(name)
        self.start()

    def run(self):
        while True:
            for payload in self.client.payloads():
                name, _, number = payload.partition(b" ")
                if number != b"%d" % self.next[name] and len(self.wrong) < 10:
                    self.wrong.append(f"{payload!r} instead of {self.next[name]}")
                self.next[name] += 1


def listen(host, port):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((host, port))
    server.listen(16)
    return server


def reset(sock):
    """Closes with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def pairs(server, target):
    """Each connection that comes, with one to the target."""
    while True:
        ours, _ = server.accept()
        try:
            theirs = socket.create_connection(target)
        except OSError:
            ours.close()
            continue
        for sock in (ours, theirs):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield ours, theirs


def relay(ours, theirs, alter=lambda source, data: data, turn=lambda: None):
    """Hands bytes on until one side ends or `alter` gives None; calls `turn` now and then."""
    other = {ours: theirs, theirs: ours}
    while True:
        ready, _, _ = select.select(list(other), [], [], 0.1)
        try:
            turn()
        except OSError:
            return
        for source in ready:
            try:
                data = source.recv(1 << 16)
                data = alter(source, data) if data else None
                if data is None:
                    return
                other[source].sendall(data)
            except OSError:
                return


class Load:
    """Publishers, to be started by a line on standard input, and subscribers."""

    def __init__(self):
        self.is_running, self.stop = threading.Event(), threading.Event()
        self.routes = []

    def add(self, publisher_path, topic, name, rate, at_once, *subscribers):
        publisher = Publisher(publisher_path, topic, name, rate, at_once, self.stop)
        self.routes.append((publisher, subscribers))

    def run(self, is_over):
        """Until `is_over`, and everything has come, or will not come any more."""
        sys.stdin.readline()
        for publisher, _ in self.routes:
            publisher.start()
        self.is_running.set()
        is_over.wait()
        self.stop.set()
        for publisher, subscribers in self.routes:
            publisher.join()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.delivered() != self.published():
            time.sleep(0.02)

    def published(self):
        return sum(p.count * len(subscribers) for p, subscribers in self.routes)

    def delivered(self):
        return sum(s.next[p.name_bytes] for p, subscribers in self.routes for s in subscribers)

    def tell(self, **more):
        wrong = [wrong for _, subscribers in self.routes for s in subscribers for wrong in s.wrong]
        print(json.dumps({"published": self.published(), "delivered": self.delivered(),
                          "wrong": wrong, **more}), flush=True)


def cuts(host, port, target, path_a, path_b, count, seed):
    """Cuts the connection again and again, anywhere, while messages are on the way."""
    chance, load, is_over, done = random.Random(int(seed)), Load(), threading.Event(), 0
    subscriber = Subscriber(path_b, b"load/#")
    for number in range(4):
        load.add(path_a, b"load/%d" % number, b"%d" % number, 2_500, 25, subscriber)

    def stand_between():
        nonlocal done
        for ours, theirs in pairs(listen(host, int(port)), (host, int(target))):
            if done == int(count):
                is_over.set()
                return relay(ours, theirs)
            left = chance.randrange(1, 200_000)

            def alter(source, data):
                nonlocal left
                if not load.is_running.is_set():
                    return data
                left -= len(data)
                if left > 0:
                    return data
                # A piece of it still gets through.
                (theirs if source is ours else ours).sendall(data[:left + len(data)])
                return None

            relay(ours, theirs, alter)
            done += left <= 0
            close = reset if chance.random() < 0.5 else socket.socket.close
            for sock in (ours, theirs):
                close(sock)

    threading.Thread(target=stand_between, daemon=True).start()
    load.run(is_over)
    load.tell(cuts=done)


def steady(path_a, path_b, rate):
    """Messages from one broker to the other until standard input ends."""
    load = Load()
    subscriber = Subscriber(path_b, b"load/#")
    for number in range(4):
        load.add(path_a, b"load/%d" % number, b"%d" % number, int(rate) / 4, 5, subscriber)
    is_over = threading.Event()
    is_over.wait = sys.stdin.read
    load.run(is_over)
    load.tell()


def delay(host, port, target, milliseconds):
    """Hands bytes on later, each direction in order, until standard input ends."""
    def hold(source, sink):
        due = queue.Queue()

        def deliver():
            while (item := due.get()) is not None:
                time.sleep(max(0, item[0] - time.monotonic()))
                sink.sendall(item[1])
            sink.shutdown(socket.SHUT_WR)
        threading.Thread(target=deliver, daemon=True).start()
        while data := source.recv(1 << 16):
            due.put((time.monotonic() + int(milliseconds) / 1_000, data))
        due.put(None)

    def stand_between():
        for ours, theirs in pairs(listen(host, int(port)), (host, int(target))):
            for way in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=hold, args=way, daemon=True).start()
    threading.Thread(target=stand_between, daemon=True).start()
    sys.stdin.read()


class Tampering:
    """What is done to one connection: from `place` on, in one direction, in one way."""
    KINDS = ("flip",) * 12 + ("leave out", "again", "insert", "splice", "reflect")

    def __init__(self, index, chance, old):
        self.kind = chance.choice(self.KINDS)
        # In turn, so that the back-off of the one who dials stays short.
        self.place = chance.randrange(0, 180) if index % 2 else chance.randrange(180, 1_500)
        self.side, self.chance, self.old = chance.randrange(2), chance, old
        self.is_done, self.fill_at = False, float("inf")
        self.said, self.heard = b"", b""

    def run(self, ours, theirs):
        """- Returns: whether it came to the altered byte. Then a broker has ended the connection,
        since nobody else does."""
        self.source, self.target = (ours, theirs)[::-1 if self.side else 1]
        relay(ours, theirs, self.alter, self.fill)
        return self.is_done

    def alter(self, source, data):
        if source is not self.source:
            self.heard += data
            return data
        if self.is_done:
            return b"" if self.kind in ("splice", "reflect") else data
        at = self.place - len(self.said)
        self.said += data
        if at >= len(data):
            return data
        self.is_done, self.fill_at = True, time.monotonic() + 0.2
        return data[:at] + self.replacement(data[at:])

    def replacement(self, rest):
        count = self.chance.randrange(1, 60)
        match self.kind:
            case "flip":
                return bytes([rest[0] ^ 1 << self.chance.randrange(8)]) + rest[1:]
            case "leave out":
                return rest[count:]
            case "again":
                return (self.said[:self.place][-count:] or b"again") + rest
            case "insert":
                return self.chance.randbytes(count) + rest
            case "splice":
                return self.old[self.side][self.place:]
            case "reflect":
                return self.heard

    def fill(self):
        """A length that was altered waits for more than comes by itself."""
        if time.monotonic() > self.fill_at:
            self.fill_at = float("inf")
            self.target.sendall(FILLER)


def record(ours, theirs, enough):
    """Relays until each side has said so many bytes. - Returns: what they said."""
    said = {ours: b"", theirs: b""}

    def alter(source, data):
        said[source] += data
        return data if min(map(len, said.values())) < enough else None
    relay(ours, theirs, alter)
    return [said[ours], said[theirs]]


def tamper(host, target, hub, count, seed, *edges):
    """Real brokers on both sides, messages both ways, and every connection tampered with."""
    lock, left, kinds, over = threading.Lock(), int(count), collections.Counter(), []
    ports = [edge.split("=") for edge in edges]
    load, is_over = Load(), threading.Event()

    def stand_between(port, seed):
        """In front of one edge, until there are enough cases; then out of the way."""
        nonlocal left
        chance, old = random.Random(seed), None
        for index, (ours, theirs) in enumerate(pairs(listen(host, port), (host, int(target)))):
            if old is None:
                old = record(ours, theirs, 1_500)
            elif left > 0:
                case = Tampering(index, chance, old)
                if case.run(ours, theirs):
                    with lock:
                        left -= 1
                        kinds[case.kind] += 1
            else:
                over.append(port)
                if len(over) == len(ports):
                    is_over.set()
                relay(ours, theirs)
            ours.close()
            theirs.close()

    upward = Subscriber(hub, b"up/#")
    for port, path in ports:
        load.add(path, b"up/" + port.encode(), port.encode(), 100, 2, upward)
    load.add(hub, b"down", b"hub", 100, 2, *(Subscriber(path, b"down") for _, path in ports))
    for number, (port, _) in enumerate(ports):
        threading.Thread(
            target=stand_between, args=(int(port), int(seed) + number), daemon=True).start()
    load.run(is_over)
    load.tell(cases=sum(kinds.values()), kinds=kinds)


def capture(host, port, target):
    """Relays one connection until standard input ends, and tells what both sides said."""
    ours, theirs = next(pairs(listen(host, int(port)), (host, int(target))))
    said = {ours: b"", theirs: b""}

    def alter(source, data):
        said[source] += data
        return data
    threading.Thread(target=relay, args=(ours, theirs, alter), daemon=True).start()
    sys.stdin.read()
    print(json.dumps({"connector": said[ours].hex(), "listener": said[theirs].hex()}), flush=True)


globals()[sys.argv[1]](*sys.argv[2:])
