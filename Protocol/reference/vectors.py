#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tries client.py against the vectors: vectors.py check ../vectors

Holds what a client does not need: the frames that clients send are decoded and those that brokers
send encoded here, and so are topic names and filters judged and matched.
"""
import json, pathlib, re, struct, sys

import client
from client import FROM_BROKER, LEVELS, OVERFLOW, REASONS, Layout, Malformed

NAMES = ("HELLO WELCOME PUBLISH REPLY SUBSCRIBE UNSUBSCRIBE SENDER DELIVER LOST PING PONG"
         " DISCONNECT STATUSREQUEST STATUS ENDED ADMINREQUEST ADMINREPLY").split()
TYPES = {name: code for code, name in enumerate(NAMES, 1)}
FROM_CLIENT = {
    client.HELLO: Layout("versionMin:H versionMax:H", "name"),
    client.PUBLISH: Layout("token:I", "topic", "payload", "acknowledge"),
    client.SUBSCRIBE: Layout("token:I subscription:I queueBytesMax:I overflow:B filterCount:B"
                             " uidRangeCount:B gidRangeCount:B", tail="tail"),
    client.UNSUBSCRIBE: Layout("token:I subscription:I"),
    client.STATUSREQUEST: Layout("token:I"),
    client.ADMINREQUEST: Layout("token:I", "command", "arguments"),
    **{type: FROM_BROKER[type] for type in (client.PING, client.PONG, client.DISCONNECT)}}
RECORD = [name for name in FROM_BROKER[client.SENDER].forms if name != "_"]


def code_of(names, name): return next(code for code in names if names[code] == name)


def topic_text(text, wildcards):
    """Section 4: checks a topic name or (wildcards) filter; ValueError says what is wrong.
    Bytes that are not UTF-8 are lone surrogates in text, as errors="surrogateescape" has it."""
    levels = text.split("/")
    if not 1 <= len(text.encode()) <= 1024 or len(levels) > 64: raise ValueError("length or levels")
    if re.search("[\0-\x1f\x7f-\x9f]", text): raise ValueError("a control character")
    for index, level in enumerate(levels):
        alone = wildcards and (level == "+" or level == "#" and index == len(levels) - 1)
        if ("+" in level or "#" in level) and not alone: raise ValueError("a misplaced + or #")
    if wildcards and text.startswith("$share/"): raise ValueError("$share/ is kept for later")


def matches(filter, topic):
    wanted, levels = filter.split("/"), topic.split("/")
    if wanted[0] in ("+", "#") and topic.startswith("$"): return False
    for index, level in enumerate(wanted):
        if level == "#": return True
        if index == len(levels) or level not in ("+", levels[index]): return False
    return len(wanted) == len(levels)


def name_text(text):
    if len(text.encode()) > 128: raise ValueError("more than 128 bytes")
    if re.search("[\0-\x1f\x7f-\x9f]", text): raise ValueError("a control character")


def filters_and_ranges(fields):
    """Puts what they mean in the place of counts and tail, whose fit is looked at first."""
    tail, filters = fields.pop("tail"), []
    counts = [fields.pop(f"{what}Count") for what in ("filter", "uidRange", "gidRange")]
    for _ in range(counts[0]):
        length = int.from_bytes(tail[:2], "little")
        if len(tail) < 2 + length: raise Malformed(0x81, "a filter is cut off")
        filters.append(tail[2:2 + length].decode(errors="surrogateescape"))
        tail = tail[2 + length:]
    if len(tail) != 8 * sum(counts[1:]): raise Malformed(0x81, "the ranges do not fill the tail")
    ranges = [list(pair) for pair in struct.iter_unpack("<II", tail)]
    fields.update(filters=filters, uidRanges=ranges[:counts[1]], gidRanges=ranges[counts[1]:])


def options_fault(fields):
    uids, gids = fields["uidRanges"], fields["gidRanges"]
    return (not 1 <= len(fields["filters"]) <= 32 or max(len(uids), len(gids)) > 32
            or fields["overflow"] > 2 or any(first > last for first, last in uids + gids))


def decode_from_client(type, layout, raw):
    def check(reason, rule, *arguments):
        try: rule(*arguments)
        except ValueError as fault: raise Malformed(reason, str(fault)) from None

    ill_formed = "replace" if type == client.DISCONNECT else "surrogateescape"
    fields = client.decode_frame(type, layout, raw, ill_formed)
    if type == client.HELLO: check(0xC5, name_text, fields["name"])
    if type == client.PUBLISH: check(0x90, topic_text, fields["topic"], False)
    if type == client.SUBSCRIBE:
        filters_and_ranges(fields)
        if options_fault(fields): raise Malformed(0xC6, "an option out of range")
        for text in fields["filters"]: check(0x8F, topic_text, text, True)
    return fields


def decode(data, way):
    """The frames of a packet as the vectors write them."""
    if way == "toClient": frames = client.decode_packet(data)
    else: frames = client.decode_packet(data, FROM_CLIENT, decode_from_client)
    return [written(type, fields) for type, fields in frames]


def written(type, fields):
    layout, result = {**FROM_BROKER, **FROM_CLIENT}[type], {"type": NAMES[type - 1]}
    for name, value in fields.items():
        wide = layout.forms.get(name) == "Q"
        if isinstance(value, bytes): value = value.hex()
        elif wide: value = str(value)
        elif name == "reason": value = REASONS[value]
        elif name == "request": value = NAMES[value - 1]
        elif name == "overflow": value = code_of(OVERFLOW, value)
        if name in RECORD: result.setdefault("sender", {})[name] = value
        else: result[name] = value
    return result


def encode(frames):
    return client.encode_packet([encode_frame(frame) for frame in frames])


def encode_frame(frame):
    """A frame as the vectors write it, encoded in the way of client.py."""
    type, values = TYPES[frame["type"]], {**frame, **frame.get("sender", {})}
    if type == client.SUBSCRIBE:
        fixed, lead, tail = client.subscribe_fields(
            *(frame[name] for name in ("subscription", "filters", "overflow", "uidRanges",
                                       "gidRanges", "queueBytesMax")))
        return client.encode_frame(type, struct.pack("<I", frame["token"]) + fixed, lead, tail)
    layout = {**FROM_BROKER, **FROM_CLIENT}[type]
    values.update(_=0, reason=frame.get("reason") and code_of(REASONS, frame["reason"]),
                  request=TYPES.get(frame.get("request")),
                  level=values.get("level") and code_of(LEVELS, values["level"]))
    fixed = layout.fixed.pack(*(int(values[name]) for name in layout.forms))
    lead = values[layout.lead].encode() if layout.lead else b""
    if type in (client.WELCOME, client.SENDER): tail = frame[layout.tail].encode()
    else: tail = bytes.fromhex(frame[layout.tail]) if layout.tail else b""
    return client.encode_frame(type, fixed, lead, tail, int(frame.get(layout.flag, False)))


def tried(directory):
    """The name of every vector and whether this implementation agrees with it."""
    def load(name): return json.loads((pathlib.Path(directory) / name).read_text())

    for vector in load("packets-valid.json")["packets"]:
        try: right = decode(bytes.fromhex(vector["hex"]), vector["way"]) == vector["frames"]
        except Malformed: right = False
        if vector["canonical"]: right = right and encode(vector["frames"]).hex() == vector["hex"]
        yield vector["name"], right
    for vector in load("packets-invalid.json")["packets"]:
        try: found = decode(bytes.fromhex(vector["hex"]), vector["way"])
        except Malformed as fault: found = (REASONS[fault.reason], fault.offset)
        yield vector["name"], found == (vector["reason"], vector["offset"])
    topics = load("topics.json")
    for kind in ("names", "filters"):
        for vector in topics[kind]:
            raw = bytes.fromhex(vector["hex"]) if "hex" in vector else vector["text"].encode()
            try: right = topic_text(raw.decode(), kind == "filters") is None
            except ValueError: right = False
            yield vector["why"], right == vector["valid"]
    for vector in topics["matches"]:
        right = matches(vector["filter"], vector["topic"]) == vector["matches"]
        yield f"{vector['filter']} on {vector['topic']}", right


def main():
    if len(sys.argv) != 3 or sys.argv[1] != "check":
        print(__doc__, file=sys.stderr)
        return 64
    results = list(tried(sys.argv[2]))
    failed = [name for name, right in results if not right]
    for name in failed: print("failed:", name)
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
