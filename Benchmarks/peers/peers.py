#!/usr/bin/env python3
"""Our broker beside the ones a user would pick instead, with identical work in alternating rounds.

    peers.py --broker PROGRAM [--quick] [--only NAME]... [--peers NAME,...]

Needs gcc, and from Debian redis-server, nats-server, mosquitto and dbus; what is missing is left
out, and said so. README.md beside this file tells what is measured how, and why that is fair.
"""
import argparse
import contextlib
import fnmatch
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import report
from brokers import EVERY, Failure, Floor, Ours, warn
from measure import Measurement, Work

HERE = pathlib.Path(__file__).resolve().parent
SECONDS_MAX = 570
QUICK_SECONDS_MAX = 90

WORKS = [
    Work("one-to-one", "one to one", messages=2_000_000),
    Work("one-to-eight", "one to eight", subscribers=8, messages=500_000),
    Work("four-to-one", "four to one", publishers=4, messages=500_000),
    Work("single", "one message per system call", batch=1, messages=400_000),
    Work("round-trip", "round trip, one in flight", latency=True, messages=5_000,
         rounds=3),
    Work("round-trip-10k", "round trip, 10,000 a second", latency=True, rate=10_000,
         messages=5_000, rounds=3),
    Work("link", "one to one across a link", link=True, messages=1_000_000),
    Work("one-to-one-16", "one to one, 16 bytes", size=16, messages=2_000_000),
    Work("one-to-one-1024", "one to one, 1,024 bytes", size=1024, messages=1_000_000),
    Work("one-to-one-65536", "one to one, 65,536 bytes", size=65536, messages=30_000),
    Work("one-to-eight-16", "one to eight, 16 bytes", size=16, subscribers=8, messages=500_000),
    Work("one-to-eight-1024", "one to eight, 1,024 bytes", size=1024, subscribers=8,
         messages=200_000),
    Work("one-to-eight-65536", "one to eight, 65,536 bytes", size=65536, subscribers=8,
         messages=5_000),
    Work("four-to-one-16", "four to one, 16 bytes", size=16, publishers=4, messages=500_000),
    Work("four-to-one-1024", "four to one, 1,024 bytes", size=1024, publishers=4,
         messages=200_000),
    Work("four-to-one-65536", "four to one, 65,536 bytes", size=65536, publishers=4,
         messages=5_000),
]
# The part of the works that is done with --quick: all shapes, and one to one in all sizes.
QUICK = 10


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], epilog="works: " + " ".join(w.name for w in WORKS))
    parser.add_argument("--broker", required=True, help="our broker, a release build")
    parser.add_argument("--quick", action="store_true", help="about a minute")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="works by name, * allowed; repeatable")
    parser.add_argument("--peers", metavar="NAMES", help="brokers by name, with commas between")
    parser.add_argument("--rounds", type=int, help="default: 5, with --quick 2")
    parser.add_argument(
        "--scale", type=float, help="part of the messages; default: 1, with --quick 0.25")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--table", metavar="FILE", help="write the table there as well")
    parser.add_argument("--svg", metavar="FILE", help="write the chart there")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.scale = options.scale or (0.25 if options.quick else 1.0)
    options.seconds = QUICK_SECONDS_MAX if options.quick else SECONDS_MAX
    return options


def chosen_works(options):
    works = WORKS[:QUICK] if options.quick else WORKS
    if options.only:
        works = [w for w in WORKS if any(fnmatch.fnmatch(w.name, o) for o in options.only)]
    if not works:
        raise Failure(f"--only: no work has such a name; there are {[w.name for w in WORKS]}")
    return works


def chosen_brokers(options, folder):
    wanted = options.peers.split(",") if options.peers else [kind.name for kind in EVERY]
    unknown = set(wanted) - {kind.name for kind in EVERY}
    if unknown:
        raise Failure(f"--peers: no {', '.join(unknown)}; there are {[k.name for k in EVERY]}")
    brokers, left_out = [], []
    for kind in EVERY:
        if kind.name not in wanted:
            continue
        reason = kind.missing()
        if reason:
            left_out.append(f"{kind.name} is left out: {reason}")
            warn(f"peers: {left_out[-1]}")
        else:
            brokers.append(kind(folder))
    return brokers, left_out


def build(folder):
    """Builds the client and the relay in C, and returns the path of the client."""
    if not shutil.which("gcc"):
        raise Failure("gcc is not installed (apt-get install gcc libc6-dev)")
    flags = ["-D_GNU_SOURCE", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
    sources = HERE / "client"
    relay = sources / "relay.c"
    clients = [source for source in sorted(sources.glob("*.c")) if source != relay]
    for program, files in (("client", clients), ("relay", [relay])):
        subprocess.run(
            ["gcc", *flags, "-o", folder / program, *files, "-lpthread"], check=True)
    Floor.program = str(folder / "relay")
    return str(folder / "client")


@contextlib.contextmanager
def started(brokers, work):
    """The addresses of all that suit; they are ended afterwards."""
    try:
        addresses = {}
        for broker in brokers:
            if work.suits(broker):
                addresses[broker] = broker.start_link() if work.link else broker.start()
        if work.link:
            time.sleep(1)       # links come up after the brokers
        yield addresses
    finally:
        for broker in brokers:
            broker.stop()


def measure(work, brokers, measurement, rounds, deadline):
    """Results by the name of the broker, a list with one of each round."""
    results = {}
    with started(brokers, work) as addresses:
        present = list(addresses)
        for broker in present:
            results[broker.name] = []
            measurement.run(work, broker, addresses[broker], scale=0.1)
        for number in range(rounds * work.rounds):
            begin = time.monotonic()
            # Nobody is always the first, or always behind the same neighbour.
            turn = number % len(present)
            order = present[turn:] + present[:turn]
            for broker in order if number % 2 == 0 else reversed(order):
                result = measurement.run(work, broker, addresses[broker])
                results[broker.name].append(result)
                if not result.is_complete:
                    warn(f"peers: {work.name}: {broker.name} lost {result.lost},"
                         f" out of order {result.disordered}")
            now = time.monotonic()
            if now + (now - begin) > deadline:
                break
    return results


def sleep_exactly():
    """Clients on a schedule would sleep 50 microseconds too long: the kernel collects wake-ups.
    All processes started from here inherit this."""
    pathlib.Path("/proc/self/timerslack_ns").write_text("1")


def run(options, folder):
    client = build(folder)
    sleep_exactly()
    Ours.program = str(pathlib.Path(options.broker).resolve())
    works = chosen_works(options)
    brokers, left_out = chosen_brokers(options, folder)
    measurement = Measurement(folder, client, options.scale)
    begin = time.monotonic()
    outcome = []
    for index, work in enumerate(works):
        now = time.monotonic()
        left = options.seconds - (now - begin)
        results = measure(
            work, brokers, measurement, options.rounds, now + left / (len(works) - index))
        outcome.append((work, results))
        warn(f"peers: {time.monotonic() - begin:4.0f} s  {report.line(work, results)}")
    return report.Report(
        machine=report.machine(), versions={b.name: b.version() for b in brokers},
        outcome=outcome, left_out=left_out, seconds=time.monotonic() - begin,
        batches={name: batch[-1] for name, batch in measurement.library_batch.items()})


def end_in_order(*_):
    # Whoever ends us gets no brokers left behind.
    raise Failure("ended by a signal")


def main():
    options = arguments()
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in ending:
        signal.signal(number, end_in_order)
    # Brokers would inherit that these are held back, and not end when they are told to.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)
    try:
        with tempfile.TemporaryDirectory(prefix="broker-peers-") as folder:
            made = run(options, pathlib.Path(folder))
    except (Failure, subprocess.SubprocessError) as failure:
        warn(f"peers: {failure}")
        return 1
    print(made.table())
    for path, text in ((options.json, made.json), (options.table, made.table),
                       (options.svg, made.svg)):
        if path:
            pathlib.Path(path).write_text(text())
    return 0 if made.is_complete else 1


if __name__ == "__main__":
    sys.exit(main())
