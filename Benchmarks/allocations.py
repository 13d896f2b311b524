#!/usr/bin/python3
"""Heap allocations per message of the whole broker and of both sides of the client library.

    allocations.py BROKER SHIM [--messages N] [--only SHAPE] [--limit N] [--format text|json]

Runs BROKER serve and BROKER bench with SHIM (`make` builds it from CMeasurement) in LD_PRELOAD.
Each figure is the difference between a run of N messages and one of 3 N, divided by the messages
between them: what is allocated once, to start, to connect, to grow a buffer, cancels out.
"""
import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent / "curves"))
import live  # noqa: E402

SHAPES = {
    "one to one": [],
    "one to eight": ["--subscribers", "8"],
    "four to one": ["--publishers", "4"],
    "one message a packet": ["--batch", "1"],
    "1,024 bytes": ["--size", "1024"],
}


def counted(directory):
    """Allocations of each process that keeps its counters there, by what it is."""
    sums = {}
    for file in directory.iterdir():
        data = file.read_bytes()
        words = data[16:].decode(errors="replace").split("\0")
        role = words[2] if words[1:2] == ["bench-worker"] else words[1]
        sums[role] = sums.get(role, 0) + struct.unpack("=Q", data[:8])[0]
    return sums


def bench(broker, socket, environment, shape, messages):
    """Allocations of the workers of one run, and messages that they published."""
    with tempfile.TemporaryDirectory() as name:
        report = subprocess.run(
            [broker, "bench", "--socket", socket, "--messages", str(messages),
             "--format", "json", *shape],
            env=environment | {"CMEASUREMENT_DIRECTORY": name}, check=True,
            capture_output=True, text=True).stdout
        json.loads(report)
        return counted(pathlib.Path(name))


def measure(broker, server, environment, name, messages):
    """Per message published: allocations of the broker, per publisher, per subscriber."""
    shape = SHAPES[name]
    publishers = int(shape[1]) if shape[:1] == ["--publishers"] else 1
    subscribers = int(shape[1]) if shape[:1] == ["--subscribers"] else 1
    bench(broker, server.socket, environment, shape, messages)  # what grows has grown
    runs = []
    for length in (messages, 3 * messages):
        before, _ = server.counters()
        workers = bench(broker, server.socket, environment, shape, length)
        runs.append((server.counters()[0] - before, workers))
    (few, few_workers), (many, many_workers) = runs
    more = 2 * messages * publishers
    side = {role: many_workers[role] - few_workers[role] for role in ("publish", "subscribe")}
    return {
        "shape": name, "broker": round((many - few) / more, 5),
        "publisher": round(side["publish"] / more, 5),
        "subscriber": round(side["subscribe"] / (more * subscribers), 5)}


def show(rows, format):
    if format == "json":
        print(json.dumps(rows, indent=2))
        return
    print(f"{'allocations a message':24}{'broker':>10}{'publisher':>12}{'subscriber':>12}")
    for row in rows:
        print(f"{row['shape']:24}{row['broker']:10.5f}{row['publisher']:12.5f}"
              f"{row['subscriber']:12.5f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("broker")
    parser.add_argument("shim")
    parser.add_argument("--messages", type=int, default=500_000)
    parser.add_argument("--only", action="append", choices=list(SHAPES))
    parser.add_argument("--limit", type=float,
                        help="fail if the broker allocates more often a message")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    options = parser.parse_args()
    with live.Broker(options.broker, shim=options.shim) as server:
        environment = os.environ | {"LD_PRELOAD": str(server.preload)}
        rows = [measure(options.broker, server, environment, shape, options.messages)
                for shape in options.only or SHAPES]
    show(rows, options.format)
    wrong = [row for row in rows if options.limit is not None and row["broker"] > options.limit]
    for row in wrong:
        print(f"the broker allocates {row['broker']} times a message ({row['shape']}), "
              f"at most {options.limit} is expected", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
