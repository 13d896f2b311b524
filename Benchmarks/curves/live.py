"""A real broker under observation: started, filled with connections, looked at from outside."""
import json
import os
import pathlib
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import wire  # noqa: E402

EVERYTHING = """version = 1
[quota]
connections = 20000
subscriptions = 200000
[[rule]]
name = "everybody"
uid = ["0-4294967294"]
allow = ["publish", "subscribe", "block", "inspect"]
topics = ["#"]
"""


def connections_possible(wanted):
    """Raises the limit of descriptors; the broker takes two for a connection: the socket, and
    the process that opened it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted + 200
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
        return wanted
    except (ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return (hard - 200) // 2


class Broker:
    """`broker serve` with rules of its own in a directory of its own; a context manager."""

    def __init__(self, program, rules=EVERYTHING, shim=None):
        self.program, self.rules, self.shim = program, rules, shim
        self.held = []

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.directory.name)
        self.socket = str(path / "broker.sock")
        environment = dict(os.environ)
        arguments = [self.program, "serve", "--socket", self.socket, "--log-level", "critical"]
        if self.rules is None:
            arguments.append("--no-acl")
        else:
            (path / "acl.toml").write_text(self.rules)
            arguments += ["--acl", str(path / "acl.toml")]
        if self.shim:
            (path / "counters").mkdir()
            # The loader takes a space in its path for the end of it.
            self.preload = path / "shim.so"
            self.preload.symlink_to(os.path.abspath(self.shim))
            environment |= {"LD_PRELOAD": str(self.preload),
                            "CMEASUREMENT_DIRECTORY": str(path / "counters")}
        started = time.perf_counter()
        self.process = subprocess.Popen(
            arguments, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.held.append(self.first_client(started + 30))
        self.startup_seconds = time.perf_counter() - started
        return self

    def __exit__(self, *_):
        for held in self.held:
            held.close()
        self.process.terminate()
        self.process.wait()
        self.directory.cleanup()

    def first_client(self, end):
        while True:
            try:
                return self.connect()
            except (FileNotFoundError, ConnectionRefusedError):
                if self.process.poll() is not None or time.perf_counter() > end:
                    raise SystemExit(
                        f"broker serve did not start: {self.process.stderr.read().decode()}")
                time.sleep(0.0002)

    def connect(self):
        """A connection that has been greeted."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.settimeout(30)
        try:
            client.connect(self.socket)
            client.send(wire.HELLO)
            if client.recv(4096)[12] != 2:
                raise SystemExit("the broker did not answer HELLO with WELCOME")
        except BaseException:
            client.close()
            raise
        return client

    def hold(self, count):
        """Opens connections until so many are held."""
        while len(self.held) < count:
            self.held.append(self.connect())

    def counters(self):
        """Allocations so far and bytes of heap in use, as the shim counts them."""
        file = pathlib.Path(self.directory.name) / "counters" / str(self.process.pid)
        return struct.unpack("=Qq", file.read_bytes()[:16])

    def heap_bytes(self):
        return self.counters()[1]

    def resident_bytes(self):
        """Memory of the process that is no file's."""
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(text.split("Anonymous:")[1].split()[0]) * 1024

    def processor_seconds(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def bench(self, messages, *arguments):
        """Runs `broker bench` here: messages a second, and nanoseconds of processor time that
        the broker took for each message published."""
        before = self.processor_seconds()
        run = subprocess.run(
            [self.program, "bench", "--socket", self.socket, "--messages", str(messages),
             "--format", "json", *map(str, arguments)],
            capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(f"broker bench failed: {run.stderr}")
        took = self.processor_seconds() - before
        return json.loads(run.stdout), took / messages * 1e9
