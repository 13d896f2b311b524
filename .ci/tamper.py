"""Stands between two brokers that are linked, and alters a byte when it is told to."""
import socket, struct, threading

HEADER, TAG, HELLO_AND_REFUSAL, DATA = 40, 32, (1, 2), 4  # Protocol/forwarding.md, section 2


class Tamper:
    """A TCP relay on a port of its own. What goes to the target is looked at record by record."""

    def __init__(self, target):
        self.target, self.armed, self.altered = target, threading.Event(), threading.Event()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def alter_next_message(self):
        self.armed.set()

    def close(self):
        self.server.close()

    def _accept(self):
        while True:
            try:
                client = self.server.accept()[0]
                broker = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            for way in ((self._records, client, broker), (self._bytes, broker, client)):
                threading.Thread(target=self._run, args=way, daemon=True).start()

    def _run(self, relay, source, sink):
        try:
            relay(source, sink)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _bytes(self, source, sink):
        while data := source.recv(65536):
            sink.sendall(data)

    def _records(self, source, sink):
        stream = source.makefile("rb")
        while len(header := stream.read(HEADER)) == HEADER:
            kind, length = header[5], struct.unpack_from("<I", header, 32)[0]
            body = bytearray(stream.read(length + (0 if kind in HELLO_AND_REFUSAL else TAG)))
            if kind == DATA and self.armed.is_set():
                body[length - 1] ^= 1  # the last byte of the last message
                self.armed.clear()
                self.altered.set()
            sink.sendall(header + body)
