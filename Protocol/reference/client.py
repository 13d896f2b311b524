#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference client of the broker protocol, version 1, written from ../README.md alone: a module
(Client, encode_packet, decode_packet, topic_text, matches) and a command (--help tells more).
"""
import argparse, base64, collections, json, os, pathlib, re, select, socket, struct, sys, time
from dataclasses import asdict, dataclass

MAGIC, PACKET_MAX, BATCH_MAX, U32 = b"\xC5\x00\xB7\x00", 262_144, 65_536, 2**32
REASONS = {
    0x00: "success", 0x10: "noMatchingSubscribers", 0x80: "unspecifiedError",
    0x81: "malformedPacket", 0x82: "protocolError", 0x84: "unsupportedVersion",
    0x87: "notPermitted", 0x8B: "serverShuttingDown", 0x8D: "handshakeTimeout",
    0x8F: "topicFilterInvalid", 0x90: "topicNameInvalid", 0x95: "packetTooLarge",
    0x97: "quotaExceeded", 0xC0: "identityUnknown", 0xC1: "slowSubscriber",
    0xC2: "subscriptionUnknown", 0xC3: "subscriptionInUse", 0xC4: "frameUnknown",
    0xC5: "nameInvalid", 0xC6: "optionInvalid", 0xC7: "repliesUnread"}
LEVELS = {1: "kernel", 2: "claimable", 3: "remote", 4: "unknown"}
OVERFLOW = {0: "disconnect", 1: "drop-oldest", 2: "block"}
# Fixed fields as name:format of the struct module; "_" is reserved. The sender record is section 6.
RECORD = ("pid:i uid:I gid:I openerPID:i openerUID:I openerGID:I process:Q openerProcess:Q time:Q"
          " level:B delegated:B domain:B _:x domainOwner:I")

class Type:
    def __init__(self, code, ways, name, fields, lead=None, tail=None, flag=None):
        self.code, self.ways, self.name, self.lead, self.tail = code, ways, name, lead, tail
        pairs = [field.split(":") for field in fields.split()]
        self.form = struct.Struct("<" + "".join(form for _, form in pairs))
        self.fields, self.flag = {field: form for field, form in pairs if field != "_"}, flag

B, C = ["toBroker"], ["toClient"]
TYPES = [
    Type(1, B, "HELLO", "versionMin:H versionMax:H", "name"),
    Type(2, C, "WELCOME", "version:H topicBytesMax:H packetBytesMax:I messageBytesMax:I"
         " subscriptionsMax:I queueBytesMax:I session:Q instance:Q " + RECORD,
         "brokerName", "brokerVersion"),
    Type(3, B, "PUBLISH", "token:I", "topic", "payload", "acknowledge"),
    Type(4, C, "REPLY", "token:I count:I sequence:Q reason:H request:B _:x", "text"),
    Type(5, B, "SUBSCRIBE", "token:I subscription:I queueBytesMax:I overflow:B filterCount:B"
         " uidRangeCount:B gidRangeCount:B", None, "filters"),
    Type(6, B, "UNSUBSCRIBE", "token:I subscription:I"),
    Type(7, C, "SENDER", RECORD, "origin"),
    Type(8, C, "DELIVER", "sequence:Q subscription:I", "topic", "payload"),
    Type(9, C, "LOST", "subscription:I count:Q"),
    Type(10, B + C, "PING", "nonce:Q"), Type(11, B + C, "PONG", "nonce:Q"),
    Type(12, B + C, "DISCONNECT", "reason:H _:2x", "text"),
    Type(13, B, "STATUSREQUEST", "token:I"),
    Type(14, C, "STATUS", "token:I", None, "fragment", "more")]
BY_CODE, BY_NAME = {t.code: t for t in TYPES}, {t.name: t for t in TYPES}
NAMED = {"reason": REASONS, "level": LEVELS, "overflow": OVERFLOW,
         "request": {t.code: t.name for t in TYPES}}

class Malformed(Exception):
    """A packet that breaks the rules. `offset`: of the frame at fault, 0 for the packet header."""
    def __init__(self, offset, reason, text):
        super().__init__(f"{reason} at byte {offset}: {text}")
        self.offset, self.reason, self.text = offset, reason, text

class Refused(Exception):
    """A REPLY that is an error or, without a token, the DISCONNECT of the broker."""
    def __init__(self, name, text, token=None, count=0):
        super().__init__(f"{name}: {text}")
        self.reason = next(code for code in REASONS if REASONS[code] == name)
        self.name, self.text, self.token, self.count = name, text, token, count

@dataclass(frozen=True)
class Sender:
    pid: int; uid: int; gid: int; opener_pid: int; opener_uid: int; opener_gid: int
    process: int; opener_process: int; time: int; level: str; delegated: bool
    domain: int; domain_owner: int; origin: str

@dataclass(frozen=True)
class Message:
    topic: str; payload: bytes; sequence: int; subscription: int; sender: Sender

@dataclass(frozen=True)
class Lost:
    subscription: int; count: int

def plain_text(raw, longest):
    text = raw.decode()  # strict: neither surrogates nor overlong forms
    if len(raw) > longest: raise ValueError(f"more than {longest} bytes")
    if re.search("[\0-\x1f\x7f-\x9f]", text): raise ValueError("a control character")
    return text

def topic_text(raw, wildcards):
    """Section 4: the text of a topic name or (wildcards=True) filter, or ValueError."""
    levels = plain_text(raw, 1024).split("/")
    if not raw or len(levels) > 64: raise ValueError("not 1 to 64 levels in 1 to 1024 bytes")
    if any(("+" in level or "#" in level) and (not wildcards or len(level) > 1)
           for level in levels) or "#" in levels[:-1]: raise ValueError("a misplaced + or #")
    if wildcards and raw.startswith(b"$share/"): raise ValueError("$share/ is kept for later")
    return raw.decode()

def matches(filter, topic):
    wanted, levels = filter.split("/"), topic.split("/")
    if wanted[0] in ("+", "#") and topic.startswith("$"): return False
    for index, level in enumerate(wanted):
        if level == "#": return True
        if index == len(levels) or level not in ("+", levels[index]): return False
    return len(wanted) == len(levels)

def encode_frame(frame):
    kind, values = BY_NAME[frame["type"]], {**frame, **frame.get("sender", {})}
    if kind.name == "SUBSCRIBE":
        filters = [text.encode() for text in frame["filters"]]
        values.update(filterCount=len(filters), uidRangeCount=len(frame["uidRanges"]),
                      gidRangeCount=len(frame["gidRanges"]))
        ranges = [struct.pack("<II", *pair) for pair in frame["uidRanges"] + frame["gidRanges"]]
        values["filters"] = b"".join([struct.pack("<H", len(f)) + f for f in filters] + ranges)
    for field, names in NAMED.items():
        if field in values: values[field] = next(c for c in names if names[c] == values[field])
    fixed = kind.form.pack(*(values[field] for field in kind.fields))
    lead, tail = (value.encode() if isinstance(value, str) else value
                  for value in (values.get(kind.lead, b""), values.get(kind.tail, b"")))
    length = 8 + len(fixed) + len(lead) + len(tail)
    flags = int(bool(kind.flag and frame[kind.flag]))
    return struct.pack("<IBBH", length, kind.code, flags, len(lead)) + fixed + lead + tail

def encode_packet(frames):
    body = b"".join(map(encode_frame, frames))
    return MAGIC + struct.pack("<I", 8 + len(body)) + body

def decode_packet(data, way):
    """The frames of a packet going `way` ("toBroker" or "toClient"), without ignored ones."""
    def need(right, text, reason="malformedPacket"):
        if not right: raise Malformed(offset, reason, text)
    frames, offset, attested = [], 0, False
    need(len(data) > 8 and data[:4] == MAGIC, "no packet header or no frame")
    need(struct.unpack_from("<I", data, 4)[0] == len(data), "length is not that of the packet")
    offset = 8
    while offset < len(data):
        need(len(data) - offset >= 8, "no frame header")
        length, code, flags, lead = struct.unpack_from("<IBBH", data, offset)
        need(8 <= length <= len(data) - offset, "frame length")
        kind = BY_CODE.get(code)
        need(kind or code >= 0x80, f"frame type {code}", "frameUnknown")
        if kind:
            need(way in kind.ways, f"{kind.name} from the wrong side", "protocolError")
            need(kind.name != "DELIVER" or attested, "DELIVER without SENDER")
            attested = attested or kind.name == "SENDER"
            frames.append(decode_frame(kind, data[offset:offset + length], flags, lead, need))
        offset += length
    return frames

def decode_frame(kind, raw, flags, lead_length, need):
    def attempt(reason, check, *arguments):
        try: return check(*arguments)
        except ValueError as fault: need(False, str(fault), reason)
    end = 8 + kind.form.size + lead_length
    need(not flags & (0x0E if kind.flag else 0x0F), "unknown flags")
    need(kind.lead or not lead_length, "a lead on a type that has none")
    need(end <= len(raw), "too short for fixed fields and lead")
    need(kind.tail or end == len(raw), "bytes left over")
    lead, tail = raw[end - lead_length:end], raw[end:]
    values = dict(zip(kind.fields, kind.form.unpack_from(raw, 8)))
    if "level" in values:
        need(not values["delegated"] & 0x0E, "unknown flags in the sender record")
        values.update(level=LEVELS.get(values["level"], "unknown"),
                      delegated=bool(values["delegated"] & 1),
                      domain=values["domain"] if values["domain"] < 3 else 0)
    if kind.name == "REPLY":
        need(values["count"], "a count of 0")
        values["request"] = NAMED["request"].get(values["request"], values["request"])
    if "reason" in values:
        code = values["reason"]
        values["reason"] = REASONS.get(code) or REASONS[0x80 if code >= 0x80 else 0]
    if kind.flag: values[kind.flag] = bool(flags & 1)
    if kind.lead == "topic": values["topic"] = attempt("topicNameInvalid", topic_text, lead, False)
    elif kind.lead == "name": values["name"] = attempt("nameInvalid", plain_text, lead, 128)
    elif kind.lead: values[kind.lead] = attempt("malformedPacket", lead.decode)
    if kind.name == "WELCOME": tail = attempt("malformedPacket", tail.decode)
    if kind.name == "SUBSCRIBE": decode_subscription(values, tail, need, attempt)
    elif kind.tail: values[kind.tail] = tail
    frame, record = {"type": kind.name}, BY_NAME["SENDER"].fields
    if "level" in values: frame["sender"] = {field: values.pop(field) for field in record}
    return {**frame, **values}

def decode_subscription(values, tail, need, attempt):
    counts = [values.pop(f"{what}Count") for what in ("filter", "uidRange", "gidRange")]
    filters = []
    for _ in range(counts[0]):
        length = int.from_bytes(tail[:2], "little")
        need(len(tail) >= 2 + length, "the tail ends within a filter")
        filters, tail = filters + [tail[2:2 + length]], tail[2 + length:]
    need(len(tail) == 8 * sum(counts[1:]), "the ranges do not fill the tail")
    ranges = [list(pair) for pair in struct.iter_unpack("<II", tail)]
    need(values["overflow"] in OVERFLOW and 1 <= counts[0] <= 32 and max(counts[1:]) <= 32
         and all(first <= last for first, last in ranges), "an option", "optionInvalid")
    values["overflow"] = OVERFLOW[values["overflow"]]
    values["filters"] = [attempt("topicFilterInvalid", topic_text, raw, True) for raw in filters]
    values["uidRanges"], values["gidRanges"] = ranges[:counts[1]], ranges[counts[1]:]

class Client:
    """A session. Iterating yields Message, Lost and Refused (for publishes not acknowledged)."""
    def __init__(self, path, name="reference", allowed_broker_uids=(0, os.getuid()), timeout=20):
        self.timeout, self._token, self._subscription, self._ended = timeout, 0, 0, None
        self._inbox, self._waiting, self._status = collections.deque(), {}, b""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:  # the default send buffer is too small for the largest packet
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET_MAX)
            self.socket.connect(path)
            peer = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            if struct.unpack("=iII", peer)[1] not in allowed_broker_uids:
                raise PermissionError("the broker runs under an unexpected uid")
            self.welcome = self._ask("HELLO", versionMin=1, versionMax=1, name=name)
        except BaseException:
            self.socket.close()
            raise

    def publish(self, topic, payload, acknowledge=False):
        return (self.publish_many([(topic, payload)], acknowledge) or [None])[0]

    def publish_many(self, messages, acknowledge=False):
        """Many frames per packet. With acknowledge a list of one REPLY per message, or Refused."""
        limits, frames, tokens = self.welcome, [], []
        for topic, payload in messages:
            tokens.append(self._next())
            frames.append(encode_frame({
                "type": "PUBLISH", "token": tokens[-1], "acknowledge": acknowledge,
                "topic": topic_text(topic.encode(), False), "payload": payload}))
            if (len(frames[-1]) + 8 > limits["packetBytesMax"]
                    or len(topic.encode()) + len(payload) > limits["messageBytesMax"]):
                raise Refused("packetTooLarge", "more than the broker accepts", tokens[-1], 1)
        if acknowledge: self._waiting.update(dict.fromkeys(tokens))
        first, size, most = 0, 8, min(BATCH_MAX, limits["packetBytesMax"])
        for index, frame in enumerate(frames):
            if first < index and size + len(frame) > most:
                self._send(frames[first:index])
                first, size = index, 8
                while self._pump(0): pass  # replies must not pile up
            size += len(frame)
        if frames: self._send(frames[first:])
        while self._pump(0): pass
        return [self._answer(token) for token in tokens] if acknowledge else []

    def subscribe(self, filters, overflow="disconnect", uids=(), gids=(), queue_bytes=0):
        """uids and gids: pairs (first, last). Returns the number of the subscription."""
        self._subscription += 1
        self._ask("SUBSCRIBE", subscription=self._subscription, queueBytesMax=queue_bytes,
                  overflow=overflow, uidRanges=list(uids), gidRanges=list(gids),
                  filters=[topic_text(text.encode(), True) for text in filters])
        return self._subscription

    def unsubscribe(self, subscription): self._ask("UNSUBSCRIBE", subscription=subscription)
    def ping(self): self._ask("PING")  # behind it lie the answers to everything sent before
    def status(self): return json.loads(self._ask("STATUSREQUEST"))

    def receive(self, timeout=None):
        """The next event, or None if there is none in time. Raises what ended the session."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._inbox:
            if not self._pump(deadline): return None
        return self._inbox.popleft()

    def __iter__(self): return iter(self.receive, None)

    def close(self, reason="success", text=""):
        try: self._send([encode_frame({"type": "DISCONNECT", "reason": reason, "text": text})])
        except (OSError, Refused): pass  # the broker was faster
        self._ended = ConnectionError("the session is closed")
        self.socket.close()

    def _next(self):
        self._token = (self._token + 1) % U32
        return self._token

    def _ask(self, kind, **fields):
        token = self._next()  # the encoder takes from the frame the fields its type has
        self._waiting[token] = None
        self._send([encode_frame({"type": kind, "token": token, "nonce": token, **fields})])
        return self._answer(token)

    def _answer(self, token):
        deadline = time.monotonic() + self.timeout
        while self._waiting[token] is None:
            if not self._pump(deadline): raise TimeoutError("no answer from the broker")
        answer = self._waiting.pop(token)
        if isinstance(answer, Refused): raise answer
        return answer

    def _send(self, frames):
        if self._ended: raise self._ended
        body = b"".join(frames)
        try: self.socket.send(MAGIC + struct.pack("<I", 8 + len(body)) + body)
        except (BrokenPipeError, ConnectionResetError):
            while self._pump(): pass  # ends by raising what the broker said before it closed

    def _pump(self, deadline=None):
        """Takes in one packet; False if none comes before the deadline (a monotonic time)."""
        if self._ended: raise self._ended
        wait = None if deadline is None else max(0, deadline - time.monotonic())
        if not select.select([self.socket], [], [], wait)[0]: return False
        try: data = self.socket.recv(PACKET_MAX)
        except ConnectionResetError: data = self.socket.recv(PACKET_MAX)  # its last words
        if not data: self._ended = ConnectionError("the broker closed the connection")
        try:
            for frame in decode_packet(data, "toClient") if data else []: self._take(frame)
        except Malformed as fault:
            self.close(fault.reason, fault.text)
            raise
        return True

    def _take(self, frame):
        kind, token = frame["type"], frame.get("token", frame.get("nonce"))
        if kind == "WELCOME": self._waiting[1] = frame  # 1 was the token of HELLO
        elif kind == "SENDER": self._sender = Sender(*frame["sender"].values(), frame["origin"])
        elif kind == "DELIVER":
            fields = (frame[key] for key in ("topic", "payload", "sequence", "subscription"))
            self._inbox.append(Message(*fields, self._sender))
        elif kind == "LOST": self._inbox.append(Lost(frame["subscription"], frame["count"]))
        elif kind == "PING": self._send([encode_frame({**frame, "type": "PONG"})])
        elif kind == "PONG": self._waiting[token] = frame
        elif kind == "DISCONNECT": self._ended = Refused(frame["reason"], frame["text"])
        elif kind == "STATUS":
            self._status += frame["fragment"]
            if not frame["more"]: self._waiting[token], self._status = self._status, b""
        elif kind == "REPLY":
            answer = Refused(frame["reason"], frame["text"], token, frame["count"])
            few = frame["count"] <= len(self._waiting)
            tokens = range(token, token + frame["count"]) if few else self._waiting
            answered = [t % U32 for t in tokens
                        if t % U32 in self._waiting and (t - token) % U32 < frame["count"]]
            for t in answered: self._waiting[t] = answer if answer.reason >= 0x80 else frame
            if answer.reason >= 0x80 and not answered: self._inbox.append(answer)

def run_vectors(directory):
    """Tries every vector against this codec; the number of those that fail."""
    def load(name): return json.loads((pathlib.Path(directory) / name).read_text())
    def attempt(check, *arguments):
        try: return check(*arguments)
        except (ValueError, Malformed) as fault: return fault
    def plain(value, form=""):  # as the vectors write it: bytes as hex, u64 as decimal strings
        if isinstance(value, bytes): return value.hex()
        if not isinstance(value, dict): return str(value) if form == "Q" else value
        forms = BY_NAME[value["type"]].fields if "type" in value else BY_NAME["SENDER"].fields
        return {key: plain(inner, forms.get(key)) for key, inner in value.items()}
    checks, topics = [], load("topics.json")
    for vector in load("packets-valid.json")["packets"]:
        frames = attempt(decode_packet, bytes.fromhex(vector["hex"]), vector["way"])
        checks.append((vector["name"], not isinstance(frames, Exception)
                       and [plain(frame) for frame in frames] == vector["frames"]
                       and (encode_packet(frames).hex() == vector["hex"]) >= vector["canonical"]))
    for vector in load("packets-invalid.json")["packets"]:
        fault = attempt(decode_packet, bytes.fromhex(vector["hex"]), vector["way"])
        checks.append((vector["name"], isinstance(fault, Malformed) and (fault.reason, fault.offset)
                       == (vector["reason"], vector["offset"])))
    for vector in topics["names"] + topics["filters"]:
        raw = bytes.fromhex(vector["hex"]) if "hex" in vector else vector["text"].encode()
        right = isinstance(attempt(topic_text, raw, vector in topics["filters"]), str)
        checks.append((vector["why"], right == vector["valid"]))
    for vector in topics["matches"]:
        right = matches(vector["filter"], vector["topic"])
        checks.append((f"{vector['filter']} on {vector['topic']}", right == vector["matches"]))
    failed = [name for name, right in checks if not right]
    for name in failed: print("failed:", name)
    print(f"{len(checks) - len(failed)} passed, {len(failed)} failed")
    return len(failed)

def print_event(event):
    if isinstance(event, Refused): raise event
    line = asdict(event)
    if isinstance(event, Message):
        sender = line.pop("sender")
        for who, prefix in (("sender", ""), ("opener", "opener_")):
            line[who] = {key: sender[prefix + key] for key in ("pid", "uid", "gid", "process")}
        line.update({key: sender[key] for key in ("delegated", "level", "origin", "time")})
        try: line.update(payload=event.payload.decode(), encoding="utf8")
        except ValueError:
            line.update(payload=base64.b64encode(event.payload).decode(), encoding="base64")
    else: line = {"lost": event.count, "subscription": event.subscription}
    print(json.dumps(line), flush=True)

def publish(client, options):
    if options.lines:
        rest = b""
        while chunk := os.read(0, BATCH_MAX):  # what is there now makes one batch
            *lines, rest = (rest + chunk).split(b"\n")
            client.publish_many([(options.topic, line) for line in lines], options.ack)
        if rest: client.publish(options.topic, rest, options.ack)
    else:
        message = options.message
        payload = sys.stdin.buffer.read() if message is None else os.fsencode(message)
        client.publish(options.topic, payload, options.ack)
    client.ping()
    while refusal := client.receive(0): raise refusal
    return 0

def subscribe(client, options):
    client.subscribe(options.filter, options.overflow, options.from_uid)
    end, left = options.wait and time.monotonic() + options.wait, options.count
    while left is None or left > 0:
        event = client.receive(end and max(0, end - time.monotonic()))
        if event is None: return 0 if left is None else 1
        print_event(event)
        if left and isinstance(event, Message): left -= 1
    return 0

def status(client, options):
    print(json.dumps(client.status(), indent=2))
    return 0

def id_range(text):
    first, _, last = text.partition("-")
    return int(first), int(last or first)

def default_socket():
    private = "/run/broker" if os.getuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", "/run")
    return os.environ.get("BROKER_SOCKET", private + "/broker.sock")

def main():
    parser = argparse.ArgumentParser(description="reference client of the broker protocol")
    parser.add_argument("--socket", metavar="PATH", default=default_socket())
    parser.add_argument("--broker-uid", type=int, action="append", default=[0, os.getuid()])
    commands = parser.add_subparsers(dest="command", required=True)
    def command(name, run, *arguments):
        one = commands.add_parser(name)
        one.set_defaults(run=run)
        for names, settings in arguments: one.add_argument(*names.split(), **settings)
    command("pub", publish, ("topic", {}), ("message", {"nargs": "?"}),
            ("--ack", {"action": "store_true"}), ("--lines", {"action": "store_true"}))
    command("sub", subscribe, ("filter", {"nargs": "+"}), ("-C --count", {"type": int}),
            ("-W --wait", {"type": float}), ("--overflow", {"choices": OVERFLOW.values(),
             "default": "disconnect"}),
            ("--from-uid", {"type": id_range, "action": "append", "default": []}))
    command("status", status)
    command("vectors", None, ("directory", {}))
    try: options = parser.parse_args()
    except SystemExit as end: return 64 if end.code else 0
    try:
        if options.command == "vectors": return 1 if run_vectors(options.directory) else 0
        client = Client(options.socket, "client.py", options.broker_uid)
        try: return options.run(client, options)
        finally: client.close()
    except KeyboardInterrupt: return 0
    except (Refused, Malformed, ValueError, OSError) as fault:
        print(f"client.py: {fault}", file=sys.stderr)
        if isinstance(fault, OSError): return 77 if isinstance(fault, PermissionError) else 69
        if isinstance(fault, ValueError): return 64
        return {0x87: 77, 0x8B: 69, 0x97: 75, 0xC1: 75, 0xC7: 75}.get(fault.reason, 1)

if __name__ == "__main__": sys.exit(main())
