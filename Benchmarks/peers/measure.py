"""One measurement: the same work for every broker, by processes that count every message."""
import dataclasses
import json
import os
import pathlib
import select
import statistics
import subprocess
import time

from brokers import Failure, Floor, FloorOf64, Ours

# How far a publisher may be ahead of the slowest subscriber.
WINDOW_BYTES = 8 << 20
WINDOW_MESSAGES = 65536
ANSWER_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Work:
    """What is to be done, the same for all."""

    name: str
    title: str
    publishers: int = 1
    subscribers: int = 1
    size: int = 128         # bytes of payload
    batch: int = 0          # messages in a system call; 0: as many as the client likes
    messages: int = 0       # of each publisher
    latency: bool = False
    rate: int = 0           # messages a second; 0: one in flight
    link: bool = False
    rounds: int = 1         # so many times the rounds of the others

    def messages_for(self, broker, scale):
        # With large payloads, and one message in flight, the slow ones are not slow.
        share = 1 if self.latency or self.size > 1024 else broker.share
        return max(10, int(self.messages * share * scale))

    def suits(self, broker):
        if self.link:
            return broker.has_link
        if isinstance(broker, FloorOf64):
            return self.size == 128 and not self.latency and self.batch == 0 \
                and self.publishers == 1
        return True

    @property
    def window(self):
        return max(16, min(WINDOW_MESSAGES, WINDOW_BYTES // self.size))


@dataclasses.dataclass
class Result:
    """Deliveries a second, or microseconds; never both."""

    deliveries_per_second: float = 0
    p50: float = 0
    p99: float = 0
    p999: float = 0
    sent: int = 0
    lost: int = 0
    disordered: int = 0
    seconds: float = 0
    frames_per_packet: float = 0    # of ours, on the way in

    @property
    def is_complete(self):
        return self.lost == 0 and self.disordered == 0


class Measurement:
    """Runs work at brokers that have been started."""

    def __init__(self, folder, client, scale):
        self.folder = pathlib.Path(folder)
        self.client = client
        self.scale = scale
        # Frames in a packet of our client library, by the name of the work.
        self.library_batch = {}

    def run(self, work, broker, addresses, scale=1.0):
        messages = work.messages_for(broker, self.scale * scale)
        if isinstance(broker, Ours):
            result = self._run_ours(work, broker, addresses, messages)
            if result.frames_per_packet:
                self.library_batch.setdefault(work.name, []).append(result.frames_per_packet)
        elif work.latency:
            result = self._run_latency(work, broker, addresses, messages)
        else:
            result = self._run_throughput(work, broker, addresses, messages)
        return result

    def _run_ours(self, work, broker, addresses, messages):
        arguments = [
            "--publishers", work.publishers, "--subscribers", work.subscribers, "--size",
            work.size, "--batch", work.batch, "--messages", messages, "--format", "json"]
        if work.link:
            arguments += ["--via-link"]
        else:
            arguments += ["--socket", addresses[0]]
        if work.latency:
            arguments += ["--latency", "--rate", work.rate]
        before = None if work.link else self._counters(broker, addresses[0])
        process = subprocess.run(
            [broker.program, "bench", *map(str, arguments)], capture_output=True, text=True,
            timeout=ANSWER_SECONDS)
        if not process.stdout:
            raise Failure(f"broker bench: {process.stderr.strip()}")
        report = json.loads(process.stdout)
        result = Result(
            deliveries_per_second=report["deliveries_per_second"], sent=report["published"],
            lost=report["lost"], disordered=report["disordered"], seconds=report["seconds"])
        if work.latency:
            times = report["latency_microseconds"]
            result.p50, result.p99, result.p999 = times["p50"], times["p99"], times["p999"]
        if before:
            after = self._counters(broker, addresses[0])
            packets = after["packetsReceived"] - before["packetsReceived"]
            # A few packets greet, subscribe and ask for the status.
            result.frames_per_packet = messages * work.publishers / max(1, packets - 6)
        return result

    @staticmethod
    def _counters(broker, socket):
        process = subprocess.run(
            [broker.program, "status", "--socket", socket, "--format", "json"],
            capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True)
        return json.loads(process.stdout)["counters"]

    def _batch(self, work, broker):
        if isinstance(broker, FloorOf64):
            return 64
        if isinstance(broker, Floor) and work.batch == 0 and work.name in self.library_batch:
            return max(1, round(statistics.median(self.library_batch[work.name])))
        return work.batch

    def _run_latency(self, work, broker, addresses, messages):
        worker = Worker(
            self.client, broker.protocol, "latency", addresses[0], "--messages", messages,
            "--size", work.size, "--rate", work.rate)
        try:
            worker.go()
            answer = worker.answer()
        finally:
            worker.end()
        return Result(
            p50=answer["p50"], p99=answer["p99"], p999=answer["p999"], sent=messages,
            lost=messages - answer["received"], disordered=answer["disordered"])

    def _run_throughput(self, work, broker, addresses, messages):
        window = self.folder / "window"
        window.unlink(missing_ok=True)
        shared = [
            "--messages", messages, "--size", work.size, "--publishers", work.publishers,
            "--subscribers", work.subscribers, "--batch", self._batch(work, broker),
            "--window", work.window, "--window-file", window]
        workers = []

        def worker(role, address, *numbers):
            workers.append(
                Worker(self.client, broker.protocol, role, address, *shared, *numbers))
            return workers[-1]

        try:
            subscribers = [
                worker("subscribe", addresses[1], "--subscriber", number)
                for number in range(work.subscribers)]
            if work.link:
                time.sleep(0.5)     # what is subscribed at one has to reach the other
            publishers = [
                worker("publish", addresses[0], "--publisher", number)
                for number in range(work.publishers)]
            for publisher in publishers:
                publisher.go()
            received = [subscriber.answer() for subscriber in subscribers]
            expected = messages * work.publishers * work.subscribers
            lost = expected - sum(one["received"] for one in received)
            sent = [publisher.answer() for publisher in publishers] if lost == 0 else []
        finally:
            for one in workers:
                one.end()
        if lost:
            return Result(sent=expected, lost=lost)
        nanoseconds = max(one["end"] for one in received) - min(one["start"] for one in sent)
        return Result(
            deliveries_per_second=expected / nanoseconds * 1e9, sent=messages * work.publishers,
            disordered=sum(one["disordered"] for one in received), seconds=nanoseconds / 1e9)


class Worker:
    """A client in C: says `ready`, waits for a line, answers with one line of JSON."""

    def __init__(self, *arguments):
        self.arguments = list(map(str, arguments))
        self.process = subprocess.Popen(
            self.arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        if self._line() != b"ready\n":
            self._died()

    def go(self):
        try:
            os.write(self.process.stdin.fileno(), b"go\n")
        except BrokenPipeError:
            self._died()

    def answer(self):
        line = self._line()
        if not line:
            self._died()
        return json.loads(line)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def _line(self):
        ready, _, _ = select.select([self.process.stdout], [], [], ANSWER_SECONDS)
        return self.process.stdout.readline() if ready else b""

    def _died(self):
        self.process.kill()
        _, errors = self.process.communicate()
        words = " ".join(self.arguments[1:4])
        raise Failure(f"client {words}: {errors.decode().strip() or 'no answer'}")
