#!/usr/bin/python3
"""Processes that publish in ways an ordinary client does not. Each prints one line of JSON a
message with who *it* is (os.getpid, os.getuid), which the tests compare with what the broker
says. It speaks the protocol by itself: the truth must not come from the code under test.

    actors.py SOCKET SCENE [ARGUMENTS]
"""
import array, json, os, random, socket, struct, sys

PATH = sys.argv[1]


def frame(kind, fixed, lead=b"", tail=b"", flags=0):
    body = fixed + lead + tail
    return struct.pack("<IBBH", 8 + len(body), kind, flags, len(lead)) + body


def packet(*frames):
    body = b"".join(frames)
    return b"\xc5\0\xb7\0" + struct.pack("<I", 8 + len(body)) + body


def connect():
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(PATH)
    sock.send(packet(frame(1, struct.pack("<HH", 1, 1), b"actor")))
    welcome = sock.recv(262144)
    assert welcome[12] == 2, welcome
    return sock


def publish(sock, topic, payload, token=1):
    sock.send(packet(frame(3, struct.pack("<I", token), topic.encode(), payload.encode())))


def ping(sock):
    """Returns when the broker has taken everything sent before."""
    sock.send(packet(frame(0x0A, struct.pack("<Q", 7))))
    while True:
        data = sock.recv(262144)
        assert data, "the broker closed"
        offset = 8
        while offset < len(data):
            length, kind = struct.unpack_from("<IB", data, offset)
            if kind == 0x0B:
                return
            assert kind != 0x0C, data[offset + 12:]
            offset += length


def report(scene, opener_pid, opener_uid):
    print(json.dumps({
        "scene": scene, "pid": os.getpid(), "uid": os.getuid(), "gid": os.getgid(),
        "openerPID": opener_pid, "openerUID": opener_uid}), flush=True)


def in_child(body):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            body()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0, status


def become(uid):
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def same():
    sock = connect()
    publish(sock, "scene/same", "same")
    report("same", os.getpid(), os.geteuid())
    ping(sock)


def forked():
    sock, opener = connect(), os.getpid()

    def child():
        publish(sock, "scene/forked", "forked")
        report("forked", opener, os.geteuid())
    in_child(child)
    ping(sock)


def dropped(uid="1000"):
    """Root opens, a child gives up root, then publishes."""
    sock, opener, opener_uid = connect(), os.getpid(), os.geteuid()

    def child():
        become(int(uid))
        publish(sock, "scene/dropped", "dropped")
        report("dropped", opener, opener_uid)
    in_child(child)
    ping(sock)


def handed(uid="1001"):
    """One process opens and hands its descriptor to another user's process."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        become(int(uid))
        data, fds, _, _ = socket.recv_fds(theirs, 64, 1)
        sock = socket.socket(fileno=fds[0])
        publish(sock, "scene/handed", "handed")
        opener, opener_uid = data.split()
        report("handed", int(opener), int(opener_uid))
        theirs.send(b"done")
        os._exit(0)
    sock = connect()
    socket.send_fds(ours, [b"%d %d" % (os.getpid(), os.geteuid())], [sock.fileno()])
    ours.recv(4)
    ping(sock)
    os.waitpid(child, 0)


def outlived():
    """The opener exits; its child publishes afterwards, an orphan on the same connection."""
    opener_uid = os.geteuid()
    ready, go = os.pipe()
    opener = os.fork()
    if opener == 0:
        sock, mine = connect(), os.getpid()
        if os.fork() == 0:
            os.read(ready, 1)
            publish(sock, "scene/outlived", "outlived")
            report("outlived", mine, opener_uid)
            ping(sock)
            os._exit(0)
        os._exit(0)
    os.waitpid(opener, 0)
    os.write(go, b"x")


def interleaved(count="100000", uid="1000"):
    """Two uids write to one connection at the same time; each payload names its writer."""
    sock = connect()
    each = int(count) // 2

    def write(seed):
        rng, number, me = random.Random(seed), 0, os.getuid()
        while number < each:
            frames = []
            for _ in range(min(rng.randint(1, 12), each - number)):
                frames.append(frame(3, struct.pack("<I", number), b"shared/connection",
                                    b"%d %d %d" % (me, os.getpid(), number)))
                number += 1
            sock.send(packet(*frames))
    child = os.fork()
    if child == 0:
        become(int(uid))
        write(2)
        os._exit(0)
    write(1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    ping(sock)
    print(json.dumps({"uids": [os.getuid(), int(uid)], "pids": [os.getpid(), child],
                      "each": each}), flush=True)


def descriptors():
    """Sends descriptors along: the kernel refuses them, or the broker closes them."""
    sock = connect()
    refused = 0
    for _ in range(100):
        try:
            sock.sendmsg([packet(frame(3, struct.pack("<I", 1), b"scene/descriptors", b"x"))],
                         [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 253))])
        except PermissionError:
            refused += 1
    ping(sock)
    print(json.dumps({"refused": refused}), flush=True)


def text(sentence="PUB topic=/admin action=reboot\n"):
    """What a program prints to an inherited descriptor is no message."""
    sock = connect()
    os.write(sock.fileno(), sentence.encode())
    data = sock.recv(262144)
    print(json.dumps({"kind": data[12], "reason": data[16], "end": len(sock.recv(10)) == 0}),
          flush=True)


def silent(count="50"):
    """Connections that never say anything; held until standard input ends."""
    held = []
    for _ in range(int(count)):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(PATH)
        held.append(sock)
    print(json.dumps({"held": len(held)}), flush=True)
    sys.stdin.read()


def crowd(connections="1000", subscriptions="10"):
    """Many sessions with many subscriptions; until standard input ends, and everything that has
    come by then is read."""
    import selectors
    selector = selectors.DefaultSelector()
    held, received = [], 0
    for index in range(int(connections)):
        sock = connect()
        frames = []
        for number in range(int(subscriptions)):
            name = b"crowd/%d/%d" % (index, number) if number else b"crowd/all"
            tail = struct.pack("<H", len(name)) + name
            frames.append(frame(5, struct.pack("<IIIBBBB", number, number, 0, 0, 1, 0, 0), b"", tail))
        sock.send(packet(*frames))
        held.append(sock)
        selector.register(sock, selectors.EVENT_READ)
    for sock in held:
        ping(sock)
    print(json.dumps({"connections": len(held)}), flush=True)
    selector.register(sys.stdin, selectors.EVENT_READ)
    timeout = None
    while ready := selector.select(timeout):
        for key, _ in ready:
            if key.fileobj is sys.stdin:
                selector.unregister(sys.stdin)
                timeout = 0
                continue
            data = key.fileobj.recv(262144)
            if not data:
                selector.unregister(key.fileobj)
                continue
            offset = 8
            while offset < len(data):
                length, kind = struct.unpack_from("<IB", data, offset)
                received += kind == 8
                offset += length
    print(json.dumps({"received": received}), flush=True)


def churn(seconds="3", seed="1"):
    """Opens, subscribes, publishes and leaves things half done until it is killed."""
    rng = random.Random(int(seed))
    held = []
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        try:
            sock.connect(PATH)
            if rng.random() < 0.8:
                frames = [frame(1, struct.pack("<HH", 1, 1), b"churn")]
                if rng.random() < 0.7:
                    tail = struct.pack("<H", 7) + b"churn/#"
                    frames.append(frame(5, struct.pack("<IIIBBBB", 1, 1, 0, rng.randint(0, 2), 1, 0, 0),
                                        b"", tail))
                for number in range(rng.randint(0, 20)):
                    frames.append(frame(3, struct.pack("<I", number), b"churn/%d" % rng.randint(0, 9),
                                        bytes(rng.randint(0, 2000)), rng.randint(0, 1)))
                sock.send(packet(*frames))
            if rng.random() < 0.2:
                sock.send(rng.randbytes(rng.randint(0, 300)))
        except (BlockingIOError, BrokenPipeError, ConnectionResetError, ConnectionRefusedError):
            pass
        held.append(sock)
        if len(held) > 40:
            held.pop(rng.randrange(len(held))).close()


def deaf(filter="crowd/all"):
    """Subscribes and never reads; held until standard input ends."""
    sock = connect()
    name = filter.encode()
    sock.send(packet(frame(5, struct.pack("<IIIBBBB", 1, 1, 0, 0, 1, 0, 0), b"",
                           struct.pack("<H", len(name)) + name)))
    sock.recv(262144)
    print(json.dumps({"deaf": True}), flush=True)
    sys.stdin.read()


def answer(sock):
    """Reason and text of the next REPLY to a PUBLISH."""
    while True:
        data = sock.recv(262144)
        assert data, "the broker closed"
        offset = 8
        while offset < len(data):
            length, kind, _, lead = struct.unpack_from("<IBBH", data, offset)
            if kind == 4:
                reason = struct.unpack_from("<H", data, offset + 24)[0]
                return reason, data[offset + 28:offset + 28 + lead].decode()
            offset += length


def ask(sock, topic, uid):
    """Publishes with an acknowledgement and tells what came of it."""
    sock.send(packet(frame(3, struct.pack("<I", 1), topic.encode(), b"x", 1)))
    reason, text = answer(sock)
    print(json.dumps({"writer": os.getuid(), "uid": uid, "reason": reason, "text": text}),
          flush=True)


def deputy(uid="1001", topic="admin/reboot"):
    """Another user opens a connection; root is made to write a whole message to it."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        become(int(uid))
        sock = connect()
        socket.send_fds(theirs, [b"fd"], [sock.fileno()])
        theirs.recv(4)
        os._exit(0)
    _, fds, _, _ = socket.recv_fds(ours, 64, 1)
    ask(socket.socket(fileno=fds[0]), topic, os.getuid())
    ours.send(b"done")
    os.waitpid(child, 0)


def stolen(uid="1000", topic="admin/reboot"):
    """Root opens, gives up root, and publishes on what it opened."""
    sock = connect()

    def child():
        become(int(uid))
        ask(sock, topic, int(uid))
    in_child(child)


def container(owner="1000", topic="container/a"):
    """A user namespace of a user, with a range of uids mapped in, as rootless containers have;
    each uid of it opens a connection of its own."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    for inside, outside in ((0, int(owner)), (33, 100032), (1000, 100999)):
        ready, go = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            become(int(owner))
            assert libc.unshare(0x10000000) == 0, ctypes.get_errno()
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            os.setresgid(inside, inside, inside)
            os.setresuid(inside, inside, inside)
            ask(connect(), topic, outside)
            os._exit(0)
        os.read(ready[0], 1)
        for name in ("gid_map", "uid_map"):
            with open(f"/proc/{child}/{name}", "w") as file:
                file.write(f"0 {owner} 1\n1 100000 65536\n")
        os.write(go[1], b"x")
        _, status = os.waitpid(child, 0)
        assert status == 0, status


def claims():
    """Sends frames that only brokers send, where some would hope to be believed: a SENDER of
    root before a PUBLISH. Unknown frames are skipped, those of brokers end the connection."""
    record = struct.pack("<iIIiIIQQQBBBBI", 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0xFFFFFFFF)
    for kind in (0x07, 0x0F, 0x41, 0x87, 0x8F):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(PATH)
        sock.send(packet(frame(1, struct.pack("<HH", 1, 1), b"uid=0;origin=hub")))
        sock.recv(262144)
        try:
            sock.send(packet(frame(kind, record, b"hub")
                             + frame(3, struct.pack("<I", 1), b"claims/%d" % kind, b"claim")))
            sock.send(packet(frame(0x0A, bytes(8))))
            sock.recv(262144)
        except (BrokenPipeError, ConnectionResetError):
            pass


def check(*questions):
    """Asks how rules decide, in words that no command sends."""
    subject = {
        "uid": 1, "gid": 1, "openerUID": 1, "openerGID": 1, "openerGroups": [],
        "delegated": False, "sameProcess": True, "level": 1, "domain": "own", "origin": ""}
    sock = connect()
    for question in questions:
        action, is_filter, topic = question.split(" ", 2)
        document = {
            "action": action, "topic": topic, "isFilter": is_filter == "filter",
            "subject": subject}
        arguments = json.dumps(document).encode()
        sock.send(packet(frame(0x10, struct.pack("<I", 1), b"acl.check", arguments)))
        data = sock.recv(262144)
        assert data, f"the broker closed after {document}"
        print(json.dumps({"isAnswered": data[12] == 0x11}), flush=True)


globals()[sys.argv[2]](*sys.argv[3:])
