"""Upstreams that are not the sandbox: one that records HTTP requests, and mail servers that follow a script."""

import socket
import threading

from world import PATIENCE


class Fakes:
    """The listening sockets, and what was received."""

    NAMES = ("recorder", "fake-imap", "fake-pop3", "fake-smtp")

    def __init__(self):
        self.sockets = {name: socket.create_server(("127.0.0.1", 0), backlog=64) for name in self.NAMES}
        self.lock = threading.Lock()
        # Requests: head and body, as they arrived at the recorder.
        self.requests = []
        # What the next connection to a mail server gets: a function of the socket.
        self.scripts = {}
        self.tls = None

    def ports(self):
        return {name: listener.getsockname()[1] for name, listener in self.sockets.items()}

    def serve(self, tls):
        self.tls = tls
        for name, listener in self.sockets.items():
            threading.Thread(target=self.accept, args=(name, listener), daemon=True).start()

    def accept(self, name, listener):
        while True:
            connection, _ = listener.accept()
            connection.settimeout(PATIENCE)
            serve = self.record if name == "recorder" else self.follow
            threading.Thread(target=self.quietly, args=(serve, name, connection), daemon=True).start()

    @staticmethod
    def quietly(serve, name, connection):
        try:
            serve(name, connection)
        except (OSError, ValueError):
            # The other side may leave at any time.
            pass
        finally:
            connection.close()

    def follow(self, name, connection):
        script = self.scripts.get(name)
        if script:
            script(connection)

    def take_requests(self):
        with self.lock:
            taken, self.requests = self.requests, []
            return taken

    def record(self, _, connection):
        """Answers each complete request with 200, and records it."""
        with self.tls.wrap_socket(connection, server_side=True) as stream:
            wire = b""
            while True:
                while b"\r\n\r\n" not in wire:
                    if not (piece := stream.recv(65536)):
                        return
                    wire += piece
                head, wire = wire.split(b"\r\n\r\n", 1)
                body, wire = self.body(stream, head, wire)
                with self.lock:
                    self.requests.append((head, body))
                answer = b"" if head.startswith(b"HEAD ") else b"ok"
                stream.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n" + answer)

    @staticmethod
    def body(stream, head, wire):
        def more():
            piece = stream.recv(65536)
            if not piece:
                raise ValueError("the request is incomplete")
            return piece

        fields = [line.split(b":", 1) for line in head.split(b"\r\n")[1:]]
        fields = {name.strip().lower(): value.strip() for name, value in fields}
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            body = b""
            while True:
                while b"\r\n" not in wire:
                    wire += more()
                size, wire = wire.split(b"\r\n", 1)
                length = int(size, 16)
                while len(wire) < length + 2:
                    wire += more()
                body, wire = body + wire[:length], wire[length + 2 :]
                if length == 0:
                    return body, wire
        length = int(fields.get(b"content-length", b"0"))
        while len(wire) < length:
            wire += more()
        return wire[:length], wire[length:]
