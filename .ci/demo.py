#!/usr/bin/env python3
"""Shows what a subscriber sees when real processes publish in several ways, and checks it against
what those processes say of themselves. Ends with status 1 if anything does not agree."""
import json, os, pathlib, queue, shutil, socket, subprocess, sys, tempfile, threading

from tamper import Tamper

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"
IS_ROOT = os.geteuid() == 0
wrong = 0


class Lines:
    """Lines of a running program, as they come."""

    def __init__(self, process):
        self.queue = queue.Queue()
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def _read(self, process):
        for line in process.stdout:
            self.queue.put(line.rstrip("\n"))

    def next(self):
        return self.queue.get(timeout=20)


class Stage:
    """A broker on a temporary socket, with one subscriber for people and one for the checks."""

    def __init__(self, broker):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="broker-demo-"))
        self.directory.chmod(0o755)
        self.socket = self.directory / "broker.sock"
        self.broker = shutil.copy(broker, self.directory / "broker")
        self.actors = shutil.copy(
            ROOT / "Tests/EndToEndTests/Actors/actors.py", self.directory)
        self.environment = dict(os.environ, BROKER_SOCKET=str(self.socket))
        self.processes = []
        self.serve("--no-acl")
        self.subscribers = [self.start("sub", "scene/#", "users/#"),
                            self.start("sub", "scene/#", "users/#", "--format", "json")]
        self.people, self.checks = map(Lines, self.subscribers)
        while self.status_subscriptions() < 2:
            pass

    def environment_for(self, socket):
        return self.environment | ({"BROKER_SOCKET": str(socket)} if socket else {})

    def start(self, *arguments, prefix=(), socket=None, **options):
        process = subprocess.Popen(
            [*prefix, str(self.broker), *arguments], text=True,
            env=self.environment_for(socket), stdout=subprocess.PIPE, **options)
        self.processes.append(process)
        return process

    def serve(self, *arguments, socket=None):
        self.server = self.start(
            "serve", "--log-level", "error", *arguments, socket=socket,
            stderr=subprocess.DEVNULL)
        for _ in range(400):
            if self.run("status", socket=socket).returncode == 0:
                return
            if self.server.poll() is not None:
                break
            threading.Event().wait(0.025)
        sys.exit("demo: the broker did not start")

    def run(self, *arguments, prefix=(), socket=None):
        return subprocess.run(
            [*prefix, str(self.broker), *arguments], text=True,
            env=self.environment_for(socket), capture_output=True, timeout=30)

    def status_subscriptions(self):
        status = json.loads(self.run("status", "--format", "json").stdout)
        return sum(len(session["subscriptions"]) for session in status["sessions"])

    def scene(self, title, name, *arguments):
        """Plays a scene of the actors and compares."""
        told = subprocess.run(
            [PYTHON, str(self.actors), str(self.socket), name, *arguments], text=True,
            capture_output=True, timeout=30)
        if told.returncode != 0:
            sys.exit(f"demo: scene {name} failed: {told.stderr}")
        truth = json.loads(told.stdout.splitlines()[0])
        self.compare(title, truth)

    def publish_as(self, uid):
        """An ordinary `broker pub`, run by another user."""
        process = self.start(
            "pub", f"users/{uid}", f"hello from {uid}",
            prefix=("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"))
        if process.wait(30) != 0:
            sys.exit(f"demo: publishing as uid {uid} failed")
        self.compare(
            f"`broker pub`, run by uid {uid}",
            {"pid": process.pid, "uid": uid, "gid": uid, "openerPID": process.pid,
             "openerUID": uid})

    def compare(self, title, truth, rest={}):
        """Truth is what the sender says; rest, what else must stand in the message."""
        global wrong
        line, message = self.people.next(), json.loads(self.checks.next())
        seen = {key: message["sender"][key] for key in ("pid", "uid", "gid")}
        seen |= {"openerPID": message["opener"]["pid"], "openerUID": message["opener"]["uid"]}
        delegated = truth["pid"] != truth["openerPID"] or truth["uid"] != truth["openerUID"]
        agrees = message["delegated"] == delegated and all(
            seen[key] == truth[key] for key in seen) and all(
            message[key] == rest[key] for key in rest)
        wrong += not agrees
        print(f"\n  {title}")
        print(f"    the sender says      I am pid {truth['pid']}, uid {truth['uid']}"
              + (f"; pid {truth['openerPID']}, uid {truth['openerUID']} opened the connection"
                 if delegated else ""))
        print(f"    the subscriber sees  {line}")
        print(f"    {'agrees' if agrees else 'WRONG: ' + json.dumps(message)}")

    def restart(self, *arguments):
        for process in [*self.subscribers, self.server]:
            process.terminate()
            process.wait(20)
        self.subscribers = []
        self.serve(*arguments)

    def attempt(self, title, status, *arguments):
        """A command of uid 1000, and the status it must end with."""
        global wrong
        tried = self.run(
            *arguments, prefix=("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"))
        wrong += tried.returncode != status
        print(f"\n  {title}")
        for line in (tried.stdout + tried.stderr).strip().splitlines():
            print(f"    {line}")
        print(f"    exit status {tried.returncode}")

    def refusal(self):
        """The same broker without --no-acl: closed to others by default."""
        self.restart()
        self.attempt("without --no-acl: `broker pub`, run by uid 1000", 77,
                     "pub", "users/1000", "let me in")

    def rules(self):
        """With access rules: one publish that is allowed, one that is refused, and why."""
        file = self.directory / "acl.toml"
        file.write_text("""version = 1

[[rule]]
name = "everybody reports for itself"
uid = "any"
allow = ["publish"]
topics = ["users/%u/#"]

[[rule]]
name = "nobody asks for money"
uid = "any"
deny = ["publish"]
topics = ["users/+/money"]
""")
        file.chmod(0o644)
        self.restart("--acl", str(file))
        self.attempt("with rules: uid 1000 publishes to users/1000/mood", 0,
                     "pub", "users/1000/mood", "fine", "--ack")
        self.attempt("the rule that decided: `broker acl check publish users/1000/mood`", 0,
                     "acl", "check", "publish", "users/1000/mood", "--acl", str(file))
        self.attempt("uid 1000 publishes to users/1000/money", 77,
                     "pub", "users/1000/money", "please", "--ack")
        self.attempt("uid 1000 publishes to users/1001/mood", 77,
                     "pub", "users/1001/mood", "sad", "--ack")

    def link_status(self, broker, link):
        shown = self.run("link", "status", link, "--format", "json", socket=self.sockets[broker])
        return json.loads(shown.stdout)[0] if shown.returncode == 0 else {}

    def wait_for(self, what, condition):
        for _ in range(800):
            if condition():
                return
            threading.Event().wait(0.025)
        sys.exit(f"demo: {what} did not happen")

    def serve_linked(self, name, peer, where, key):
        """A broker of its own with one link."""
        self.sockets[name] = self.directory / f"{name}.sock"
        config = self.directory / f"{name}.toml"
        config.write_text(f'[[link]]\nname = "{peer}"\n{where}\nkey = "{key}"\n')
        config.chmod(0o644)
        self.serve("--name", name, "--config", str(config), "--no-acl",
                   socket=self.sockets[name])

    def links(self):
        """Two brokers, one signed link, and somebody in between who alters a byte."""
        global wrong
        key = self.directory / "link.key"
        if self.run("link", "keygen", "edge", "--out", str(key)).returncode != 0:
            sys.exit("demo: no key was made")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.sockets, tamper = {}, Tamper(port)
        self.serve_linked("hub", "edge", f'listen = "tcp://127.0.0.1:{port}"', key)
        self.serve_linked("edge", "hub", f'connect = "tcp://127.0.0.1:{tamper.port}"', key)
        subscribers = [self.start("sub", "users/#", *format, socket=self.sockets["hub"])
                       for format in ((), ("--format", "json"))]
        self.people, self.checks = map(Lines, subscribers)
        self.wait_for("the link", lambda: "users/#" in self.link_status("edge", "hub").get(
            "filters", ()))
        self.publish_over_link("`broker pub` on the broker edge, `broker sub` on hub", "hello")
        tamper.alter_next_message()
        self.publish_over_link(
            "the same, and somebody in between alters a byte of it: the link ends, comes back, and"
            " the\n  message arrives once, as it was sent", "pay 10 to bob")
        link = self.link_status("hub", "edge")
        refused = link.get("faults", {}).get("tagMismatch", 0)
        agrees = tamper.altered.is_set() and refused == 1 and self.checks.queue.empty()
        wrong += not agrees
        print("\n  what `broker link status` on hub says of it")
        print(f"    last error           {link.get('lastError')}")
        print(f"    tampered envelopes   {refused} refused")
        print(f"    {'agrees' if agrees else 'WRONG: ' + json.dumps(link)}")
        tamper.close()

    def publish_over_link(self, title, text):
        uid = 1000 if IS_ROOT else os.getuid()
        gid = 1000 if IS_ROOT else os.getgid()
        prefix = (("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
                  if IS_ROOT else ())
        process = self.start("pub", f"users/{uid}", text, prefix=prefix,
                             socket=self.sockets["edge"])
        if process.wait(30) != 0:
            sys.exit(f"demo: publishing as uid {uid} failed")
        truth = {"pid": process.pid, "uid": uid, "gid": gid, "openerPID": process.pid,
                 "openerUID": uid}
        self.compare(title, truth, {"origin": "edge", "level": "remote", "payload": text})

    def close(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
            process.wait(20)
        shutil.rmtree(self.directory)


def main():
    stage = Stage(sys.argv[1])
    try:
        print("\ndemo: one broker, one subscriber; who sent each message?")
        stage.scene("a process publishes on its own connection", "same")
        stage.scene("a forked child publishes on its parent's connection", "forked")
        if IS_ROOT:
            stage.publish_as(1000)
            stage.publish_as(1001)
            stage.scene("root opens, a child drops to uid 1000 and publishes", "dropped", "1000")
            stage.scene("root opens, hands the descriptor to a process of uid 1001",
                        "handed", "1001")
            stage.refusal()
            stage.rules()
        else:
            print("\n  skipped, since only root can become other users: publishing as uid 1000"
                  " and 1001,\n  the dropped privilege, the handed-over descriptor, the refusal"
                  " (run `sudo make demo`)")
        print("\ndemo: two brokers and a signed link between them")
        stage.links()
    finally:
        stage.close()
    print(f"\ndemo: {'all of it agrees' if wrong == 0 else f'{wrong} did not agree'}")
    sys.exit(1 if wrong else 0)


main()
