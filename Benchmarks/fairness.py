#!/usr/bin/python3
"""Round trips of one user beside another who does what it can: a report, run as root.

    fairness.py BROKER [--seconds S | --trips N] [--rounds N] [--processes N] [--only KIND…]
                       [--format json]

Starts BROKER with two users' rules and everything else as it comes. Uid 1000 measures round trips
(publish, receive), one each millisecond, by turns: while all is quiet, and beside processes of
uid 1001. Those flood the broker, each kind in its way, or leave it alone ("hog" burns processor
time, "wake" wakes another process up: what the machine itself costs). The ratio is that of the
medians of all rounds. JSON has what the broker charged to both users meanwhile as well.
"""
import argparse, array, json, os, pathlib, select, signal, socket, statistics, struct, subprocess, sys
import tempfile, time

from wire import HELLO, frame, packet, publish, subscribe

RULES = """version = 1
[[rule]]
uid = [1000, 1001]
allow = ["publish", "subscribe"]
topics = ["%u/#"]
"""
PROBER, FLOODER = 1000, 1001
QUOTA_EXCEEDED = 0x97
RECEIVE_BYTES = 262_144
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def removal(number):
    return frame(6, struct.pack("<II", number, number))


def opened(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path)
    return sock


def connect(path):
    sock = opened(path)
    sock.send(HELLO)
    if sock.recv(RECEIVE_BYTES)[12] != 2:
        raise OSError("no WELCOME")
    return sock


# The floods. Each waits only when the kernel makes it wait.

def send_for_ever(path, *packets, greeting=()):
    """Sends one packet after the other, and reads whatever comes back."""
    while True:
        try:
            sock = connect(path)
            for first in greeting:
                sock.send(first)
            sock.setblocking(False)
            poll = select.poll()
            poll.register(sock, select.POLLIN | select.POLLOUT)
            number = 0
            while True:
                for _, events in poll.poll():
                    if events & select.POLLIN and not sock.recv(RECEIVE_BYTES):
                        raise OSError("closed")
                    if events & select.POLLOUT:
                        sock.send(packets[number % len(packets)])
                        number += 1
        except BlockingIOError:
            pass
        except OSError:
            sock.close()


def flood_hog(path):
    while True:
        pass


def flood_wake(path):
    """Two processes that wake each other up, as clients and brokers do."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        here.close()
        while there.send(there.recv(1)):
            pass
    there.close()
    while here.send(b"x") and here.recv(1):
        pass


def flood_connect(path):
    """Connections with HELLO and some subscriptions, 200 at a time."""
    held = []
    while True:
        try:
            sock = connect(path)
            sock.send(packet(*[subscribe(n, b"1001/%d" % n) for n in range(20)]))
            held.append(sock)
        except OSError:
            pass
        if len(held) > 200:
            held.pop(0).close()


def flood_silent(path):
    """Connections that say nothing, opened and closed."""
    held = []
    while True:
        try:
            held.append(opened(path))
        except OSError:
            pass
        if len(held) > 100:
            held.pop(0).close()


def flood_garbage(path):
    """Packets that end the session at once."""
    while True:
        try:
            sock = opened(path)
            sock.send(b"\xff" * 4096)
            sock.close()
        except OSError:
            pass


def flood_subscribe(path):
    numbers = range(500)
    send_for_ever(
        path, packet(*[subscribe(n, b"1001/%d/+/#" % n) for n in numbers]),
        packet(*[removal(n) for n in numbers]))


def flood_small(path):
    send_for_ever(path, packet(*[publish(n, b"1001/t", b"y" * 128) for n in range(400)]))


def flood_single(path):
    send_for_ever(path, packet(publish(1, b"1001/t", b"y")))


def flood_large(path):
    send_for_ever(path, packet(publish(1, b"1001/t", b"y" * 190_000)))


def flood_denied(path):
    send_for_ever(path, packet(*[publish(n, b"1000/t", b"y", True) for n in range(1500)]))


def flood_fanout(path):
    """Each message comes back a hundred times."""
    send_for_ever(
        path, packet(*[publish(n, b"1001/t", b"y" * 128) for n in range(20)]),
        greeting=[packet(*[subscribe(n, b"1001/t") for n in range(100)])])


# Without a broker: what the machine itself costs.
BASELINES = {"hog": flood_hog, "wake": flood_wake}
FLOODS = {
    "connect": flood_connect, "silent": flood_silent, "garbage": flood_garbage,
    "subscribe": flood_subscribe, "small": flood_small, "single": flood_single,
    "large": flood_large, "denied": flood_denied, "fanout": flood_fanout,
}
# "all": one process of each flood; "hog-all": as many that only burn time.
KINDS = [*BASELINES, *FLOODS, "all", "hog-all"]


# Measuring.

def in_child(uid, body):
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            body()
        finally:
            os._exit(0)
    return child


def round_trips(path, seconds, trips):
    """Microseconds of each round trip. Each must come back: nothing is lost or refused."""
    sock, times = connect(path), []
    sock.send(packet(subscribe(1, b"1000/t")))
    sock.recv(RECEIVE_BYTES)
    message = packet(publish(1, b"1000/t", b"x" * 128))
    end = time.monotonic() + seconds
    while len(times) < trips if trips else time.monotonic() < end:
        start = time.perf_counter_ns()
        sock.send(message)
        # SENDER and DELIVER in one packet.
        kind = sock.recv(RECEIVE_BYTES)[12]
        times.append((time.perf_counter_ns() - start) / 1000)
        if kind != 7:
            raise OSError(f"frame type {kind} instead of a message")
        time.sleep(0.001)
    return sock, times


def processor_ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


class Stage:
    """A broker and what is measured at it."""

    def __init__(self, arguments, path, server):
        self.arguments, self.path, self.server = arguments, path, server

    def status(self):
        """What the broker says of itself: counters, and what the two users are charged."""
        document = json.loads(subprocess.run(
            [self.arguments.broker, "status", "--format", "json", "--socket", self.path],
            stdout=subprocess.PIPE, check=True).stdout)
        users = {user.pop("uid"): user for user in document["users"]}
        return {"counters": document["counters"], "prober": users.get(PROBER, {}),
                "flooder": users.get(FLOODER, {})}

    def measure(self):
        reader, writer = os.pipe()

        def probe():
            sock, times = round_trips(
                self.path, self.arguments.seconds, self.arguments.trips)
            answer = array.array("d", times).tobytes()
            os.write(writer, struct.pack("<I", len(answer)) + answer)
            # Goes when its status has been seen.
            signal.pause()

        ticks, start = processor_ticks(self.server), time.monotonic()
        child = in_child(PROBER, probe)
        os.close(writer)
        with open(reader, "rb") as answers:
            length = answers.read(4)
            if not length:
                sys.exit("the round trips did not come back")
            times = array.array("d", answers.read(*struct.unpack("<I", length)))
        busy = (processor_ticks(self.server) - ticks) / TICKS_PER_SECOND
        busy /= time.monotonic() - start
        charged = self.status()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return times, busy, charged

    def beside(self, floods):
        """Measures while these run as uid 1001."""
        children = [in_child(FLOODER, lambda flood=flood: flood(self.path)) for flood in floods]
        try:
            time.sleep(0.5)
            return self.measure()
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            # Until nothing is charged to them any more.
            for _ in range(200):
                if not self.status()["flooder"]:
                    break
                time.sleep(0.05)

    def row(self, kind):
        """Quiet and busy by turns."""
        if kind == "all":
            floods = list(FLOODS.values())
        elif kind == "hog-all":
            floods = [flood_hog] * len(FLOODS)
        else:
            floods = [{**BASELINES, **FLOODS}[kind]] * self.arguments.processes
        quiet, times, shares = array.array("d"), array.array("d"), []
        for _ in range(self.arguments.rounds):
            quiet += self.measure()[0]
            more, busy, charged = self.beside(floods)
            times += more
            shares.append(busy)
        left = self.status()["flooder"]
        medians = percentiles(quiet), percentiles(times)
        return {"beside": kind, "processes": len(floods), "trips": len(times),
                "quietTrips": len(quiet), "quiet": medians[0], **medians[1],
                "broker": round(statistics.mean(shares), 2), **charged, "left": left,
                "ratio": round(medians[1]["p50"] / medians[0]["p50"], 2)}


def percentiles(times):
    cuts = statistics.quantiles(times, n=100)
    return {name: round(cuts[index], 1) for name, index in
            [("p50", 49), ("p90", 89), ("p99", 98)]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("broker")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="some of the rows",
                        choices=KINDS)
    parser.add_argument("--seconds", type=float, default=1, help="quiet, and busy, in a round")
    parser.add_argument("--trips", type=int, help="in place of a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="of each flood")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path, rules = f"{directory}/b.sock", f"{directory}/acl.toml"
        pathlib.Path(rules).write_text(RULES)
        server = subprocess.Popen([arguments.broker, "serve", "--socket", path, "--acl", rules,
                                   "--log-level", "critical"], stderr=subprocess.DEVNULL)
        while not os.path.exists(path):
            time.sleep(0.05)
        time.sleep(0.2)
        try:
            stage = Stage(arguments, path, server.pid)
            for kind in arguments.only or KINDS:
                row = stage.row(kind)
                if arguments.format == "json":
                    print(json.dumps(row), flush=True)
                else:
                    print("{beside:10} {processes} processes  quiet p50 {quiet[p50]:6.1f}  "
                          "p50 {p50:6.1f}  p90 {p90:7.1f}  p99 {p99:8.1f} µs  broker {broker:4.0%}"
                          "  ratio {ratio:.2f}".format(**row), flush=True)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
