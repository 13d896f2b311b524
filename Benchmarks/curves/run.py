#!/usr/bin/python3
"""Scaling curves: what a message, a connection, a subscription costs as there are more of them.

    run.py CORE_BENCHMARK BROKER SHIM OUTPUT_DIRECTORY [--only NAME]

Writes results.json, README.md with the tables and one SVG chart for each curve. `make
bench-curves` builds what is needed and calls it. Times are processor time, of the thread in the
core's curves, of the broker's process in the others. With --only the other results stay.
"""
import argparse
import json
import math
import os
import pathlib
import platform
import re
import subprocess
import time

import chart
import live
from live import wire

IDLE = [10, 30, 100, 300, 1_000, 3_000, 10_000]
SIZES = [16, 64, 256, 1_024, 4_096, 16_384, 65_536]


def flat(points):
    return [(size, points[0][1]) for size, _ in points]


def logarithmic(points):
    first, cost = points[0]
    return [(size, cost * (1 + math.log10(size / first))) for size, _ in points]


def linear(points):
    (first, low), (last, high) = points[0], points[-1]
    return [(size, low + (high - low) * (size - first) / (last - first)) for size, _ in points]


def budget(points):
    return [(size, 60 + 15 * (size - 1)) for size, _ in points]


# What the design promises of each curve: in words, and as a line.
PROMISES = {
    "receivers": ("linear: 60 ns + 15 ns a further one", budget),
    "filters": ("logarithmic at worst", logarithmic),
    "filters, each topic new": ("logarithmic at worst", logarithmic),
    "rules": ("flat", flat),
    "rules, each topic new": ("flat", flat),
    "sessions": ("flat", flat),
    "topics": ("flat", flat),
    "message size": ("linear in the bytes", linear),
    "change of a filter": ("flat", flat),
    "change of rules": ("linear in the rules", linear),
    "change of rules, filters": ("linear in the filters", linear),
    "memory of a session": ("flat, at most 8 KiB", flat),
    "memory of a filter": ("flat", flat),
    "idle connections": ("flat", flat),
    "idle connections, heap": ("flat, at most 8 KiB", flat),
    "idle connections, resident": ("flat", flat),
    "subscriptions, heap": ("flat", flat),
    "subscribers": ("linear", linear),
    "packets and size": ("linear in the bytes", linear),
    "start-up": ("linear in the rules", linear),
}


def curve(name, axis, unit, points):
    return {"name": name, "axis": axis, "unit": unit,
            "points": [[size, round(cost, 2)] for size, cost in points]}


def best(measure, repeats=3):
    return min(measure() for _ in range(repeats))


# MARK: With a real broker


def idle_connections(program, shim):
    del shim
    points = []
    with live.Broker(program) as server:
        server.bench(300_000)
        for count in IDLE:
            server.hold(count)
            points.append((count, best(lambda: server.bench(400_000)[1])))
    yield curve("idle connections", "idle connections", "ns of the broker a message", points)


def idle_memory(program, shim):
    points, counts = [], [count for count in IDLE if count > 10]
    with live.Broker(program, shim=shim) as server:
        server.hold(10)
        time.sleep(0.5)  # what only starting took has been given back
        start, held = server.heap_bytes(), len(server.held)
        for count in counts:
            server.hold(count)
            points.append((count, (server.heap_bytes() - start) / (count - held)))
        yield curve("idle connections, heap", "idle connections", "bytes of heap a connection",
                    points)
        yield curve("subscriptions, heap", "subscriptions", "bytes of heap a subscription",
                    subscriptions(server))
    points = []
    with live.Broker(program) as server:
        server.hold(10)
        time.sleep(0.5)
        start, held = server.resident_bytes(), len(server.held)
        for count in counts:
            server.hold(count)
            points.append((count, (server.resident_bytes() - start) / (count - held)))
    yield curve("idle connections, resident", "idle connections",
                "bytes resident a connection", points)


def subscriptions(server):
    """Bytes of heap for each subscription of one filter of its own, on ten connections."""
    start, made, points = server.heap_bytes(), 0, []
    for total in (100, 1_000, 10_000):
        while made < total:
            client = server.held[1 + made % 10]
            client.send(wire.packet(wire.subscribe(made, b"curves/device-%d/+" % made)))
            client.recv(4_096)
            made += 1
        points.append((total, (server.heap_bytes() - start) / total))
    return points


def subscribers(program, shim):
    del shim
    points = []
    with live.Broker(program) as server:
        for count in (1, 2, 4, 8, 16, 32):
            messages = max(50_000, 400_000 // count)
            points.append((count, best(
                lambda: server.bench(messages, "--subscribers", count)[1], repeats=2)))
    yield curve("subscribers", "subscribing processes", "ns of the broker a message", points)


def packets_and_size(program, shim):
    del shim
    points = []
    with live.Broker(program) as server:
        for size in SIZES:
            messages = max(5_000, min(400_000, 400_000_000 // size // 4))
            points.append((size, best(
                lambda: server.bench(messages, "--size", size)[1], repeats=2)))
    yield curve("packets and size", "bytes of payload", "ns of the broker a message", points)


def start_up(program, shim):
    del shim
    rule = '[[rule]]\nname = "rule {0}"\nuid = [{0}]\nallow = ["publish"]\ntopics = ["t{0}/#"]\n'
    points = []
    for count in (1, 10, 100, 1_000, 10_000):
        rules = live.EVERYTHING + "".join(rule.format(n) for n in range(count - 1))

        def once():
            with live.Broker(program, rules) as server:
                return server.startup_seconds * 1_000
        points.append((count, best(once, repeats=5)))
    yield curve("start-up", "access rules", "ms until the first client is greeted", points)


def burst(program):
    """Memory before, during and after queues that are full: bytes."""
    with live.Broker(program) as server:
        publisher, slow = server.connect(), [server.connect() for _ in range(4)]
        for client in slow:
            client.send(wire.packet(wire.subscribe(1, b"burst/#")))
            client.recv(4_096)
        before = server.resident_bytes()
        message = wire.packet(*[wire.publish(0, b"burst/a", b"x" * 1_000) for _ in range(60)])
        for _ in range(400):
            publisher.send(message)
        during = max(wait_until_steady(server), before)
        for client in slow:
            drain(client)
        time.sleep(21)  # twice what the broker waits before it gives memory back
        after = server.resident_bytes()
        for client in [publisher, *slow]:
            client.close()
    return {"before": before, "queued": during, "after": after}


def wait_until_steady(server):
    latest = -1
    while latest != (now := server.resident_bytes()):
        latest = now
        time.sleep(0.3)
    return latest


def drain(client):
    client.settimeout(0.5)
    try:
        while client.recv(262_144):
            pass
    except TimeoutError:
        pass


LIVE = {
    "idle connections": idle_connections, "memory": idle_memory, "subscribers": subscribers,
    "packets and size": packets_and_size, "start-up": start_up,
}


# MARK: Writing


def machine():
    names = re.findall(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    swift = subprocess.run(["swift", "--version"], capture_output=True, text=True).stdout
    return {
        "processor": names[0] if names else platform.machine(), "cores": os.cpu_count(),
        "kernel": platform.release(), "architecture": platform.machine(),
        "swift": (re.findall(r"Swift version (\S+)", swift) or ["unknown"])[0],
        "date": time.strftime("%Y-%m-%d")}


def slug(name):
    return re.sub(r"[^a-z]+", "-", name) + ".svg"


def growth(points):
    """How much costlier the largest is, and the exponent that would make it so."""
    (first, low), (last, high) = points[0], points[-1]
    if low <= 0 or high <= 0 or first == last:
        return "–"
    exponent = math.log(high / low) / math.log(last / first)
    return f"× {high / low:.2f} over × {last / first:,.0f} (exponent {exponent:.2f})"


def table(item):
    promised = PROMISES[item["name"]][0]
    sizes = " | ".join(f"{size:,}" for size, _ in item["points"])
    costs = " | ".join(f"{cost:,.0f}" if cost >= 100 else f"{cost:.1f}"
                       for _, cost in item["points"])
    bars = "|".join("---" for _ in range(len(item["points"]) + 1))
    return (f"### {item['name']}\n\n"
            f"Promised: {promised}. Measured: {growth(item['points'])}.\n\n"
            f"| {item['axis']} | {sizes} |\n|{bars}|\n| {item['unit']} | {costs} |\n\n"
            f"![{item['name']}]({slug(item['name'])})\n")


def document(results):
    host, memory = results["machine"], results["burst"]
    lines = [
        "# Scaling curves", "",
        "Written by `make bench-curves`; [../README.md](../README.md) says how to read them.", "",
        f"{host['processor']}, {host['cores']} cores, Linux {host['kernel']}, Swift "
        f"{host['swift']}, {host['date']}.", "",
        "## The core alone", "",
        *[table(item) for item in results["core"]],
        "## The whole broker", "",
        *[table(item) for item in results["live"]]]
    if memory:
        lines += [
            "### memory after a burst", "",
            f"Four subscribers that do not read, 24,000 messages of 1,000 bytes: "
            f"{memory['before'] / 2**20:.1f} MiB resident before, "
            f"{memory['queued'] / 2**20:.1f} MiB with full queues, "
            f"{memory['after'] / 2**20:.1f} MiB 21 seconds after they were read.", ""]
    return "\n".join(lines)


def write(results, directory):
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.svg"):
        old.unlink()
    for item in results["core"] + results["live"]:
        words, line = PROMISES[item["name"]]
        points = [tuple(point) for point in item["points"]]
        (directory / slug(item["name"])).write_text(chart.chart(
            item["name"], points, line(points), item["axis"], item["unit"], words))
    (directory / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (directory / "README.md").write_text(document(results))


def renewed(curves, new):
    """The curves with those of the same names replaced."""
    names = [item["name"] for item in new]
    return [item for item in curves if item["name"] not in names] + new


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("core", "broker", "shim", "output"):
        parser.add_argument(name)
    parser.add_argument("--only", choices=["core", "burst", *LIVE], action="append")
    options = parser.parse_args()
    wanted = options.only or ["core", "burst", *LIVE]
    possible = live.connections_possible(max(IDLE))
    if possible < max(IDLE):
        print(f"only {possible:,} connections: the limit of descriptors allows no more")
        IDLE[:] = [count for count in IDLE if count < possible] + [possible]
    started = time.monotonic()
    output = pathlib.Path(options.output)
    results = {"core": [], "live": [], "burst": None}
    if options.only and (output / "results.json").exists():
        results = json.loads((output / "results.json").read_text())
    results["machine"] = machine()
    if "core" in wanted:
        results["core"] = json.loads(subprocess.run(
            [options.core, "--curves"], check=True, capture_output=True, text=True).stdout)
    for name in (name for name in LIVE if name in wanted):
        print(f"{time.monotonic() - started:4.0f} s  {name}", flush=True)
        results["live"] = renewed(results["live"], list(LIVE[name](options.broker, options.shim)))
    if "burst" in wanted:
        results["burst"] = burst(options.broker)
    write(results, output)
    print(f"written to {output} after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
