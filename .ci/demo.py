#!/usr/bin/env python3
"""Shows what a subscriber sees when real processes publish in several ways, and checks it against
what those processes say of themselves. Ends with status 1 if anything does not agree."""
import json, os, pathlib, queue, shutil, subprocess, sys, tempfile, threading

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

    def start(self, *arguments, prefix=(), **options):
        process = subprocess.Popen(
            [*prefix, str(self.broker), *arguments], text=True, env=self.environment,
            stdout=subprocess.PIPE, **options)
        self.processes.append(process)
        return process

    def serve(self, *arguments):
        self.server = self.start(
            "serve", "--log-level", "error", *arguments, stderr=subprocess.DEVNULL)
        for _ in range(400):
            if self.run("status").returncode == 0:
                return
            if self.server.poll() is not None:
                break
            threading.Event().wait(0.025)
        sys.exit("demo: the broker did not start")

    def run(self, *arguments, prefix=()):
        return subprocess.run(
            [*prefix, str(self.broker), *arguments], text=True, env=self.environment,
            capture_output=True, timeout=30)

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

    def compare(self, title, truth):
        global wrong
        line, message = self.people.next(), json.loads(self.checks.next())
        seen = {key: message["sender"][key] for key in ("pid", "uid", "gid")}
        seen |= {"openerPID": message["opener"]["pid"], "openerUID": message["opener"]["uid"]}
        delegated = truth["pid"] != truth["openerPID"] or truth["uid"] != truth["openerUID"]
        agrees = message["delegated"] == delegated and all(
            seen[key] == truth[key] for key in seen)
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
    finally:
        stage.close()
    print(f"\ndemo: {'all of it agrees' if wrong == 0 else f'{wrong} did not agree'}")
    sys.exit(1 if wrong else 0)


main()
