#!/usr/bin/python3
"""Round trips of one user beside another who does what it can: a report, run as root.

    fairness.py BROKER [SECONDS]

Starts BROKER with rules of its own, measures round trips (publish, receive) of uid 1000 while all
is quiet, then while uid 1001 opens connections, subscribes and publishes from several processes,
and prints both medians.
"""
import json, os, pathlib, signal, statistics, struct, subprocess, sys, tempfile, time
import socket

RULES = """version = 1
[quota]
%s
[[rule]]
uid = [1000, 1001]
allow = ["publish", "subscribe"]
topics = ["%%u/#"]
"""


def frame(kind, fixed, lead=b"", tail=b"", flags=0):
    body = fixed + lead + tail
    return struct.pack("<IBBH", 8 + len(body), kind, flags, len(lead)) + body


def packet(*frames):
    body = b"".join(frames)
    return b"\xc5\0\xb7\0" + struct.pack("<I", 8 + len(body)) + body


def connect(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path)
    sock.send(packet(frame(1, struct.pack("<HH", 1, 1), b"fairness")))
    sock.recv(262144)
    return sock


def subscription(number, name):
    tail = struct.pack("<H", len(name)) + name
    return frame(5, struct.pack("<IIIBBBB", number, number, 0, 1, 1, 0, 0), b"", tail)


def become(uid):
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def in_child(uid, body):
    child = os.fork()
    if child == 0:
        try:
            become(uid)
            body()
        finally:
            os._exit(0)
    return child


def round_trips(path, seconds):
    """Microseconds of each round trip."""
    sock, times = connect(path), []
    sock.send(packet(subscription(1, b"1000/t")))
    sock.recv(262144)
    message = packet(frame(3, struct.pack("<I", 1), b"1000/t", b"x" * 128))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter_ns()
        sock.send(message)
        while sock.recv(262144)[12] not in (7, 8):
            pass
        times.append((time.perf_counter_ns() - start) / 1000)
        time.sleep(0.001)
    return times


def measure(path, seconds):
    reader, writer = os.pipe()
    child = in_child(1000, lambda: os.write(
        writer, json.dumps(statistics.quantiles(round_trips(path, seconds), n=100)).encode()))
    os.waitpid(child, 0)
    cuts = json.loads(os.read(reader, 1 << 20))
    return {"p50": round(cuts[49], 1), "p90": round(cuts[89], 1), "p99": round(cuts[98], 1)}


def flood_publish(path):
    sock = connect(path)
    data = packet(*[frame(3, struct.pack("<I", n), b"1001/t", b"y" * 128) for n in range(300)])
    sock.setblocking(False)
    while True:
        try:
            sock.send(data)
        except BlockingIOError:
            try:
                sock.recv(262144)
            except BlockingIOError:
                time.sleep(0.0005)
        except OSError:
            sock = connect(path)
            sock.setblocking(False)


def flood_connect(path):
    held, number = [], 0
    while True:
        try:
            sock = connect(path)
            number += 1
            sock.send(packet(*[subscription(n, b"1001/%d" % n) for n in range(20)]))
            held.append(sock)
        except OSError:
            time.sleep(0.001)
        if len(held) > 200:
            held.pop(0).close()


def main():
    broker, seconds = sys.argv[1], float((sys.argv + ["5"])[2])
    directory = tempfile.mkdtemp()
    os.chmod(directory, 0o755)
    path, rules = f"{directory}/b.sock", f"{directory}/acl.toml"
    for name, quota in (("no limit on rates", ""),
                        ("20,000 messages a second", "messages_per_second = 20000")):
        pathlib.Path(rules).write_text(RULES % quota)
        server = subprocess.Popen([broker, "serve", "--socket", path, "--acl", rules,
                                   "--log-level", "critical"], stderr=subprocess.DEVNULL)
        while not os.path.exists(path):
            time.sleep(0.05)
        time.sleep(0.2)
        quiet = measure(path, seconds)
        floods = [in_child(1001, lambda: flood_publish(path)),
                  in_child(1001, lambda: flood_connect(path))]
        time.sleep(0.5)
        busy = measure(path, seconds)
        for child in floods:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        server.terminate()
        server.wait()
        print(json.dumps({"quota": name, "quiet": quiet, "busy": busy,
                          "ratio": round(busy["p50"] / quiet["p50"], 2)}), flush=True)


if __name__ == "__main__":
    main()
