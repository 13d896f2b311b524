#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes ../vectors/*.json; with --check only tells whether they are up to date.

Packets are put together here byte by byte and their meaning is written down beside them, so that
the vectors do not depend on the codec of client.py which vectors.py tries against them.
"""
import json, pathlib, struct, sys

HELLO, WELCOME, PUBLISH, REPLY, SUBSCRIBE, UNSUBSCRIBE, SENDER, DELIVER = range(1, 9)
LOST, PING, PONG, DISCONNECT, STATUSREQUEST, STATUS, ENDED, ADMINREQUEST, ADMINREPLY = range(9, 18)
U32, U64 = 2**32 - 1, 2**64 - 1


def frame(type, fixed=b"", lead=b"", tail=b"", flags=0, length=None, lead_length=None):
    """One frame; length and lead_length are right unless given."""
    body = fixed + lead + tail
    return struct.pack("<IBBH", 8 + len(body) if length is None else length, type, flags,
                       len(lead) if lead_length is None else lead_length) + body


def packet(*frames, length=None, magic=b"\xC5\x00\xB7\x00"):
    body = b"".join(frames)
    return magic + struct.pack("<I", 8 + len(body) if length is None else length) + body


def record(pid=4711, uid=1000, gid=1000, opener_pid=4711, opener_uid=1000, opener_gid=1000,
           process=5001, opener_process=5001, time=1735689600123456789, level=1, flags=0,
           domain=1, reserved=0, domain_owner=U32):
    return struct.pack("<iIIiIIQQQBBBBI", pid, uid, gid, opener_pid, opener_uid, opener_gid,
                       process, opener_process, time, level, flags, domain, reserved, domain_owner)


def sender(pid=4711, uid=1000, gid=1000, opener_pid=4711, opener_uid=1000, opener_gid=1000,
           process=5001, opener_process=5001, time=1735689600123456789, level="kernel",
           delegated=False, domain=1, domain_owner=U32):
    return {"pid": pid, "uid": uid, "gid": gid, "openerPID": opener_pid, "openerUID": opener_uid,
            "openerGID": opener_gid, "process": str(process), "openerProcess": str(opener_process),
            "time": str(time), "level": level, "delegated": delegated, "domain": domain,
            "domainOwner": domain_owner}


def u32(*values): return struct.pack(f"<{len(values)}I", *values)


def deliver(sequence, subscription, topic=b"a", payload=b"", **more):
    return frame(DELIVER, struct.pack("<QI", sequence, subscription), topic, payload, **more)


def delivered(sequence, subscription, topic="a", payload=""):
    return {"type": "DELIVER", "sequence": str(sequence), "subscription": subscription,
            "topic": topic, "payload": payload}


def reply(token=1, count=1, sequence=0, reason=0, request=PUBLISH, text=b"", reserved=0, **more):
    return frame(REPLY, struct.pack("<IIQHBB", token, count, sequence, reason, request, reserved),
                 text, **more)


def replied(token=1, count=1, sequence=0, reason="success", request="PUBLISH", text=""):
    return {"type": "REPLY", "token": token, "count": count, "sequence": str(sequence),
            "reason": reason, "request": request, "text": text}


def subscribe(tail=None, filters=(b"a",), uids=(), gids=(), token=1, subscription=1, queue=0,
              overflow=0, counts=None, **more):
    if tail is None:
        tail = b"".join(struct.pack("<H", len(text)) + text for text in filters)
        tail += b"".join(u32(*pair) for pair in [*uids, *gids])
    counts = counts or (len(filters), len(uids), len(gids))
    return frame(SUBSCRIBE, struct.pack("<IIIBBBB", token, subscription, queue, overflow, *counts),
                 b"", tail, **more)


def subscribed(filters=("a",), uids=(), gids=(), token=1, subscription=1, queue=0,
               overflow="disconnect"):
    return {"type": "SUBSCRIBE", "token": token, "subscription": subscription,
            "queueBytesMax": queue, "overflow": overflow, "filters": list(filters),
            "uidRanges": [list(pair) for pair in uids], "gidRanges": [list(pair) for pair in gids]}


def hello(name=b"", low=1, high=1, **more):
    return frame(HELLO, struct.pack("<HH", low, high), name, **more)


def publish(topic=b"a", payload=b"", token=1, **more):
    return frame(PUBLISH, u32(token), topic, payload, **more)


def published(topic="a", payload="", token=1, acknowledge=False):
    return {"type": "PUBLISH", "token": token, "topic": topic, "payload": payload,
            "acknowledge": acknowledge}


def welcome(name=b"broker", version=b"1.0.0", numbers=(1, 1024, 262144, 262000, 16384, 16 << 20),
            session=1, instance=2, who=None, **more):
    return frame(WELCOME, struct.pack("<HHIIIIQQ", *numbers, session, instance) + (who or record()),
                 name, version, **more)


def welcomed(name="broker", version="1.0.0", numbers=(1, 1024, 262144, 262000, 16384, 16 << 20),
             session=1, instance=2, who=None):
    names = ("version", "topicBytesMax", "packetBytesMax", "messageBytesMax", "subscriptionsMax",
             "queueBytesMax")
    return {"type": "WELCOME", **dict(zip(names, numbers)), "session": str(session),
            "instance": str(instance), "sender": who or sender(), "brokerName": name,
            "brokerVersion": version}


def sent(origin=b"", user=b"", **fields): return frame(SENDER, record(**fields), origin, user)
def sent_by(origin="", user="", **fields): return {"type": "SENDER", "sender": sender(**fields),
                                                   "origin": origin, "user": user}
def number(type, value, **more): return frame(type, struct.pack("<Q", value), **more)
def lost(subscription, count): return frame(LOST, struct.pack("<IQ", subscription, count))


def disconnect(reason=0, text=b"", reserved=0, **more):
    return frame(DISCONNECT, struct.pack("<HH", reason, reserved), text, **more)


def status(token, fragment, flags=0, type=STATUS):
    return frame(type, u32(token), b"", fragment, flags)


def ended(subscription, reason=0x87, text=b"", reserved=0, **more):
    return frame(ENDED, struct.pack("<IHH", subscription, reason, reserved), text, **more)


def admin(token, command=b"", arguments=b"", **more):
    return frame(ADMINREQUEST, u32(token), command, arguments, **more)


REASONS = (
    (0x00, "success"), (0x10, "noMatchingSubscribers"), (0x80, "unspecifiedError"),
    (0x81, "malformedPacket"), (0x82, "protocolError"), (0x84, "unsupportedVersion"),
    (0x87, "notPermitted"), (0x8B, "serverShuttingDown"), (0x8D, "handshakeTimeout"),
    (0x8F, "topicFilterInvalid"), (0x90, "topicNameInvalid"), (0x95, "packetTooLarge"),
    (0x97, "quotaExceeded"), (0xC0, "identityUnknown"), (0xC1, "slowSubscriber"),
    (0xC2, "subscriptionUnknown"), (0xC3, "subscriptionInUse"), (0xC4, "frameUnknown"),
    (0xC5, "nameInvalid"), (0xC6, "optionInvalid"), (0xC7, "repliesUnread"))


def valid_packets():
    def add(way, name, raw, *frames, canonical=True):
        vectors.append({"name": name, "way": way, "canonical": canonical, "hex": raw.hex(),
                        "frames": list(frames)})

    def broker(*arguments, **more): add("toBroker", *arguments, **more)
    def client(*arguments, **more): add("toClient", *arguments, **more)
    vectors, odd = [], {"canonical": False}
    greeting = {"type": "HELLO", "versionMin": 1, "versionMax": 1, "name": ""}

    broker("HELLO without a name", packet(hello()), greeting)
    broker("HELLO with a name", packet(hello(b"thermometer")), {**greeting, "name": "thermometer"})
    broker("HELLO, name of 128 bytes", packet(hello(b"n" * 128)), {**greeting, "name": "n" * 128})
    broker("HELLO, name of 128 bytes in 64 characters", packet(hello("é".encode() * 64)),
           {**greeting, "name": "é" * 64})
    broker("HELLO, versions 1 to 65535", packet(hello(high=65535)),
           {**greeting, "versionMax": 65535})
    broker("HELLO, SUBSCRIBE and PUBLISH in one packet",
           packet(hello(b"x"), subscribe(), publish()),
           {**greeting, "name": "x"}, subscribed(), published())

    broker("PUBLISH, empty payload", packet(publish()), published())
    broker("PUBLISH, acknowledge", packet(publish(payload=b"21.5", flags=1)),
           published(payload="32312e35", acknowledge=True))
    broker("PUBLISH, payload of every byte value", packet(publish(payload=bytes(range(256)))),
           published(payload=bytes(range(256)).hex()))
    broker("PUBLISH, smallest token", packet(publish(token=0)), published(token=0))
    broker("PUBLISH, largest token", packet(publish(token=U32)), published(token=U32))
    broker("PUBLISH, topic of 1024 bytes", packet(publish(b"t" * 1024)), published("t" * 1024))
    broker("PUBLISH, topic of 64 levels", packet(publish(b"/" * 63)), published("/" * 63))
    broker("PUBLISH, topic with characters of 1 to 4 bytes",
           packet(publish("a/é/€/𝄞".encode())), published("a/é/€/𝄞"))
    broker("PUBLISH to the broker's own topics (refused, but well-formed)",
           packet(publish(b"$SYS/x")), published("$SYS/x"))
    broker("PUBLISH, payload that looks like a packet", packet(publish(payload=packet(publish()))),
           published(payload=packet(publish()).hex()))
    broker("PUBLISH, payload of 4096 bytes", packet(publish(payload=b"\xA5" * 4096)),
           published(payload="a5" * 4096))
    broker("PUBLISH, unknown flags 4 to 7 ignored", packet(publish(flags=0xF0)), published(), **odd)
    broker("PUBLISH, acknowledge and ignored flags", packet(publish(flags=0xF1)),
           published(acknowledge=True), **odd)
    broker("PUBLISH three times, with and without acknowledge",
           packet(publish(token=7), publish(b"b", b"\0", token=8, flags=1), publish(token=9)),
           published(token=7), published("b", "00", 8, True), published(token=9))
    broker("PUBLISH a hundred times",
           packet(*(publish(payload=b"%d" % i, token=i) for i in range(100))),
           *(published(payload=(b"%d" % i).hex(), token=i) for i in range(100)))

    for code, name in enumerate(("disconnect", "drop-oldest", "block")):
        broker(f"SUBSCRIBE, overflow {name}", packet(subscribe(overflow=code)),
               subscribed(overflow=name))
    broker("SUBSCRIBE, wildcards", packet(subscribe(filters=(b"#", b"+", b"a/+/#", b"$SYS/#"))),
           subscribed(("#", "+", "a/+/#", "$SYS/#")))
    broker("SUBSCRIBE, uid range of one id", packet(subscribe(uids=((0, 0),))),
           subscribed(uids=((0, 0),)))
    broker("SUBSCRIBE, largest uid and gid",
           packet(subscribe(uids=((U32 - 1, U32 - 1),), gids=((0, U32 - 1),))),
           subscribed(uids=((U32 - 1, U32 - 1),), gids=((0, U32 - 1),)))
    broker("SUBSCRIBE, gid range only", packet(subscribe(gids=((100, 200),))),
           subscribed(gids=((100, 200),)))
    many = dict(uids=[(i, i) for i in range(32)], gids=[(i, i + 9) for i in range(32)])
    broker("SUBSCRIBE, 32 filters, 32 uid and 32 gid ranges",
           packet(subscribe(filters=[b"f/%d" % i for i in range(32)], **many)),
           subscribed([f"f/{i}" for i in range(32)], **many))
    broker("SUBSCRIBE, filter of 1024 bytes", packet(subscribe(filters=(b"t" * 1024,))),
           subscribed(("t" * 1024,)))
    broker("SUBSCRIBE, the same filter twice", packet(subscribe(filters=(b"a", b"a"))),
           subscribed(("a", "a")))
    broker("SUBSCRIBE, largest token and subscription, 16 MiB queue",
           packet(subscribe(token=U32, subscription=U32, queue=16 << 20)),
           subscribed(token=U32, subscription=U32, queue=16 << 20))
    broker("SUBSCRIBE, subscription 0", packet(subscribe(subscription=0)),
           subscribed(subscription=0))
    broker("SUBSCRIBE, ignored flags", packet(subscribe(flags=0x80)), subscribed(), **odd)
    for token, subscription in ((1, 2), (U32, U32)):
        broker(f"UNSUBSCRIBE {subscription}", packet(frame(UNSUBSCRIBE, u32(token, subscription))),
               {"type": "UNSUBSCRIBE", "token": token, "subscription": subscription})
    broker("STATUSREQUEST", packet(frame(STATUSREQUEST, u32(3))),
           {"type": "STATUSREQUEST", "token": 3})
    broker("DISCONNECT without text", packet(disconnect()),
           {"type": "DISCONNECT", "reason": "success", "text": ""})
    broker("publish, ask, wait and leave in one packet",
           packet(publish(), frame(STATUSREQUEST, u32(2)), number(PING, 3), disconnect()),
           published(), {"type": "STATUSREQUEST", "token": 2}, {"type": "PING", "nonce": "3"},
           {"type": "DISCONNECT", "reason": "success", "text": ""})
    for way in ("toBroker", "toClient"):
        for nonce in (0, 1, 2**53 + 1, U64):
            add(way, f"PING {nonce} {way}", packet(number(PING, nonce)),
                {"type": "PING", "nonce": str(nonce)})
        add(way, f"PONG, largest nonce {way}", packet(number(PONG, U64)),
            {"type": "PONG", "nonce": str(U64)})
        add(way, f"PING, all ignored flags {way}", packet(number(PING, 1, flags=0xF0)),
            {"type": "PING", "nonce": "1"}, **odd)
        add(way, f"DISCONNECT with text {way}",
            packet(disconnect(0x81, "frame 2: Länge".encode())),
            {"type": "DISCONNECT", "reason": "malformedPacket", "text": "frame 2: Länge"})
        add(way, f"DISCONNECT, reserved bytes not 0 {way}", packet(disconnect(0, reserved=0xFFFF)),
            {"type": "DISCONNECT", "reason": "success", "text": ""}, **odd)
        for code in (0x80, 0xFF):
            add(way, f"unknown frame type {code:#x} ignored {way}",
                packet(number(PING, 1), frame(code, b"whatever"), number(PING, 2)),
                {"type": "PING", "nonce": "1"}, {"type": "PING", "nonce": "2"}, **odd)
        add(way, f"nothing but an unknown frame to ignore {way}", packet(frame(0x80)), **odd)
        add(way, f"frame to ignore with every flag {way}",
            packet(frame(0x80, flags=0xFF), number(PING, 1)), {"type": "PING", "nonce": "1"}, **odd)
        add(way, f"frame to ignore whose lead reaches beyond it {way}",
            packet(frame(0x9C, b"abc", lead_length=65535), number(PING, 1)),
            {"type": "PING", "nonce": "1"}, **odd)
        last = {"type": "DISCONNECT", "reason": "success", "text": ""}
        for name, raw in (("PING", number(PING, 1)), ("frame of unknown type", frame(0x7F)),
                          ("frame of length 0", frame(PING, bytes(8), length=0)),
                          ("frame longer than the packet", number(PING, 1, length=17)),
                          ("frame with unknown flags", number(PING, 1, flags=15))):
            add(way, f"DISCONNECT, a {name} behind it not looked at {way}",
                packet(disconnect(), raw), last, **odd)

    client("WELCOME", packet(welcome()), welcomed())
    client("WELCOME, without names", packet(welcome(b"", b"")), welcomed("", ""))
    client("WELCOME, largest session and instance, smaller limits",
           packet(welcome(numbers=(1, 1024, 4096, 3000, 1, 1), session=U64, instance=U64)),
           welcomed(numbers=(1, 1024, 4096, 3000, 1, 1), session=U64, instance=U64))
    client("WELCOME to root (claimable)", packet(welcome(who=record(uid=0, level=2))),
           welcomed(who=sender(uid=0, level="claimable")))
    client("REPLY to PUBLISH", packet(reply(sequence=77)), replied(sequence=77))
    client("REPLY to a thousand publishes", packet(reply(5, 1000, 2**53 + 1)),
           replied(5, 1000, 2**53 + 1))
    client("REPLY across the end of the token range", packet(reply(U32, 2, U64 - 1)),
           replied(U32, 2, U64 - 1))
    client("REPLY, largest count", packet(reply(0, U32, 0, 0x97, PUBLISH, b"rate")),
           replied(0, U32, 0, "quotaExceeded", "PUBLISH", "rate"))
    for code, name in ((SUBSCRIBE, "SUBSCRIBE"), (UNSUBSCRIBE, "UNSUBSCRIBE"),
                       (STATUSREQUEST, "STATUSREQUEST")):
        client(f"REPLY to {name}", packet(reply(request=code)), replied(request=name))
    for code, name in REASONS:
        client(f"REPLY, reason {name}", packet(reply(reason=code, text=b"why")),
               replied(reason=name, text="why"))
    for code, name in ((0x01, "success"), (0x7F, "success"), (0x83, "unspecifiedError"),
                       (0xFF, "unspecifiedError"), (0x100, "unspecifiedError"),
                       (0xFFFF, "unspecifiedError")):
        client(f"REPLY, unknown reason {code:#x} counts as {name}", packet(reply(reason=code)),
               replied(reason=name), **odd)
    client("REPLY, reserved byte not 0", packet(reply(reserved=255)), replied(), **odd)
    client("REPLY, text beyond ASCII",
           packet(reply(reason=0x87, text="uid 1000 … «x»".encode())),
           replied(reason="notPermitted", text="uid 1000 … «x»"))
    client("REPLY twice, then PONG", packet(reply(1), reply(2, reason=0x10), number(PONG, 9)),
           replied(1), replied(2, reason="noMatchingSubscribers"), {"type": "PONG", "nonce": "9"})

    client("SENDER and DELIVER", packet(sent(), deliver(1, 1, b"a/b", b"hi")),
           sent_by(), delivered(1, 1, "a/b", "6869"))
    client("DELIVER, empty payload, largest numbers", packet(sent(), deliver(U64, U32)),
           sent_by(), delivered(U64, U32))
    client("DELIVER three times behind one SENDER",
           packet(sent(), deliver(1, 1), deliver(1, 2), deliver(5, 1)),
           sent_by(), delivered(1, 1), delivered(1, 2), delivered(5, 1))
    client("two SENDERs in one packet",
           packet(sent(), deliver(1, 1), sent(uid=0, level=2), deliver(2, 1)),
           sent_by(), delivered(1, 1), sent_by(uid=0, level="claimable"), delivered(2, 1))
    client("LOST, PING, REPLY and an ignored frame between SENDER and DELIVER",
           packet(sent(), lost(1, 3), number(PING, 1), reply(), frame(0x90, b"?"), deliver(9, 1)),
           sent_by(), {"type": "LOST", "subscription": 1, "count": "3"},
           {"type": "PING", "nonce": "1"}, replied(), delivered(9, 1), **odd)
    client("DELIVER of a topic of the broker's own",
           packet(sent(uid=0, gid=0), deliver(1, 1, b"$SYS/broker/version", b"1.0.0")),
           sent_by(uid=0, gid=0), delivered(1, 1, "$SYS/broker/version", b"1.0.0".hex()))
    client("DELIVER, topic of 1024 bytes", packet(sent(), deliver(1, 1, b"t" * 1024)),
           sent_by(), delivered(1, 1, "t" * 1024))
    for name, fields in (
            ("largest uid and gid", dict(uid=U32 - 1, gid=U32 - 1, opener_uid=U32 - 1,
                                         opener_gid=U32 - 1)),
            ("largest pid", dict(pid=2**31 - 1, opener_pid=2**31 - 1)),
            ("pid 0, outside of the broker's pid namespace", dict(pid=0, opener_pid=0)),
            ("ids that are not mapped", dict(uid=65534, gid=65534)),
            ("process not known", dict(process=0, opener_process=0)),
            ("largest process and time", dict(process=U64, opener_process=U64, time=U64)),
            ("time 0", dict(time=0)),
            ("domain not known", dict(domain=0)),
            ("domain of another namespace owned by uid 1000", dict(domain=2, domain_owner=1000)),
            ("domain owned by the largest uid", dict(domain=2, domain_owner=U32 - 1))):
        client(f"SENDER, {name}", packet(sent(**fields), deliver(1, 1)),
               sent_by(**fields), delivered(1, 1))
    for code, level in ((1, "kernel"), (2, "claimable"), (3, "remote"), (4, "unknown")):
        client(f"SENDER, level {level}", packet(sent(level=code), deliver(1, 1)),
               sent_by(level=level), delivered(1, 1))
    for code in (0, 5, 255):
        client(f"SENDER, unknown level {code} counts as unknown",
               packet(sent(level=code), deliver(1, 1)),
               sent_by(level="unknown"), delivered(1, 1), **odd)
    for code in (3, 255):
        client(f"SENDER, unknown domain {code} counts as 0",
               packet(sent(domain=code), deliver(1, 1)), sent_by(domain=0), delivered(1, 1), **odd)
    client("SENDER, delegated", packet(sent(uid=1001, pid=12, flags=1), deliver(1, 1)),
           sent_by(uid=1001, pid=12, delegated=True), delivered(1, 1))
    for bit in range(1, 8):
        client(f"SENDER, bit {bit} of the record's flags ignored",
               packet(sent(flags=1 << bit), deliver(1, 1)), sent_by(), delivered(1, 1), **odd)
    client("SENDER, delegated and all ignored flags", packet(sent(flags=0xFF), deliver(1, 1)),
           sent_by(delegated=True), delivered(1, 1), **odd)
    client("WELCOME, flags of the record ignored", packet(welcome(who=record(flags=0x0E))),
           welcomed(), **odd)
    client("SENDER, reserved byte of the record not 0", packet(sent(reserved=7), deliver(1, 1)),
           sent_by(), delivered(1, 1), **odd)
    client("SENDER, with an origin", packet(sent(b"harbour", level=3), deliver(1, 1)),
           sent_by("harbour", level="remote"), delivered(1, 1))
    client("SENDER, with an origin and a name for the sender",
           packet(sent(b"harbour", "Jürgen".encode(), level=3), deliver(1, 1)),
           sent_by("harbour", "Jürgen", level="remote"), delivered(1, 1))
    client("LOST", packet(lost(4, 1)), {"type": "LOST", "subscription": 4, "count": "1"})
    client("LOST, largest numbers", packet(lost(U32, U64)),
           {"type": "LOST", "subscription": U32, "count": str(U64)})
    client("STATUS in one frame", packet(status(3, b"{}")),
           {"type": "STATUS", "token": 3, "fragment": "7b7d", "more": False})
    client("STATUS in two frames, cut within a character",
           packet(status(3, b'{"a":"\xC3', 1), status(3, b'\xA9"}')),
           {"type": "STATUS", "token": 3, "fragment": b'{"a":"\xC3'.hex(), "more": True},
           {"type": "STATUS", "token": 3, "fragment": b'\xA9"}'.hex(), "more": False})
    client("ENDED", packet(ended(4, text=b"uid 1000 may not")),
           {"type": "ENDED", "subscription": 4, "reason": "notPermitted",
            "text": "uid 1000 may not"})
    client("ENDED, reserved bytes not 0", packet(ended(U32, reserved=7)),
           {"type": "ENDED", "subscription": U32, "reason": "notPermitted", "text": ""}, **odd)
    broker("ADMINREQUEST", packet(admin(3, b"acl.recent", b'{"since":1}')),
           {"type": "ADMINREQUEST", "token": 3, "command": "acl.recent",
            "arguments": b'{"since":1}'.hex()})
    broker("ADMINREQUEST, nothing said", packet(admin(U32)),
           {"type": "ADMINREQUEST", "token": U32, "command": "", "arguments": ""})
    client("ADMINREPLY in two frames",
           packet(status(3, b"{", 1, ADMINREPLY), status(3, b"}", 0, ADMINREPLY)),
           {"type": "ADMINREPLY", "token": 3, "fragment": "7b", "more": True},
           {"type": "ADMINREPLY", "token": 3, "fragment": "7d", "more": False})
    client("STATUS, more and ignored flags", packet(status(3, b"{", 0xF1)),
           {"type": "STATUS", "token": 3, "fragment": "7b", "more": True}, **odd)
    for way in ("toBroker", "toClient"):
        add(way, f"DISCONNECT, text not UTF-8 {way}", packet(disconnect(0, b"a\xFFb")),
            {"type": "DISCONNECT", "reason": "success", "text": "a\ufffdb"}, **odd)
    client("WELCOME, names not UTF-8", packet(welcome(b"\xFFx", b"1.\xC3")),
           welcomed("\ufffdx", "1.\ufffd"), **odd)
    client("REPLY, text not UTF-8", packet(reply(text=b"\xFF")), replied(text="\ufffd"), **odd)
    client("SENDER, origin not UTF-8", packet(sent(b"x\xFF", level=3), deliver(1, 1)),
           sent_by("x\ufffd", level="remote"), delivered(1, 1), **odd)
    client("SENDER, name not UTF-8", packet(sent(b"x", b"\xFFy", level=3), deliver(1, 1)),
           sent_by("x", "\ufffdy", level="remote"), delivered(1, 1), **odd)
    for code, name in REASONS:
        client(f"DISCONNECT, reason {name}", packet(disconnect(code)),
               {"type": "DISCONNECT", "reason": name, "text": ""})
    return vectors


def invalid_packets():
    def add(way, name, raw, offset=8, reason="malformedPacket"):
        vectors.append({"name": name, "way": way, "hex": raw.hex(), "reason": reason,
                        "offset": offset})

    def broker(*arguments, **more): add("toBroker", *arguments, **more)
    def client(*arguments, **more): add("toClient", *arguments, **more)
    vectors, good = [], packet(publish())

    broker("one byte", good[:1], 0)
    broker("the magic alone", good[:4], 0)
    broker("seven bytes of header", good[:7], 0)
    broker("no frame", packet(), 0)
    broker("text that a program printed", b"hello, world\n", 0)
    broker("magic all 0", packet(publish(), magic=bytes(4)), 0)
    broker("magic in the other byte order", packet(publish(), magic=b"\x00\xB7\x00\xC5"), 0)
    for at in range(4):
        magic = bytes(byte ^ (1 << at if i == at else 0) for i, byte in enumerate(good[:4]))
        broker(f"magic, one bit of byte {at} wrong", packet(publish(), magic=magic), 0)
    for name, length in (("0", 0), ("8", 8), ("one too small", len(good) - 1), ("one too large",
                         len(good) + 1), ("without the header", len(good) - 8), ("largest", U32),
                         ("big-endian", struct.unpack("<I", struct.pack(">I", len(good)))[0])):
        broker(f"packet length {name}", packet(publish(), length=length), 0)
    broker("last byte of the packet missing", good[:-1], 0)
    broker("a byte behind the packet", good + b"\0", 0)

    for length in (0, 1, 7):
        broker(f"frame length {length}", packet(publish(length=length)))
    broker("frame one byte longer than the packet", packet(number(PING, 1, length=17)))
    broker("frame longer than the packet by far", packet(number(PING, 1, length=U32)))
    broker("second frame longer than the packet",
           packet(number(PING, 1), number(PING, 2, length=17)), 24)
    broker("frame length 0 in the second frame", packet(number(PING, 1), publish(length=0)), 24)
    for size in (1, 4, 7):
        broker(f"{size} bytes behind the last frame", packet(number(PING, 1), bytes(size)), 24)
    broker("ignorable frame longer than the packet", packet(frame(0x80, b"x", length=10)))
    broker("ignorable frame of length 7", packet(frame(0x80, length=7)))

    broker("lead reaches beyond the frame", packet(publish(lead_length=2)))
    broker("lead reaches into the next frame",
           packet(publish(lead_length=3), number(PING, 1)))
    broker("lead length 65535 in a short frame", packet(publish(lead_length=65535)))
    broker("HELLO, lead reaches beyond the frame", packet(hello(b"abc", lead_length=4)))
    client("REPLY, lead reaches beyond the frame", packet(reply(text=b"abc", lead_length=4)))

    whole = (("toBroker", "HELLO", hello()), ("toClient", "WELCOME", welcome(b"", b"")),
             ("toBroker", "PUBLISH", publish(b"")), ("toClient", "REPLY", reply()),
             ("toBroker", "SUBSCRIBE", subscribe(b"")),
             ("toBroker", "UNSUBSCRIBE", frame(UNSUBSCRIBE, u32(1, 2))),
             ("toClient", "SENDER", sent()), ("toClient", "LOST", lost(1, 1)),
             ("toBroker", "PING", number(PING, 1)), ("toClient", "PONG", number(PONG, 1)),
             ("toBroker", "DISCONNECT", disconnect()),
             ("toBroker", "STATUSREQUEST", frame(STATUSREQUEST, u32(1))),
             ("toClient", "STATUS", status(1, b"")), ("toClient", "ENDED", ended(1)),
             ("toBroker", "ADMINREQUEST", admin(1)),
             ("toClient", "ADMINREPLY", status(1, b"", 0, ADMINREPLY)))
    for way, name, raw in whole:
        add(way, f"{name}, one byte short of its fixed fields",
            packet(struct.pack("<I", len(raw) - 1) + raw[4:-1]))
        add(way, f"{name}, header only", packet(struct.pack("<I", 8) + raw[4:8]))
    client("DELIVER, one byte short of its fixed fields",
           packet(sent(), frame(DELIVER, bytes(11))), 72)

    for way, name, raw in whole:
        if name in ("HELLO", "REPLY", "UNSUBSCRIBE", "LOST", "PING", "PONG", "DISCONNECT",
                    "STATUSREQUEST", "ENDED"):
            add(way, f"{name}, a byte left over",
                packet(struct.pack("<I", len(raw) + 1) + raw[4:] + b"x"))
        if name in ("SUBSCRIBE", "UNSUBSCRIBE", "LOST", "PING", "PONG", "STATUSREQUEST", "STATUS",
                    "ADMINREPLY"):
            add(way, f"{name}, a lead where there is none", packet(
                struct.pack("<IBBH", len(raw) + 1, *raw[4:6], 1) + raw[8:] + b"x"))
    for way, type, name, raw in (
            ("toBroker", HELLO, "HELLO", hello(flags=1)),
            ("toClient", WELCOME, "WELCOME", welcome(flags=1)),
            ("toBroker", PUBLISH, "PUBLISH", publish(flags=2)),
            ("toClient", REPLY, "REPLY", reply(flags=1)),
            ("toBroker", SUBSCRIBE, "SUBSCRIBE", subscribe(flags=1)),
            ("toBroker", UNSUBSCRIBE, "UNSUBSCRIBE", frame(UNSUBSCRIBE, u32(1, 2), flags=1)),
            ("toClient", SENDER, "SENDER", frame(SENDER, record(), flags=1)),
            ("toClient", LOST, "LOST", frame(LOST, bytes(12), flags=8)),
            ("toBroker", PING, "PING", number(PING, 1, flags=1)),
            ("toClient", PONG, "PONG", number(PONG, 1, flags=8)),
            ("toBroker", DISCONNECT, "DISCONNECT", disconnect(flags=1)),
            ("toBroker", STATUSREQUEST, "STATUSREQUEST", frame(STATUSREQUEST, u32(1), flags=1)),
            ("toClient", STATUS, "STATUS", status(1, b"{}", 2)),
            ("toClient", ENDED, "ENDED", ended(1, flags=1)),
            ("toBroker", ADMINREQUEST, "ADMINREQUEST", admin(1, flags=1)),
            ("toClient", ADMINREPLY, "ADMINREPLY", status(1, b"{}", 2, ADMINREPLY))):
        add(way, f"{name}, unknown flag that may not be ignored", packet(raw))
    for flags in (3, 4, 8, 0xFF):
        broker(f"PUBLISH, flags {flags:#x}", packet(publish(flags=flags)))
    client("DELIVER, unknown flag that may not be ignored",
           packet(sent(), deliver(1, 1, flags=1)), 72)

    for code in (0x00, 0x12, 0x20, 0x7F):
        for way in ("toBroker", "toClient"):
            add(way, f"unknown frame type {code:#x} {way}", packet(number(PING, 1), frame(code)),
                24, "frameUnknown")
    for name, raw in (("WELCOME", welcome()), ("REPLY", reply()), ("SENDER", sent()),
                      ("LOST", lost(1, 1)), ("STATUS", status(1, b"{}")), ("ENDED", ended(1)),
                      ("ADMINREPLY", status(1, b"{}", 0, ADMINREPLY))):
        broker(f"{name} from a client", packet(raw), reason="protocolError")
    for name, raw in (("HELLO", hello()), ("PUBLISH", publish()), ("SUBSCRIBE", subscribe()),
                      ("UNSUBSCRIBE", frame(UNSUBSCRIBE, u32(1, 2))),
                      ("STATUSREQUEST", frame(STATUSREQUEST, u32(1))),
                      ("ADMINREQUEST", admin(1))):
        client(f"{name} from the broker", packet(number(PING, 1), raw), 24, "protocolError")

    tail = struct.pack("<H", 1) + b"a" + u32(1, 2, 3, 4)
    counts = (1, 1, 1)
    for name, rest, numbers in (
            ("tail empty", b"", counts), ("filter count 2 with one filter", tail[:3], (2, 0, 0)),
            ("filter count 1 with two filters", tail[:3] * 2, (1, 0, 0)),
            ("half of a filter length", b"\1", (1, 0, 0)),
            ("filter length without a filter", b"\1\0", (1, 0, 0)),
            ("filter longer than the tail", b"\3\0ab", (1, 0, 0)),
            ("filter length 65535", b"\xFF\xFFa", (1, 0, 0)),
            ("second filter longer than the tail", tail[:3] + b"\2\0b", (2, 0, 0)),
            ("filter length big-endian", b"\0\1a", (1, 0, 0)),
            ("no ranges where two are announced", tail[:3], counts),
            ("gid range missing", tail[:11], counts), ("uid range missing", tail[:3], (1, 1, 0)),
            ("last byte of the last range missing", tail[:-1], counts),
            ("half a range", tail[:7], (1, 1, 0)), ("a byte left over", tail + b"\0", counts),
            ("a range left over", tail + u32(5, 6), counts),
            ("ranges where none are announced", tail, (1, 0, 0)),
            ("no filter announced, one there", tail[:3], (0, 0, 0)),
            ("33 filters announced, one there", tail[:3], (33, 0, 0)),
            ("33 uid ranges announced, none there", tail[:3], (1, 33, 0)),
            ("255 of each announced, empty tail", b"", (255, 255, 255))):
        broker(f"SUBSCRIBE, {name}", packet(subscribe(rest, counts=numbers)))
    for name, raw in (
            ("no filter", subscribe(filters=())), ("255 filters", subscribe(filters=[b"a"] * 255)),
            ("no filter, but ranges", subscribe(filters=(), uids=((1, 2),), gids=((1, 2),))),
            ("33 filters", subscribe(filters=[b"a"] * 33)),
            ("33 uid ranges", subscribe(uids=[(1, 2)] * 33)),
            ("33 gid ranges", subscribe(gids=[(1, 2)] * 33)),
            ("255 uid ranges", subscribe(uids=[(1, 2)] * 255)),
            ("overflow 3", subscribe(overflow=3)), ("overflow 255", subscribe(overflow=255)),
            ("uid range backwards", subscribe(uids=((2, 1),))),
            ("gid range backwards", subscribe(gids=((0, 9), (2, 1))))):
        broker(f"SUBSCRIBE, {name}", packet(raw), reason="optionInvalid")
    for name, raw in (("overflow 3", subscribe(tail + b"x", counts=counts, overflow=3)),
                      ("range backwards", subscribe(tail[:3] + u32(2, 1) + b"x", counts=(1, 1, 0))),
                      ("33 filters", subscribe(tail[:3] * 33 + b"x", counts=(33, 0, 0)))):
        broker(f"SUBSCRIBE, {name}, but the tail does not fit, which is looked at first",
               packet(raw))
    for name, filters in (
            ("an empty filter", [b""]), ("filter of 1025 bytes", [b"t" * 1025]),
            ("filter of 65 levels", [b"/" * 64]), ("# not in the last level", [b"#/a"]),
            ("+ within a level", [b"a+"]), ("NUL in a filter", [b"a\0"]),
            ("filter not UTF-8", [b"\xFF"]), ("$share", [b"$share/g/a"]),
            ("second filter invalid", [b"a", b"b#"])):
        broker(f"SUBSCRIBE, {name}", packet(number(PING, 1), subscribe(filters=filters)), 24,
               "topicFilterInvalid")
    for name, topic in (("empty", b""), ("1025 bytes", b"t" * 1025), ("65 levels", b"/" * 64),
                        ("+", b"a/+"), ("#", b"a/#"), ("NUL", b"a\0b"), ("not UTF-8", b"a\xFF"),
                        ("surrogate", b"\xED\xA0\x80"), ("C1 control", b"\xC2\x80")):
        broker(f"PUBLISH, topic {name}", packet(publish(topic)), reason="topicNameInvalid")
    for name, text in (("129 bytes", b"n" * 129), ("NUL", b"a\0"), ("newline", b"a\n"),
                       ("C1 control", b"\xC2\x9F"), ("not UTF-8", b"\xC0\x80")):
        broker(f"HELLO, name {name}", packet(hello(text)), reason="nameInvalid")

    client("DELIVER without SENDER", packet(deliver(1, 1)))
    client("DELIVER before SENDER", packet(deliver(1, 1), sent(), deliver(2, 1)))
    client("DELIVER without SENDER behind other frames", packet(lost(1, 1), deliver(1, 1)), 28)
    client("REPLY, count 0", packet(reply(count=0)))
    client("REPLY to SUBSCRIBE, count 0", packet(reply(count=0, request=SUBSCRIBE)))
    client("LOST, count 0", packet(number(PING, 1), lost(1, 0)), 24)
    return vectors


def texts(*entries):
    """Readable text where it is printable and needs no escape, else hex."""
    result = []
    for raw, valid, why in entries:
        raw = raw.encode() if isinstance(raw, str) else raw
        plain = raw.isascii() and raw.decode().isprintable()
        form = {"text": raw.decode()} if plain else {"hex": raw.hex()}
        result.append({**form, "valid": valid, "why": why})
    return result


def topics():
    both = [
        ("a", True, "smallest"), ("", False, "empty"), ("/", True, "two empty levels"),
        ("//", True, "three empty levels"), ("/a", True, "empty first level"),
        ("a/", True, "empty last level"), ("a//b", True, "empty level in the middle"),
        ("a/b/c", True, "three levels"), (" ", True, "a space"), ("a b/ c", True, "spaces"),
        ("A/a", True, "case matters, both are allowed"), ("$", True, "$ alone"),
        ("$SYS/broker/version", True, "the broker's own, well-formed"),
        ("$SYS", True, "$SYS alone"), ("a/$b", True, "$ within"), ("$share", True, "not $share/"),
        ("$sharex/a", True, "not $share/"), ("\\*?!\"'<>|&;:.,~^", True, "punctuation"),
        ("..", True, "no path, dots mean nothing"), ("a/../b", True, "dots mean nothing"),
        ("t" * 1024, True, "1024 bytes"), ("t" * 1025, False, "1025 bytes"),
        ("é" * 512, True, "1024 bytes, 512 characters"),
        ("é" * 512 + "t", False, "1025 bytes, 513 characters"),
        ("€" * 341 + "t", True, "1024 bytes, 342 characters"),
        ("/".join("x" * 64), True, "64 levels"), ("/".join("x" * 65), False, "65 levels"),
        ("/" * 63, True, "64 empty levels"), ("/" * 64, False, "65 empty levels"),
        ("a\0b", False, "U+0000"), ("\x01", False, "U+0001"), ("a\tb", False, "tab"),
        ("a\n", False, "newline at the end"), ("a\r", False, "carriage return"),
        ("\x1b[0m", False, "escape"), ("\x1f", False, "U+001F"), ("\x20", True, "U+0020"),
        ("\x7e", True, "U+007E"), ("\x7f", False, "U+007F"), ("\x80", False, "U+0080"),
        ("\x85", False, "U+0085"), ("\x9f", False, "U+009F"), ("\xa0", True, "U+00A0"),
        ("a/\x9f/b", False, "U+009F in the second level"),
        ("\xad", True, "U+00AD, invisible but no control character"),
        ("\u200b", True, "U+200B, zero width"), ("\u2028", True, "U+2028, line separator"),
        ("\u202e", True, "U+202E, right to left"), ("\ufeff", True, "U+FEFF, no byte order mark"),
        ("\ufffe", True, "U+FFFE, a noncharacter"), ("\uffff", True, "U+FFFF, a noncharacter"),
        ("\ufdd0", True, "U+FDD0, a noncharacter"), ("\ufffd", True, "U+FFFD"),
        ("\U0001f980", True, "U+1F980"), ("\U0010ffff", True, "U+10FFFF, the last"),
        ("\u07ff", True, "U+07FF, last of two bytes"), ("\u0800", True, "first of three bytes"),
        ("\ud7ff", True, "U+D7FF, last before the surrogates"),
        ("\ue000", True, "U+E000, first behind the surrogates"),
        ("\U00010000", True, "U+10000, first of four bytes"),
        ("é", True, "precomposed"), ("e\u0301", True, "combined, another name than precomposed"),
        ("\uff0b", True, "U+FF0B, a wide plus is no wildcard"),
        (b"\x80", False, "continuation byte alone"), (b"\xBF\xBF", False, "continuation bytes"),
        (b"a\xC3", False, "cut after the first of two bytes"),
        (b"a\xE2\x82", False, "cut after the second of three bytes"),
        (b"a\xE2", False, "cut after the first of three bytes"),
        (b"a\xF0\x9F\xA6", False, "cut after the third of four bytes"),
        (b"\xC3/b", False, "character cut by a slash"), (b"\xE2\x82a", False, "cut by a letter"),
        (b"\xC3\xC3\xA9", False, "two first bytes"), (b"\xC0\x80", False, "overlong U+0000"),
        (b"\xC0\xAF", False, "overlong slash"), (b"\xC1\xBF", False, "overlong U+007F"),
        (b"\xE0\x80\xAF", False, "overlong slash in three bytes"),
        (b"\xE0\x9F\xBF", False, "overlong U+07FF"), (b"\xF0\x80\x80\xAF", False,
         "overlong slash in four bytes"), (b"\xF0\x8F\xBF\xBF", False, "overlong U+FFFF"),
        (b"\xED\xA0\x80", False, "surrogate U+D800"), (b"\xED\xBF\xBF", False, "surrogate U+DFFF"),
        (b"\xED\xA0\xBD\xED\xB8\x80", False, "a pair of surrogates"),
        (b"\xF4\x90\x80\x80", False, "U+110000"), (b"\xF5\x80\x80\x80", False, "first byte F5"),
        (b"\xF8\x88\x80\x80\x80", False, "five bytes"), (b"\xFE", False, "byte FE"),
        (b"\xFF", False, "byte FF"), (b"caf\xE9", False, "Latin-1")]
    wild = [  # never names; filters as said
        ("+", True, "+ alone"), ("#", True, "# alone"), ("a/+", True, "+ in the last level"),
        ("+/a", True, "+ in the first level"), ("a/+/b", True, "+ in the middle"),
        ("+/+/+", True, "+ in every level"), ("/+", True, "+ behind an empty level"),
        ("+/", True, "+ before an empty level"), ("a/#", True, "# in the last level"),
        ("/#", True, "# behind an empty level"), ("+/#", True, "+ and #"),
        ("$SYS/#", True, "all of the broker's own"), ("$SYS/+/x", True, "+ below $SYS"),
        ("/".join("+" * 64), True, "64 levels of +"), ("/".join("+" * 65), False, "65 levels of +"),
        ("/" * 63 + "#", True, "# in level 64"), ("/" * 64 + "#", False, "# in level 65"),
        ("t" * 1022 + "/#", True, "1024 bytes with #"), ("t" * 1023 + "/#", False, "1025 with #"),
        ("a+", False, "+ behind a letter"), ("+a", False, "+ before a letter"),
        ("++", False, "two + in a level"), ("a/b+/c", False, "+ within a level in the middle"),
        ("#/a", False, "# in the first of two levels"), ("a/#/b", False, "# in the middle"),
        ("#/", False, "# before an empty level"), ("#/#", False, "# twice"),
        ("a#", False, "# behind a letter"), ("#a", False, "# before a letter"),
        ("##", False, "two # in a level"), ("a/b#", False, "# behind a letter, last level"),
        ("+#", False, "+ and # in a level"), ("#+", False, "# and + in a level"),
        ("$+", False, "+ behind $"), ("$#", False, "# behind $"), ("+\0", False, "+ and U+0000"),
        ("$share/g/+", False, "shared subscription")]
    shares = [("$share/g/a", False, "kept for a later version"), ("$share/", False, "the same"),
              ("$share//a", False, "the same, empty group")]
    names = both + [(text, True, "$share/ is special in filters only") for text, _, _ in shares]
    names += [(text, False, f"as a filter: {why}") for text, _, why in wild]
    pairs = []

    def on(filter, yes=(), no=()):
        pairs.extend({"filter": filter, "topic": topic, "matches": True} for topic in yes)
        pairs.extend({"filter": filter, "topic": topic, "matches": False} for topic in no)

    on("a", ["a"], ["A", "b", "a/", "/a", "aa", "a/b", "$a"])
    on("a/b", ["a/b"], ["a", "a/", "a/b/", "a/b/c", "/a/b", "a//b", "a/B"])
    on("a//b", ["a//b"], ["a/b", "a/x/b", "a///b"])
    on("/", ["/"], ["a", "//", "/a", "a/"])
    on("/a", ["/a"], ["a", "//a", "/a/"])
    on("é", ["é"], ["e\u0301", "e"])
    on("+", ["a", "abc", " ", "é"], ["/", "/a", "a/", "a/b", "$", "$a", "$SYS"])
    on("+/+", ["/", "a/", "/a", "a/b"], ["a", "a/b/c", "//", "$SYS/a", "$/a"])
    on("/+", ["/a", "/", "/$a"], ["a", "/a/", "/a/b", "//"])
    on("+/", ["a/", "/"], ["a", "a/b", "$a/"])
    on("a/+", ["a/b", "a/", "a/$b"], ["a", "a/b/c", "b/a", "a/b/", "aa/b"])
    on("a/+/c", ["a/b/c", "a//c", "a/x/c"], ["a/c", "a/b/d", "a/b/b/c", "a/b/c/d"])
    on("+/b/+", ["a/b/c", "/b/"], ["a/b", "b", "a/c/b", "$a/b/c"])
    on("#", ["a", "/", "a/b/c", "//", " ", "a/$b", "/".join("x" * 64)], ["$", "$SYS", "$SYS/a/b"])
    on("a/#", ["a", "a/", "a/b", "a/b/c", "a//", "a/$b"], ["b", "aa", "A/b", "/a", "/a/b", "$a"])
    on("/#", ["/", "/a", "/a/b", "//", "/$a"], ["a", "a/", "a/b", "$a"])
    on("a/b/#", ["a/b", "a/b/", "a/b/c", "a/b/c/d"], ["a", "a/", "a/bc", "a/c/b"])
    on("a//#", ["a/", "a//", "a//b"], ["a", "a/b", "a/b/c"])
    on("+/#", ["a", "a/", "/", "/a", "a/b/c"], ["$a", "$SYS/a", "$"])
    on("a/+/#", ["a/b", "a/", "a/b/c", "a//c"], ["a", "b/a", "b/a/c"])
    on("+/a/#", ["x/a", "/a", "x/a/b"], ["a", "a/b", "x/b/a", "$x/a"])
    on("$SYS/#", ["$SYS", "$SYS/", "$SYS/a/b"], ["SYS/a", "$SYSX", "$sys/a", "a/$SYS/b"])
    on("$SYS/+", ["$SYS/a", "$SYS/"], ["$SYS", "$SYS/a/b", "$SYSX/a"])
    on("$SYS/broker/+/x", ["$SYS/broker/a/x"], ["$SYS/broker/x", "$SYS/broker/a/b/x"])
    on("$share", ["$share"], ["$share/a", "share"])
    on("/".join("+" * 64), ["/".join("x" * 64), "/" * 63], ["/".join("x" * 63)])
    on("/" * 62 + "/#", ["/" * 62, "/" * 63], ["/" * 61])
    return {"names": texts(*names), "filters": texts(*both, *wild, *shares), "matches": pairs}


VALID = """Well-formed packets and what they mean. way: toBroker or toClient. frames: the frames \
of the packet without those that are ignored (section 8); numbers of 64 bits are decimal strings, \
payload and fragment (the tail of STATUS) are hex, everything else is text. reason, request, \
level and overflow are names, unknown numbers already read as section 8 says, and so is domain. \
canonical: encoding the frames gives exactly these bytes; if false, the packet holds something \
that is ignored or shown with U+FFFD."""
INVALID = """Packets with one fault, or with two of which section 5 says what is looked at first. \
way: toBroker or toClient. offset: 0 if the fault lies in the packet header (magic, length, no \
frame at all); otherwise the offset, counted from the beginning of the packet, of the first byte \
of the frame at fault, whichever of its fields is wrong; bytes too few for a frame header are a \
frame at fault. Frames before it are well-formed. reason: section 7. A frame that is \
topicNameInvalid, topicFilterInvalid or optionInvalid can be taken apart and is answered with \
REPLY; all others end the session. The vectors do not need the state of a session."""
TOPICS = """Section 4. names and filters: text or, where it is not printable ASCII, hex of the \
bytes; valid: whether these bytes are a topic name or a topic filter. matches: whether a valid \
filter matches a valid topic name. A name of the broker's own is a valid name, though clients may \
not publish to it."""


def lines(document):
    """One vector per line, so that a change of one is a change of one line."""
    parts = [f"  {json.dumps(key)}: " + (json.dumps(value) if isinstance(value, str) else "[\n" +
             ",\n".join("    " + json.dumps(entry) for entry in value) + "\n  ]")
             for key, value in document.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main():
    files = {"packets-valid.json": {"comment": VALID, "packets": valid_packets()},
             "packets-invalid.json": {"comment": INVALID, "packets": invalid_packets()},
             "topics.json": {"comment": TOPICS, **topics()}}
    stale = 0
    for name, document in files.items():
        path = pathlib.Path(__file__).resolve().parent.parent / "vectors" / name
        if "--check" not in sys.argv[1:]:
            path.write_text(lines(document))
        elif not path.exists() or path.read_text() != lines(document):
            print(f"{name} is not up to date: run make_vectors.py", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
