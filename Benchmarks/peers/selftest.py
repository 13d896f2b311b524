#!/usr/bin/env python3
"""Shows that the comparison would notice: a relay that loses, repeats or swaps messages, or cuts
them, is seen for what it is by the client that the other brokers are measured with."""
import json
import pathlib
import socket
import struct
import sys
import tempfile
import threading

from measure import Worker
from peers import build

MESSAGES, SIZE, ATTESTATION = 100, 32, bytes(64)


def frame(number, size=SIZE):
    payload = struct.pack("<QQ", 0, number) + bytes(size - 16)
    body = ATTESTATION + payload
    return struct.pack("<II", 8 + len(body), 2) + body


def serve(listener, frames):
    """Greets one subscriber and sends it these frames, a packet each."""
    connection, _ = listener.accept()
    connection.send(connection.recv(4096))
    try:
        for one in frames:
            connection.send(one)
    except (BrokenPipeError, ConnectionResetError):
        pass  # It has given up, and what it printed tells.
    return connection


def verdict(folder, client, frames):
    """What the client says of them: an answer, or nothing if it gives up."""
    path = folder / "relay.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        held = []
        thread = threading.Thread(target=lambda: held.append(serve(listener, frames)))
        thread.start()
        try:
            worker = Worker(
                client, "floor", "subscribe", path, "--messages", MESSAGES, "--size", SIZE,
                "--patience", 1, "--window-file", folder / "window")
            line = worker.process.stdout.readline()
            worker.end()
        finally:
            thread.join()
            held[0].close()
    return json.loads(line) if line else None


def main():
    good = [frame(number) for number in range(MESSAGES)]
    swapped = good[:40] + [good[41], good[40]] + good[42:]
    repeated = good[:40] + [good[39]] + good[40:-1]
    lost = good[:40] + good[41:]
    short = good[:40] + [frame(40, SIZE - 8)] + good[41:]
    cases = {
        "good": (good, (MESSAGES, 0)), "swapped": (swapped, (MESSAGES, 1)),
        "repeated": (repeated, (MESSAGES, 1)), "lost": (lost, (MESSAGES - 1, 0)),
        "short": (short, None)}
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="broker-peers-") as folder:
        client = build(pathlib.Path(folder))
        for name, (frames, expected) in cases.items():
            answer = verdict(pathlib.Path(folder), client, frames)
            seen = (answer["received"], answer["disordered"]) if answer else None
            print(f"{name}: {seen}, expected {expected}")
            wrong += seen != expected
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
