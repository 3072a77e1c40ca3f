"""HTTP/2 (RFC 9113, RFC 7541): what h2spec asks of a server, as far as it matters here, smuggling by way of HTTP/2, and floods."""

import socket
import struct

import hpack
from h2rs import h2rs as tool
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from world import BASIC

SUITE = "http/2 conformance"
SMUGGLING = "http/2 smuggling"
FLOODS = "http/2 floods"

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

NO_ERROR, PROTOCOL, INTERNAL, FLOW, _, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION, _, CALM = range(12)

GET = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/v1.0/me/messages"),
    (":authority", "localhost"),
    ("authorization", f"Basic {BASIC}"),
]
POST = [(":method", "POST"), *GET[1:], ("content-type", "application/json")]


class Client:
    """A connection after the prefaces, that sends any frames."""

    def __init__(self, world, preface=PREFACE, settings=True):
        context = world.client_tls()
        context.set_alpn_protocols(["h2"])
        self.stream = context.wrap_socket(world.connect("graphs"), server_hostname="localhost")
        if self.stream.selected_alpn_protocol() != "h2":
            raise RuntimeError("HTTP/2 is not spoken")
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.wire = b""
        self.stream.sendall(preface + (SettingsFrame(0).serialize() if settings else b""))

    def close(self):
        self.stream.close()

    def send(self, *frames):
        octets = b"".join(frame if isinstance(frame, bytes) else frame.serialize() for frame in frames)
        try:
            self.stream.sendall(octets)
        except OSError:
            # It has closed already; what it said before can still be read.
            pass

    def headers(self, fields, stream=1, flags=("END_HEADERS", "END_STREAM")):
        return HeadersFrame(stream, data=self.encoder.encode(fields, huffman=False), flags=flags)

    def frames(self):
        """Frames until the connection ends. Settings and pings are answered."""
        while True:
            try:
                while len(self.wire) < 9 or len(self.wire) < 9 + int.from_bytes(self.wire[:3], "big"):
                    piece = self.stream.recv(65536)
                    if not piece:
                        return
                    self.wire += piece
            except TimeoutError:
                raise
            except OSError:
                return
            frame, length = Frame.parse_frame_header(memoryview(self.wire[:9]))
            frame.parse_body(memoryview(self.wire[9 : 9 + length]))
            self.wire = self.wire[9 + length :]
            yield frame

    def outcome(self, stream=1):
        """What comes first: `go-away N`, `reset N` or `status N` of the stream, or `closed`."""
        status = None
        for frame in self.frames():
            if isinstance(frame, GoAwayFrame) and frame.error_code != NO_ERROR:
                return f"go-away {frame.error_code}"
            if isinstance(frame, HeadersFrame):
                fields = dict(self.decoder.decode(frame.data))
                if frame.stream_id == stream:
                    status = fields[":status"]
            if frame.stream_id == stream and isinstance(frame, RstStreamFrame):
                if frame.error_code == NO_ERROR and status:
                    return f"status {status}"
                return f"reset {frame.error_code}"
            if status and frame.stream_id == stream and "END_STREAM" in frame.flags:
                return f"status {status}"
        return "closed"

    def ping(self):
        """Whether the connection still works."""
        self.send(PingFrame(0, opaque_data=b"suites!!"))
        for frame in self.frames():
            if isinstance(frame, PingFrame) and "ACK" in frame.flags and frame.opaque_data == b"suites!!":
                return "goes on"
            if isinstance(frame, GoAwayFrame) and frame.error_code != NO_ERROR:
                return f"go-away {frame.error_code}"
        return "closed"


def raw(kind, flags, stream, payload, length=None):
    """A frame that hyperframe would not make."""
    return struct.pack(">I", len(payload) if length is None else length)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def connection_error(*codes):
    return {"closed", *(f"go-away {code}" for code in codes)}


def stream_error(*codes):
    # A server may treat a stream's error as one of the connection (RFC 9113 §5.4.2).
    return {"closed", "status 400", *(f"{how} {code}" for code in codes for how in ("reset", "go-away"))}


OK = {"status 200"}
BODY = b'{"a":1}'


# Each case: what is sent, and what may come of it on stream 1.
CASES = {
    "GET": (lambda c: [c.headers(GET)], OK),
    "POST": (lambda c: [c.headers(POST, flags=["END_HEADERS"]), DataFrame(1, BODY, flags=["END_STREAM"])], OK),
    "POST with its length": (
        lambda c: [c.headers([*POST, ("content-length", "7")], flags=["END_HEADERS"]), DataFrame(1, BODY, flags=["END_STREAM"])],
        OK,
    ),
    "POST in two data frames, padded": (
        lambda c: [
            c.headers(POST, flags=["END_HEADERS"]),
            DataFrame(1, BODY[:3], flags=["PADDED"], pad_length=9),
            DataFrame(1, BODY[3:], flags=["END_STREAM"]),
        ],
        OK,
    ),
    "headers in two frames": (lambda c: split(c, GET), OK),
    "headers with priority": (lambda c: [priority(c, GET)], OK),
    "an unknown frame": (lambda c: [raw(0xF0, 0, 0, b"anything"), c.headers(GET)], OK),
    "an unknown setting": (lambda c: [SettingsFrame(0, {0xF0F0: 1}), c.headers(GET)], OK),
    "trailers": (
        lambda c: [c.headers(POST, flags=["END_HEADERS"]), DataFrame(1, BODY), c.headers([("x-a", "b")])],
        OK,
    ),
    "a frame that is too long": (lambda c: [c.headers(POST, flags=["END_HEADERS"]), raw(0, 0, 1, bytes(16385))], stream_error(SIZE)),
    "headers that are too long": (lambda c: [raw(1, 4, 1, bytes(16385))], connection_error(SIZE)),
    "headers on stream 0": (lambda c: [raw(1, 5, 0, c.encoder.encode(GET))], connection_error(PROTOCOL)),
    "headers on an even stream": (lambda c: [c.headers(GET, 2)], connection_error(PROTOCOL)),
    "headers on an older stream": (lambda c: [c.headers(GET, 5), c.headers(GET, 3)], connection_error(PROTOCOL, CLOSED)),
    "headers with too much padding": (lambda c: [raw(1, 0x0D, 1, b"\xff" + c.encoder.encode(GET))], connection_error(PROTOCOL)),
    "headers, no HPACK": (lambda c: [raw(1, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff")], connection_error(COMPRESSION)),
    "headers, an index out of range": (lambda c: [raw(1, 5, 1, b"\xfe")], connection_error(COMPRESSION)),
    "headers, index 0": (lambda c: [raw(1, 5, 1, b"\x80")], connection_error(COMPRESSION)),
    "headers, a table that is too large": (lambda c: [raw(1, 5, 1, b"\x3f\xe2\x1f" + c.encoder.encode(GET))], connection_error(COMPRESSION)),
    "headers, a table update in the middle": (lambda c: [raw(1, 5, 1, c.encoder.encode(GET) + b"\x20")], connection_error(COMPRESSION)),
    "headers, bad Huffman padding": (lambda c: [raw(1, 5, 1, b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff")], connection_error(COMPRESSION)),
    "data on stream 0": (lambda c: [raw(0, 1, 0, b"x")], connection_error(PROTOCOL)),
    "data on an idle stream": (lambda c: [DataFrame(1, b"x", flags=["END_STREAM"])], connection_error(PROTOCOL)),
    "data behind the end of a stream": (lambda c: [c.headers(GET), DataFrame(1, b"x" * 9)], stream_error(CLOSED) | OK),
    "data with too much padding": (lambda c: [c.headers(POST, flags=["END_HEADERS"]), raw(0, 8, 1, b"\x09abc")], connection_error(PROTOCOL)),
    "settings on a stream": (lambda c: [raw(4, 0, 1, b"")], connection_error(PROTOCOL)),
    "settings, an odd length": (lambda c: [raw(4, 0, 0, b"\0\3\0\0\0")], connection_error(SIZE)),
    "settings, an acknowledgement with content": (lambda c: [raw(4, 1, 0, b"\0\3\0\0\0\1")], connection_error(SIZE)),
    "settings, ENABLE_PUSH 2": (lambda c: [SettingsFrame(0, {2: 2})], connection_error(PROTOCOL)),
    "settings, a window above 2^31": (lambda c: [SettingsFrame(0, {4: 2**31})], connection_error(FLOW)),
    "settings, frames below 16 KiB": (lambda c: [SettingsFrame(0, {5: 16383})], connection_error(PROTOCOL)),
    "settings, frames above 16 MiB": (lambda c: [SettingsFrame(0, {5: 2**24})], connection_error(PROTOCOL)),
    "ping on a stream": (lambda c: [raw(6, 0, 1, bytes(8))], connection_error(PROTOCOL)),
    "ping, a wrong length": (lambda c: [raw(6, 0, 0, bytes(7))], connection_error(SIZE)),
    "window update of 0": (lambda c: [raw(8, 0, 0, bytes(4))], connection_error(PROTOCOL)),
    "window update of 0 on a stream": (lambda c: [c.headers(POST, flags=["END_HEADERS"]), raw(8, 0, 1, bytes(4))], stream_error(PROTOCOL)),
    "window update, a wrong length": (lambda c: [raw(8, 0, 0, bytes(3))], connection_error(SIZE)),
    "window update, an idle stream": (lambda c: [WindowUpdateFrame(1, 1)], connection_error(PROTOCOL)),
    "window update above 2^31": (lambda c: [WindowUpdateFrame(0, 2**31 - 1)], connection_error(FLOW)),
    "window update above 2^31 on a stream": (
        lambda c: [c.headers(POST, flags=["END_HEADERS"]), WindowUpdateFrame(1, 2**31 - 1)],
        stream_error(FLOW),
    ),
    "reset on stream 0": (lambda c: [raw(3, 0, 0, bytes(4))], connection_error(PROTOCOL)),
    "reset of an idle stream": (lambda c: [raw(3, 0, 1, bytes(4))], connection_error(PROTOCOL)),
    "reset, a wrong length": (lambda c: [c.headers(POST, flags=["END_HEADERS"]), raw(3, 0, 1, bytes(3))], connection_error(SIZE)),
    "go-away on a stream": (lambda c: [raw(7, 0, 1, bytes(8))], connection_error(PROTOCOL)),
    "go-away, too short": (lambda c: [raw(7, 0, 0, bytes(7))], connection_error(SIZE)),
    "priority on stream 0": (lambda c: [raw(2, 0, 0, bytes(5))], connection_error(PROTOCOL)),
    "push promise of a client": (lambda c: [c.headers(POST, flags=["END_HEADERS"]), raw(5, 4, 1, b"\0\0\0\2")], connection_error(PROTOCOL)),
    "continuation without headers": (lambda c: [raw(9, 4, 1, b"")], connection_error(PROTOCOL)),
    "continuation behind the end of headers": (lambda c: [c.headers(POST, flags=["END_HEADERS"]), raw(9, 4, 1, b"")], connection_error(PROTOCOL)),
    "continuation on another stream": (lambda c: [c.headers(GET, flags=["END_STREAM"]), raw(9, 4, 3, b"")], connection_error(PROTOCOL)),
    "a frame within headers": (lambda c: [c.headers(GET, flags=["END_STREAM"]), PingFrame(0, opaque_data=bytes(8))], connection_error(PROTOCOL)),
    "a second head": (lambda c: [c.headers(POST, flags=["END_HEADERS"]), c.headers(POST, flags=["END_HEADERS"])], stream_error(PROTOCOL)),
}


def split(client, fields):
    block = client.encoder.encode(fields, huffman=False)
    return [HeadersFrame(1, data=block[:5], flags=["END_STREAM"]), ContinuationFrame(1, data=block[5:], flags=["END_HEADERS"])]


def priority(client, fields):
    block = client.encoder.encode(fields, huffman=False)
    return HeadersFrame(1, data=block, flags=["END_HEADERS", "END_STREAM", "PRIORITY"], depends_on=0, stream_weight=9)


# Requests that another reader could take for something else: fields, body, and the stream's end.
def fields(*more, base=POST, without=()):
    return [field for field in base if field[0] not in without] + list(more)


MALFORMED = {
    "a field name in capitals": fields(("X-A", "b")),
    "a field name with a space": fields(("x a", "b")),
    "a field name with a colon": fields(("x:a", "b")),
    "a field name with a line end": fields(("x\r\nsmuggled: 1\r\nx", "b")),
    "an empty field name": fields(("", "b")),
    "a value with CR LF": fields(("x-a", "b\r\ncontent-length: 0\r\n\r\nGET /smuggled HTTP/1.1")),
    "a value with LF": fields(("x-a", "b\ntransfer-encoding: chunked")),
    "a value with CR": fields(("x-a", "b\rc")),
    "a value with NUL": fields(("x-a", "b\0c")),
    "a path with CR LF": fields((":path", "/v1.0/me/messages HTTP/1.1\r\nx: "), base=[*POST[:2], *POST[3:]]),
    "a path with a space": fields(base=[*POST[:2], (":path", "/v1.0/me/messages x"), *POST[3:]]),
    "an empty path": fields(base=[*POST[:2], (":path", ""), *POST[3:]]),
    "a path without a slash": fields(base=[*POST[:2], (":path", "v1.0/me/messages"), *POST[3:]]),
    "a method with a space": fields(base=[(":method", "POST /x HTTP/1.1"), *POST[1:]]),
    "no method": fields(without=[":method"]),
    "no scheme": fields(without=[":scheme"]),
    "no path": fields(without=[":path"]),
    "no authority": fields(without=[":authority"]),
    "two methods": fields(base=[(":method", "GET"), *POST]),
    "two paths": fields(base=[(":path", "/v1.0/me"), *POST]),
    "two schemes": fields(base=[(":scheme", "http"), *POST]),
    "two authorities": fields(base=[(":authority", "other"), *POST]),
    "a pseudo field behind a field": fields(base=[*POST[:3], *POST[4:], POST[3]]),
    "an unknown pseudo field": fields(base=[(":smuggled", "1"), *POST]),
    "a pseudo field of answers": fields(base=[(":status", "200"), *POST]),
    "a scheme with another host": fields(base=[POST[0], (":scheme", "https://other/x?"), *POST[2:]]),
    "connection": fields(("connection", "keep-alive")),
    "transfer-encoding": fields(("transfer-encoding", "chunked")),
    "keep-alive": fields(("keep-alive", "timeout=1")),
    "proxy-connection": fields(("proxy-connection", "keep-alive")),
    "upgrade": fields(("upgrade", "h2c")),
    "te with more than trailers": fields(("te", "trailers, deflate")),
    "another host": fields(("host", "other")),
    "a length that is too small": fields(("content-length", "3")),
    "a length that is too large": fields(("content-length", "9")),
    "two lengths": fields(("content-length", "7"), ("content-length", "8")),
    "a length that is no number": fields(("content-length", "+7")),
    "a list of lengths": fields(("content-length", "7, 7")),
    "underscore in the length's name": fields(("content_length", "9")),
    "CONNECT": [(":method", "CONNECT"), (":authority", "graph.microsoft.com:443")],
    "extended CONNECT": fields((":protocol", "websocket"), base=[(":method", "CONNECT"), *POST[1:]][:4]),
}


def conforms(world, make, allowed):
    client = Client(world)
    try:
        client.send(*make(client))
        outcome = client.outcome()
        return None if outcome in allowed else f"{outcome}, not {' or '.join(sorted(allowed))}"
    finally:
        client.close()


def malformed(world, fake, head):
    fake.take_requests()
    client = Client(world)
    try:
        client.send(client.headers(head, flags=["END_HEADERS"]), DataFrame(1, BODY, flags=["END_STREAM"]))
        outcome = client.outcome()
    finally:
        client.close()
    if requests := fake.take_requests():
        return f"forwarded: {requests}"
    return None if outcome == "closed" or outcome.startswith(("reset", "go-away", "status 4")) else outcome


def bad_trailers(world, fake, trailers):
    """Trailers must not become fields of the request."""
    fake.take_requests()
    client = Client(world)
    try:
        client.send(client.headers(POST, flags=["END_HEADERS"]), DataFrame(1, BODY), client.headers(trailers))
        client.outcome()
    finally:
        client.close()
    forwarded = [head for head, _ in fake.take_requests() if any(name.strip(":").encode() + b": smuggled" in head for name, _ in trailers)]
    return f"forwarded: {forwarded}" if forwarded else None


def preface(world, octets):
    client = Client(world, preface=octets, settings=False)
    try:
        outcome = client.ping()
        return None if outcome in connection_error(PROTOCOL, SIZE) else outcome
    finally:
        client.close()


def survives_reset(world):
    client = Client(world)
    try:
        client.send(client.headers(POST, flags=["END_HEADERS"]), RstStreamFrame(1, 0xFFFF))
        goes_on = client.ping()
        return None if goes_on == "goes on" else goes_on
    finally:
        client.close()


def flood(world, frames, allowed):
    """Sends a part over and over until the connection ends, which it must do, at the latest when all is sent."""
    client = Client(world)
    try:
        for part in frames(client):
            try:
                client.stream.sendall(part)
            except OSError:
                break
        outcome = client.ping()
        return None if outcome in allowed else outcome
    finally:
        client.close()


def rapid_reset(client):
    """CVE-2023-44487."""
    for n in range(5000):
        yield client.headers(POST, 2 * n + 1, flags=["END_HEADERS"]).serialize() + RstStreamFrame(2 * n + 1, CANCEL).serialize()


def continuations(client):
    """CVE-2024-27316 and its like."""
    yield client.headers(GET, flags=[]).serialize()
    for _ in range(5000):
        yield ContinuationFrame(1, data=client.encoder.encode([("x-a", "b" * 1000)])).serialize()


def empty_continuations(client):
    yield client.headers(GET, flags=[]).serialize()
    for _ in range(50000):
        yield raw(9, 0, 1, b"") * 16


def made_you_reset(client):
    """CVE-2025-8671: the server is brought to reset the streams itself."""
    for n in range(5000):
        stream = 2 * n + 1
        yield client.headers(POST, stream, flags=["END_HEADERS"]).serialize() + raw(8, 0, stream, bytes(4))


def hpack_bomb(client):
    """A field of 4 KiB in the table, named over and over."""
    block = client.encoder.encode([*GET, ("x-a", "b" * 4000)])
    yield HeadersFrame(1, data=block + b"\xbe" * 12000, flags=["END_HEADERS", "END_STREAM"]).serialize()


def too_many_streams(world):
    """More than 32 streams at once are refused, or the connection is."""
    client = Client(world)
    try:
        client.send(*(client.headers(POST, 2 * n + 1, flags=["END_HEADERS"]) for n in range(200)))
        refused = 0
        for frame in client.frames():
            if isinstance(frame, RstStreamFrame):
                refused += frame.error_code in (REFUSED, PROTOCOL)
            if isinstance(frame, GoAwayFrame) or refused >= 100:
                return None
        return None
    finally:
        client.close()


def smuggles(detect):
    """Runs a detector of h2rs. It breaks where a server closes the connection, which is a refusal."""
    try:
        return "it finds request smuggling" if detect() else None
    except OSError:
        return None
    finally:
        # It changes the default of all sockets.
        socket.setdefaulttimeout(None)


def h2rs(world, results):
    """A detector of request smuggling that others wrote."""
    tool.hostname, tool.tlsport, tool.timeout, tool.user_agent = "localhost", world.ports["graphs"], 5, "suites"
    for case, detect in {
        "H2.CL": tool.h2cl_detect,
        "H2.CL by CRLF": tool.h2clcrlf_detect,
        "H2.TE": tool.h2te_detect,
        "H2.TE by CRLF": tool.h2tecrlf_detect,
        "a tunnel of requests": tool.h2tunnel_detect,
    }.items():
        results.run("h2rs", case, smuggles, detect)


def run(world, fake, results):
    results.run(SUITE, "a wrong preface", preface, world, b"INVALID CONNECTION PREFACE\r\n\r\n")
    results.run(SUITE, "no settings behind the preface", preface, world, PREFACE + PingFrame(0, opaque_data=bytes(8)).serialize())
    for case, (make, allowed) in CASES.items():
        results.run(SUITE, case, conforms, world, make, allowed)
    results.run(SUITE, "a reset with an unknown error code", survives_reset, world)
    for case, head in MALFORMED.items():
        results.run(SMUGGLING, case, malformed, world, fake, head)
    for case, trailers in {
        "a length in trailers": [("content-length", "smuggled")],
        "a pseudo field in trailers": [(":path", "smuggled")],
        "an authorization in trailers": [("authorization", "smuggled")],
    }.items():
        results.run(SMUGGLING, case, bad_trailers, world, fake, trailers)
    ended = connection_error(PROTOCOL, CALM, INTERNAL, COMPRESSION, FLOW)
    results.run(FLOODS, "rapid reset", flood, world, rapid_reset, ended)
    results.run(FLOODS, "continuations", flood, world, continuations, ended)
    results.run(FLOODS, "empty continuations", flood, world, empty_continuations, ended)
    results.run(FLOODS, "resets by the server", flood, world, made_you_reset, ended)
    results.run(FLOODS, "a table that unpacks", flood, world, hpack_bomb, ended | {"goes on"})
    results.run(FLOODS, "too many streams", too_many_streams, world)
    h2rs(world, results)
