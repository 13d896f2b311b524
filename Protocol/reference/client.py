#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference client of the broker protocol, version 1, written from ../README.md alone (the
comments name its sections): a module, see Client, and a command, see --help."""
import argparse, collections, json, os, select, socket, struct, sys, time

MAGIC = b"\xC5\x00\xB7\x00"
PACKET_MAX, U32 = 262_144, 2**32  # bytes of the largest packet there can be
BATCH_MAX = 65_536  # bytes this client puts into one packet when it has many messages
(HELLO, WELCOME, PUBLISH, REPLY, SUBSCRIBE, UNSUBSCRIBE, SENDER, DELIVER, LOST, PING, PONG,
 DISCONNECT, STATUSREQUEST, STATUS, ENDED, ADMINREQUEST, ADMINREPLY) = range(1, 18)
OVERFLOW = {"disconnect": 0, "drop-oldest": 1, "block": 2}
LEVELS = {1: "kernel", 2: "claimable", 3: "remote", 4: "unknown"}
REASONS = {  # section 7
    0x00: "success", 0x10: "noMatchingSubscribers", 0x80: "unspecifiedError",
    0x81: "malformedPacket", 0x82: "protocolError", 0x84: "unsupportedVersion",
    0x87: "notPermitted", 0x8B: "serverShuttingDown", 0x8D: "handshakeTimeout",
    0x8F: "topicFilterInvalid", 0x90: "topicNameInvalid", 0x95: "packetTooLarge",
    0x97: "quotaExceeded", 0xC0: "identityUnknown", 0xC1: "slowSubscriber",
    0xC2: "subscriptionUnknown", 0xC3: "subscriptionInUse", 0xC4: "frameUnknown",
    0xC5: "nameInvalid", 0xC6: "optionInvalid", 0xC7: "repliesUnread"}

# What the broker sends, section 5. Fixed fields are written as name:format of the struct module.
RECORD = (" pid:i uid:I gid:I openerPID:i openerUID:I openerGID:I process:Q openerProcess:Q time:Q"
          " level:B delegated:B domain:B _:B domainOwner:I")  # section 6

class Layout:
    def __init__(self, fields, lead=None, tail=None, flag=None):
        self.forms = dict(field.split(":") for field in fields.split())
        self.fixed = struct.Struct("<" + "".join(self.forms.values()))
        self.lead, self.tail, self.flag = lead, tail, flag  # names; flag is that of bit 0

FROM_BROKER = {
    WELCOME: Layout("version:H topicBytesMax:H packetBytesMax:I messageBytesMax:I"
                    " subscriptionsMax:I queueBytesMax:I session:Q instance:Q" + RECORD,
                    "brokerName", "brokerVersion"),
    REPLY: Layout("token:I count:I sequence:Q reason:H request:B _:B", "text"),
    SENDER: Layout(RECORD, "origin", "user"),
    DELIVER: Layout("sequence:Q subscription:I", "topic", "payload"),
    LOST: Layout("subscription:I count:Q"), PING: Layout("nonce:Q"), PONG: Layout("nonce:Q"),
    DISCONNECT: Layout("reason:H _:H", "text"),
    ENDED: Layout("subscription:I reason:H _:H", "text"),
    **dict.fromkeys((STATUS, ADMINREPLY), Layout("token:I", tail="fragment", flag="more"))}

class Fault(Exception):
    def __init__(self, reason, text, offset=None):
        super().__init__(f"{REASONS[reason]}: {text}")
        self.reason, self.text, self.offset = reason, text, offset

class Refused(Fault): """The broker refused a request; the session goes on."""
class Ended(Fault): """The broker ended the session."""
class Malformed(Fault): """Not a packet; offset: of the frame at fault, 0: the packet header."""

def encode_packet(frames):
    return MAGIC + struct.pack("<I", 8 + sum(map(len, frames))) + b"".join(frames)

def encode_frame(type, fixed=b"", lead=b"", tail=b"", flags=0):
    length = 8 + len(fixed) + len(lead) + len(tail)
    return struct.pack("<IBBH", length, type, flags, len(lead)) + fixed + lead + tail

def subscribe_fields(subscription, filters, overflow, uids, gids, queue_bytes_max):
    """Section 5.5: fixed fields behind the token, no lead, tail."""
    fixed = struct.pack("<IIBBBB", subscription, queue_bytes_max, OVERFLOW[overflow],
                        len(filters), len(uids), len(gids))
    texts = [text.encode() for text in filters]
    tail = [struct.pack("<H", len(text)) + text for text in texts]
    tail += [struct.pack("<II", first, last) for first, last in [*uids, *gids]]
    return fixed, b"", b"".join(tail)

def decode_frame(type, layout, raw, errors="replace"):
    flags, lead_length = struct.unpack_from("<BH", raw, 5)
    lead_start = 8 + layout.fixed.size
    tail_start = lead_start + lead_length
    if flags & (0x0E if layout.flag else 0x0F): raise Malformed(0x81, "unknown flags")
    if lead_length and not layout.lead or len(raw) < tail_start: raise Malformed(0x81, "lead")
    if len(raw) > tail_start and not layout.tail: raise Malformed(0x81, "bytes left over")
    values = zip(layout.forms, layout.fixed.unpack_from(raw, 8))
    fields = {name: value for name, value in values if name != "_"}  # "_" is reserved
    if layout.flag: fields[layout.flag] = bool(flags & 1)
    if layout.lead: fields[layout.lead] = raw[lead_start:tail_start].decode(errors=errors)
    if layout.tail: fields[layout.tail] = raw[tail_start:]
    if type in (WELCOME, SENDER): fields[layout.tail] = fields[layout.tail].decode(errors=errors)
    if fields.get("reason", 0) not in REASONS:
        fields["reason"] = 0x80 if fields["reason"] >= 0x80 else 0
    if "level" in fields:  # there is a sender record
        fields["level"] = LEVELS.get(fields["level"], "unknown")
        fields["delegated"] = bool(fields["delegated"] & 1)
        fields["domain"] = fields["domain"] if fields["domain"] in (1, 2) else 0
    if fields.get("count") == 0: raise Malformed(0x81, "a count of 0")
    return fields

def decode_packet(data, layouts=FROM_BROKER, decode=decode_frame):
    """Sections 2, 3 and 8: the type and the fields of each frame that counts."""
    if len(data) <= 8 or data[:4] != MAGIC or data[4:8] != struct.pack("<I", len(data)):
        raise Malformed(0x81, "no packet header, wrong length or no frame", 0)
    frames, offset = [], 8
    while offset < len(data):
        if len(data) - offset < 8: raise Malformed(0x81, "no frame header", offset)
        length, type = struct.unpack_from("<IB", data, offset)
        if not 8 <= length <= len(data) - offset: raise Malformed(0x81, "frame length", offset)
        if type in layouts:
            try: frames.append((type, decode(type, layouts[type], data[offset:offset + length])))
            except Malformed as fault: raise Malformed(fault.reason, fault.text, offset) from None
            if type == DELIVER and not any(type == SENDER for type, _ in frames):
                raise Malformed(0x81, "DELIVER without SENDER", offset)
            if type == DISCONNECT: break  # what is behind it is not looked at
        elif type < 0x80:  # a frame of the other side, or one that may not be ignored
            raise Malformed(0x82 if HELLO <= type <= ADMINREPLY else 0xC4, f"type {type:#x}", offset)
        offset += length
    return frames

class Client:
    """A session. Requests wait for their answer; what else comes in is kept for receive()."""

    def __init__(self, path, name="", broker_uids=None, timeout=20):
        self.timeout, self._token, self._publish_token, self._subscription = timeout, 0, 0, 0
        self._answers, self._status = {}, b""  # answers by type and token of the request
        self._unanswered, self._replies = collections.deque(), []  # of acknowledged publishes
        self._events, self._ended = collections.deque(), None  # _ended: raised from then on
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET_MAX)
            self.socket.connect(path)
            peer = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            _, uid, _ = struct.unpack("=iII", peer)
            if uid not in (broker_uids or (0, os.getuid())):
                raise PermissionError(f"the broker runs as uid {uid}")
            self.welcome = self._request(HELLO, struct.pack("<HH", 1, 1), name.encode())
        except BaseException:
            self.socket.close()
            raise

    def publish(self, messages, acknowledge=False):
        """messages: pairs of topic and payload; many go into one packet. With acknowledge it
        waits for a REPLY to each and returns them, or raises the first Refused."""
        packet_max = min(BATCH_MAX, self.welcome["packetBytesMax"])
        batches, size, tokens = [], packet_max, []
        for topic, payload in messages:
            if len(topic.encode()) + len(payload) > self.welcome["messageBytesMax"]:
                raise Refused(0x95, "more than the broker takes")  # it would end the session
            self._publish_token = (self._publish_token + 1) % U32
            tokens.append(self._publish_token)
            frame = encode_frame(PUBLISH, struct.pack("<I", tokens[-1]), topic.encode(), payload,
                                 flags=int(acknowledge))
            if size + len(frame) > packet_max:
                batches.append([])
                size = 8
            batches[-1].append(frame)
            size += len(frame)
        if acknowledge: self._unanswered.extend(tokens)
        for batch in batches: self._send(batch)
        self._wait(lambda: not self._unanswered)
        replies, self._replies = self._replies, []
        refused = [reply for reply in replies if isinstance(reply, Refused)]
        if refused: raise refused[0]
        return replies

    def subscribe(self, filters, overflow="disconnect", uids=(), gids=(), queue_bytes_max=0):
        """uids and gids: pairs (first, last). Returns the number of the subscription."""
        self._subscription += 1
        self._request(SUBSCRIBE, *subscribe_fields(
            self._subscription, filters, overflow, uids, gids, queue_bytes_max))
        return self._subscription

    def unsubscribe(self, subscription):
        self._request(UNSUBSCRIBE, struct.pack("<I", subscription))

    def ping(self):  # returns when everything sent before has been answered
        self._request(PING, bytes(4))  # the token is the lower half of the nonce

    def status(self): return json.loads(self._request(STATUSREQUEST))

    def receive(self, timeout=None):
        """The fields of the next DELIVER (the only ones with a topic; sender: those of SENDER),
        LOST or ENDED, or Refused for a publish without acknowledge; None if there is nothing in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._events:
            if not self._take_packet(deadline): return None
        return self._events.popleft()

    def close(self, reason=0, text=""):
        if not self._ended:
            self._put([encode_frame(DISCONNECT, struct.pack("<HH", reason, 0), text.encode())])
            self._ended = ConnectionError("the session is closed")
        self.socket.close()

    def _request(self, type, fixed=b"", lead=b"", tail=b""):
        if type != HELLO:  # all others begin with a token
            self._token = (self._token + 1) % U32
            fixed = struct.pack("<I", self._token) + fixed
        self._answers.clear()
        self._send([encode_frame(type, fixed, lead, tail)])
        self._wait(lambda: (type, self._token) in self._answers)
        answer = self._answers.pop((type, self._token))
        if isinstance(answer, Refused): raise answer
        return answer

    def _wait(self, done):
        deadline = time.monotonic() + self.timeout
        while not done():
            if not self._take_packet(deadline): raise TimeoutError("no answer from the broker")

    def _send(self, frames):
        for _ in range(16):  # read on meanwhile: a client that leaves replies unread is ended
            if not self._take_packet(time.monotonic()): break
        if not self._put(frames):
            while True: self._take_packet()  # raises what the broker said before it closed

    def _put(self, frames):
        try: return self.socket.send(encode_packet(frames)) > 0
        except (BrokenPipeError, ConnectionResetError): return False  # receiving tells why

    def _take_packet(self, deadline=None):
        """Takes in one packet; False if none comes before the deadline (a monotonic time)."""
        if self._ended: raise self._ended
        wait = None if deadline is None else max(0, deadline - time.monotonic())
        if not select.select([self.socket], [], [], wait)[0]: return False
        try: data = self.socket.recv(PACKET_MAX)
        except ConnectionResetError: data = self.socket.recv(PACKET_MAX)  # DISCONNECT may wait
        if not data: self._ended = ConnectionError("the broker closed the connection")
        try:
            for type, fields in decode_packet(data) if data else []: self._take(type, fields)
        except Malformed as fault:
            self.close(fault.reason, fault.text)
            raise
        return True

    def _take(self, type, fields):
        if type == SENDER: self._sender = fields  # of the DELIVERs behind it in this packet
        elif type == DELIVER: self._events.append({**fields, "sender": self._sender})
        elif type in (LOST, ENDED): self._events.append(fields)
        elif type == DISCONNECT: self._ended = Ended(fields["reason"], fields["text"])
        elif type == PING: self._put([encode_frame(PONG, struct.pack("<Q", fields["nonce"]))])
        elif type == PONG: self._answers[PING, fields["nonce"]] = fields
        elif type == WELCOME:
            if fields["version"] != 1: raise Malformed(0x82, "a version that was not offered")
            self._answers[HELLO, 0] = fields
        elif type in (STATUS, ADMINREPLY):
            self._status += fields["fragment"]
            if not fields["more"]:
                self._answers[type - 1, fields["token"]], self._status = self._status, b""
        elif type == REPLY:
            refused = fields["reason"] >= 0x80 and Refused(fields["reason"], fields["text"])
            if fields["request"] == PUBLISH: self._take_publish_reply(fields, refused)
            else: self._answers[fields["request"], fields["token"]] = refused or fields

    def _take_publish_reply(self, reply, refused):
        before = len(self._unanswered)
        while self._unanswered and (self._unanswered[0] - reply["token"]) % U32 < reply["count"]:
            self._unanswered.popleft()
            self._replies.append(refused or reply)
        if refused and len(self._unanswered) == before: self._events.append(refused)

def publish(client, options):
    client.publish([(options.topic, os.fsencode(text)) for text in options.message], options.ack)
    client.ping()
    while refusal := client.receive(0): raise refusal

def subscribe(client, options):
    client.subscribe(options.filter, options.overflow, options.from_uid, options.from_gid)
    left = options.count or float("inf")
    while left > 0:
        event = client.receive(options.wait)
        if event is None: return 1
        if "topic" in event:
            left -= 1
            event["payload"] = event["payload"].decode(errors="replace")
        print(json.dumps(event), flush=True)

def default_path():
    """Section 1; what is empty counts as not set."""
    home = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    home = home if os.geteuid() else "/run/broker"
    return os.environ.get("BROKER_SOCKET") or home + "/broker.sock"

def main():
    parser = argparse.ArgumentParser(description="reference client of the broker protocol")
    parser.add_argument("--socket", default=default_path())
    parser.add_argument("--broker-uid", type=int, action="append")
    commands = parser.add_subparsers(required=True)
    pub, sub = commands.add_parser("pub"), commands.add_parser("sub")
    pub.set_defaults(run=publish)
    pub.add_argument("topic")
    pub.add_argument("message", nargs="+", help="each is one, and all go in one packet")
    pub.add_argument("--ack", action="store_true", help="wait for an answer to every message")
    sub.set_defaults(run=subscribe)
    sub.add_argument("filter", nargs="+")
    sub.add_argument("-C", "--count", type=int)
    sub.add_argument("-W", "--wait", type=float, metavar="SECONDS")
    sub.add_argument("--overflow", choices=OVERFLOW, default="disconnect")
    sub.add_argument("--from-uid", nargs=2, type=int, action="append", default=[], metavar="UID")
    sub.add_argument("--from-gid", nargs=2, type=int, action="append", default=[], metavar="GID")
    commands.add_parser("status").set_defaults(
        run=lambda client, _: print(json.dumps(client.status(), indent=2)))
    options = parser.parse_args()
    try:
        client = Client(options.socket, "client.py", options.broker_uid)
        try: return options.run(client, options)
        finally: client.close()
    except (Fault, ValueError, struct.error, OSError) as fault:
        where = f"{options.socket}: " if isinstance(fault, OSError) else ""
        print(f"client.py: {where}{fault}", file=sys.stderr)
        return 69 if isinstance(fault, OSError) else 1

if __name__ == "__main__":
    sys.exit(main())
