"""The brokers that are compared: how each is started so that it is fast and loses nothing."""
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

START_SECONDS = 10


class Failure(Exception):
    """What went wrong, for whoever runs the comparison."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """One kind of broker. `start` brings up one of them, `start_link` two with a link between
    them; both return the addresses to publish to and to subscribe at: a path of a Unix socket, or
    a port on loopback as text."""

    name = ""
    protocol = ""       # of the client in C
    command = ""
    package = ""
    # Part of the messages of the others that it gets: the slow ones would take all the time.
    share = 1.0
    has_link = False

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / self.name
        self.folder.mkdir()
        self.processes = []

    @classmethod
    def missing(cls):
        """Why it cannot be measured here, or nothing."""
        if shutil.which(cls.command, path=cls.search_path()):
            return None
        return f"{cls.command} is not installed (apt-get install {cls.package})"

    @staticmethod
    def search_path():
        return "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"

    def executable(self):
        return shutil.which(self.command, path=self.search_path())

    def version(self):
        run = subprocess.run([self.executable(), "--version"], capture_output=True, text=True)
        return (run.stdout + run.stderr).strip().splitlines()[0]

    def launch(self, address, *arguments):
        """Starts a server and waits until it accepts connections at `address`."""
        log = self.folder / f"{len(self.processes)}.log"
        with open(log, "w") as output:
            process = subprocess.Popen(
                [self.executable(), *map(str, arguments)], cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.processes.append(process)
        end = time.monotonic() + START_SECONDS
        while not self.accepts(address):
            if process.poll() is not None or time.monotonic() > end:
                raise Failure(f"{self.command} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.02)
        return address

    def accepts(self, address):
        if address.startswith("/"):
            return pathlib.Path(address).is_socket()
        try:
            socket.create_connection(("127.0.0.1", int(address)), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    def path(self, name):
        return str(self.folder / name)

    def write(self, name, text):
        path = self.path(name)
        pathlib.Path(path).write_text(text)
        return path


class Redis(Broker):
    name, protocol = "redis", "redis"
    command, package = "redis-server", "redis-server"

    def start(self):
        address = self.path("sock")
        self.launch(
            address, "--port", "0", "--unixsocket", address, "--save", "", "--appendonly", "no",
            "--daemonize", "no", "--client-output-buffer-limit", "pubsub", "0", "0", "0")
        return address, address


class Nats(Broker):
    name, protocol = "nats", "nats"
    command, package = "nats-server", "nats-server"
    has_link = True
    LIMITS = 'max_pending: 1GB\nwrite_deadline: "60s"\nping_interval: "1h"\nmax_payload: 1MB\n'

    def server(self, name, more=""):
        port = free_port()
        text = f'server_name: "{name}"\nlisten: "127.0.0.1:{port}"\n{self.LIMITS}{more}'
        config = self.write(f"{name}.conf", text)
        return self.launch(str(port), "-c", config)

    def start(self):
        address = self.server("single")
        return address, address

    def start_link(self):
        port = free_port()
        hub = self.server("hub", f'leafnodes {{ listen: "127.0.0.1:{port}" }}\n')
        remote = f'{{ url: "nats://127.0.0.1:{port}" }}'
        return self.server("leaf", f"leafnodes {{ remotes: [ {remote} ] }}\n"), hub


class Mosquitto(Broker):
    name, protocol = "mosquitto", "mqtt"
    command, package = "mosquitto", "mosquitto"
    share = 0.1
    has_link = True
    LIMITS = (
        "allow_anonymous true\npersistence false\nmax_queued_messages 0\n"
        "max_inflight_messages 0\nset_tcp_nodelay true\nlog_type error\n")

    def version(self):
        run = subprocess.run([self.executable(), "-h"], capture_output=True, text=True)
        return run.stdout.splitlines()[0]

    def server(self, name, more=""):
        address = self.path(f"{name}.sock")
        user = "user root\n" if pathlib.Path("/proc/self").owner() == "root" else ""
        config = self.write(
            f"{name}.conf", f"listener 0 {address}\n{self.LIMITS}{user}{more}")
        return self.launch(address, "-c", config)

    def start(self):
        address = self.server("single")
        return address, address

    def start_link(self):
        port = free_port()
        far = self.server("far", f"listener {port} 127.0.0.1\n")
        bridge = (
            f"connection far\naddress 127.0.0.1:{port}\ntopic bench/# out 0\n"
            "cleansession true\nnotifications false\ntry_private true\n")
        return self.server("near", bridge), far


class DBus(Broker):
    name, protocol = "dbus", "dbus"
    command, package = "dbus-daemon", "dbus"
    share = 0.02
    CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
  <limit name="max_incoming_bytes">1000000000</limit>
  <limit name="max_outgoing_bytes">1000000000</limit>
</busconfig>
"""

    def start(self):
        address = self.path("sock")
        config = self.write("bus.conf", self.CONFIG % address)
        self.launch(address, f"--config-file={config}", "--nofork", "--nopidfile", "--nosyslog")
        return address, address


class Built(Broker):
    """Built from this tree instead of installed."""

    program = None      # set when it has been built

    @classmethod
    def missing(cls):
        return None

    def executable(self):
        return self.program


class Floor(Built):
    """The reference relay in C: no broker, but what no broker of this kind can do without."""

    name, protocol = "floor", "floor"

    def version(self):
        return "relay.c, see Benchmarks/peers/README.md"

    def start(self):
        address = self.path("sock")
        self.launch(address, address)
        return address, address


class FloorOf64(Floor):
    """The same with 64 frames in each packet."""

    name = "floor-64"


class Ours(Built):
    name = "broker"
    has_link = True

    def start(self):
        address = self.path("sock")
        self.launch(address, "serve", "--socket", address, "--no-acl", "--log-level", "error")
        return address, address

    def start_link(self):
        # `broker bench --via-link` starts both itself.
        return None, None


EVERY = [Ours, Redis, Nats, Mosquitto, DBus, Floor, FloorOf64]


def warn(text):
    print(text, file=sys.stderr, flush=True)
