"""TLS 1.2 and 1.3 as a server (RFC 5246, RFC 8446): the cases of tlsfuzzer that fit a server without CBC and RSA key exchange,
written with tlslite-ng. A hello is made octet by octet; what follows a handshake is sent by tlslite-ng's record layer."""

import os
import struct

from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.constants import KeyUpdateMessageType
from tlslite.errors import TLSError
from tlslite.messages import ClientKeyExchange, Finished, Message

from world import read_to_end

HELLO = "tls hello"

CCS, ALERT, HANDSHAKE, DATA, HEARTBEAT = 20, 21, 22, 23, 24

CLOSE, UNEXPECTED, BAD_MAC, OVERFLOW, FAILURE = 0, 10, 20, 22, 40
ILLEGAL, DECODE, DECRYPT, VERSION, FALLBACK, NO_RENEGOTIATION, MISSING, NO_PROTOCOL = 47, 50, 51, 70, 86, 100, 109, 120

TLS13 = [0x1301, 0x1302, 0x1303]
ECDSA12 = [0xC02B, 0xC02C, 0xCCA9]
# Of each kind that must not be spoken.
WEAK = {
    "ECDHE-ECDSA-AES128-CBC-SHA": 0xC009,
    "ECDHE-ECDSA-AES128-CBC-SHA256": 0xC023,
    "ECDHE-ECDSA-3DES-CBC-SHA": 0xC008,
    "ECDHE-ECDSA-RC4-SHA": 0xC007,
    "ECDHE-ECDSA-NULL-SHA": 0xC006,
    "RSA-AES128-GCM-SHA256": 0x009C,
    "RSA-AES128-CBC-SHA": 0x002F,
    "DHE-RSA-AES128-GCM-SHA256": 0x009E,
    "anonymous ECDH": 0xC018,
    "anonymous DH": 0x0034,
    "export": 0x0003,
    "NULL": 0x0000,
}


def vector(octets, size=2):
    return len(octets).to_bytes(size, "big") + octets


def numbers(values):
    return b"".join(struct.pack(">H", value) for value in values)


GROUPS = (10, vector(numbers([29, 23, 24])))
P256 = (10, vector(numbers([23])))
SIGNATURES = (13, vector(numbers([0x0403, 0x0503, 0x0804, 0x0805, 0x0401])))
MASTER = (23, b"")
VERSIONS = (43, vector(numbers([0x0304, 0x0303]), 1))


def share(group=29, octets=None):
    # Any 32 octets are a public key of X25519, if not of low order.
    return (51, vector(numbers([group]) + vector(octets if octets is not None else os.urandom(32))))


def modern(*more, without=()):
    given = [VERSIONS, GROUPS, SIGNATURES, share(), MASTER]
    return [extension for extension in given if extension[0] not in without] + list(more)


OLD = [GROUPS, SIGNATURES, MASTER]


def hello(suites, extensions, version=0x0303, compressions=b"\0", session=b"", behind=b"", cut=0):
    """The message of a hello."""
    body = numbers([version]) + os.urandom(32) + vector(session, 1) + vector(numbers(suites)) + vector(compressions, 1)
    if extensions is not None:
        body += vector(b"".join(numbers([kind]) + vector(content) for kind, content in extensions))
    body += behind
    body = body[: len(body) - cut]
    return b"\1" + vector(body, 3)


def records(message, size=16384, kind=HANDSHAKE):
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(bytes([kind, 3, 1]) + vector(piece) for piece in pieces)


def answer_to(world, octets):
    """The first answer: `alert N`, `hello VERSION SUITE`, `hello again`, or `closed`, and the octets."""
    with world.connect("imaps") as connection:
        connection.sendall(octets)
        wire = b""
        while len(wire) < 5 or len(wire) < 5 + int.from_bytes(wire[3:5], "big"):
            try:
                piece = connection.recv(4096)
            except ConnectionError:
                piece = b""
            if not piece:
                return "closed", wire
            wire += piece
    body = wire[5 : 5 + int.from_bytes(wire[3:5], "big")]
    if wire[0] == ALERT:
        return f"alert {body[1]}", body
    if wire[0] != HANDSHAKE or body[0] != 2:
        return f"record {wire[0]}", body
    session = body[38]
    suite = int.from_bytes(body[39 + session : 41 + session], "big")
    again = body[6:38] == bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
    version = "1.3" if b"\x00\x2b\x00\x02\x03\x04" in body[41 + session :] else f"{body[4]}.{body[5]}"
    return "hello again" if again else f"hello {version} {suite:04x}", body


def alerts(*codes, closed=True):
    return {*(f"alert {code}" for code in codes), *(["closed"] if closed else [])}


ANY13 = {f"hello 1.3 {suite:04x}" for suite in TLS13}
ANY12 = {f"hello 3.3 {suite:04x}" for suite in ECDSA12}

# Each case: what is sent, and what may come of it.
HELLOS = {
    "TLS 1.3": (records(hello(TLS13, modern())), ANY13),
    "TLS 1.2": (records(hello(ECDSA12, OLD)), ANY12),
    "TLS 1.3 is preferred": (records(hello(ECDSA12 + TLS13, modern())), ANY13),
    "TLS 1.2 by way of supported_versions": (
        records(hello(ECDSA12 + TLS13, [*OLD, (43, vector(numbers([0x0303]), 1))])),
        ANY12,
    ),
    "TLS 1.1": (records(hello(ECDSA12 + [0xC009], OLD, version=0x0302)), alerts(VERSION, closed=False)),
    "TLS 1.0": (records(hello(ECDSA12 + [0xC009], OLD, version=0x0301)), alerts(VERSION, closed=False)),
    "SSL 3": (records(hello([0x000A], None, version=0x0300)), alerts(VERSION, FAILURE, DECODE)),
    "SSL 2": (bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + os.urandom(16), alerts(VERSION, DECODE, UNEXPECTED)),
    "TLS 1.1 by way of supported_versions": (
        records(hello(ECDSA12, [*OLD, (43, vector(numbers([0x0302, 0x0301]), 1))])),
        alerts(VERSION, closed=False),
    ),
    "an unknown version first": (records(hello(TLS13, modern((43, vector(numbers([0x7A7A, 0x0304]), 1)), without=[43]))), ANY13),
    "an unknown version, higher": (records(hello(ECDSA12, OLD, version=0x0399)), ANY12),
    "unknown suites, groups, signatures and extensions": (
        records(
            hello(
                [0x0A0A, 0xFAFA] + TLS13,
                [(0x1A1A, b"x"), VERSIONS, (10, vector(numbers([0x2A2A, 29]))), (13, vector(numbers([0x3A3A, 0x0403]))), share(), (0xFFCE, b"")],
            )
        ),
        ANY13,
    ),
    "a session that nobody knows": (records(hello(TLS13, modern(), session=os.urandom(32))), ANY13),
    "only a share of an unknown group": (records(hello(TLS13, modern(share(0x4A4A, b"x"), without=[51]))), {"hello again"}),
    "no share": (records(hello(TLS13, modern((51, vector(b"")), without=[51]))), {"hello again"}),
    "a hello in pieces of one octet": (records(hello(TLS13, modern()), size=1), ANY13),
    "a hello in pieces of 64 octets": (records(hello(TLS13, modern()), size=64), ANY13),
    "a hello of 16 KiB": (records(hello(TLS13, modern((21, bytes(15000))))), ANY13),
    "a hello in two large records": (records(hello(TLS13, modern((21, bytes(30000))))), ANY13),
    "a name that the certificate lacks": (records(hello(TLS13, modern((0, vector(b"\0" + vector(b"other.example")))))), ANY13),
    "ALPN that fits": (records(hello(TLS13, modern((16, vector(vector(b"imap", 1)))))), ANY13),
    "ALPN of another protocol": (
        # In TLS 1.3 the alert would come behind the server's hello.
        records(hello(ECDSA12, [*OLD, (16, vector(vector(b"http/1.1", 1)))])),
        alerts(NO_PROTOCOL, closed=False),
    ),
    "ALPN, empty": (records(hello(TLS13, modern((16, vector(b""))))), alerts(DECODE, ILLEGAL)),
    "ALPN, an empty name": (records(hello(TLS13, modern((16, vector(vector(b"", 1)))))), alerts(DECODE, ILLEGAL)),
    "a fallback": (records(hello(ECDSA12 + [0x5600], OLD)), alerts(FALLBACK, closed=False)),
    "no shared suite": (records(hello([0x1304], modern())), alerts(FAILURE, closed=False)),
    "no shared group": (records(hello(TLS13, modern((10, vector(numbers([0x5A5A]))), share(0x5A5A, b"x"), without=[10, 51]))), alerts(FAILURE)),
    "no shared signature": (records(hello(ECDSA12, [GROUPS, (13, vector(numbers([0x0401]))), MASTER])), alerts(FAILURE)),
    "SHA-1 signatures only, TLS 1.2": (records(hello(ECDSA12, [GROUPS, (13, vector(numbers([0x0203]))), MASTER])), alerts(FAILURE)),
    "no signatures": (records(hello(TLS13, modern(without=[13]))), alerts(MISSING, FAILURE)),
    "no groups": (records(hello(TLS13, modern(without=[10]))), alerts(MISSING, FAILURE)),
    "no share at all": (records(hello(TLS13, modern(without=[51]))), alerts(MISSING, FAILURE)),
    "no suites": (records(hello([], modern())), alerts(DECODE, ILLEGAL, FAILURE)),
    "no compression method": (records(hello(TLS13, modern(), compressions=b"")), alerts(DECODE, ILLEGAL)),
    "compression without null": (records(hello(ECDSA12, OLD, compressions=b"\1")), alerts(ILLEGAL, DECODE, FAILURE)),
    "compression in TLS 1.3": (records(hello(TLS13, modern(), compressions=b"\0\1")), alerts(ILLEGAL, closed=False)),
    "an extension twice": (records(hello(TLS13, modern(GROUPS))), alerts(ILLEGAL, DECODE)),
    "a share twice": (records(hello(TLS13, modern((51, vector((numbers([29]) + vector(os.urandom(32))) * 2)), without=[51]))), alerts(ILLEGAL)),
    "a share that is too short": (records(hello(TLS13, modern(share(29, bytes(31)), without=[51]))), alerts(ILLEGAL)),
    "a share of zeros": (records(hello(TLS13, modern(share(29, bytes(32)), without=[51]))), alerts(ILLEGAL, FAILURE)),
    "a point that is not on P-256": (records(hello(TLS13, modern(P256, share(23, b"\4" + b"\1" * 64), without=[10, 51]))), alerts(ILLEGAL, FAILURE)),
    "a point at infinity": (records(hello(TLS13, modern(P256, share(23, b"\0"), without=[10, 51]))), alerts(ILLEGAL)),
    "a hello that is cut off": (records(hello(TLS13, modern(), cut=3)), alerts(DECODE)),
    "octets behind a hello": (records(hello(TLS13, modern(), behind=b"x")), alerts(DECODE)),
    "a session of 33 octets": (records(hello(TLS13, modern(), session=bytes(33))), alerts(DECODE, ILLEGAL)),
    "an odd number of octets of suites": (records(hello(TLS13, modern()).replace(vector(numbers(TLS13)), vector(numbers(TLS13)[:-1]))), alerts(DECODE)),
    "a hello of 16 MiB": (records(b"\1\xff\xff\xff" + bytes(16000)), alerts(DECODE, ILLEGAL, UNEXPECTED)),
    "a record that is too long": (bytes([HANDSHAKE, 3, 1]) + struct.pack(">H", 2**14 + 2049) + bytes(2**14 + 2049), alerts(OVERFLOW, DECODE)),
    "an empty record": (records(b"", 1) + bytes([HANDSHAKE, 3, 1, 0, 0]) + records(hello(TLS13, modern())), alerts(UNEXPECTED, DECODE)),
    "data in place of a hello": (records(b"a LOGIN\r\n", kind=DATA), alerts(UNEXPECTED, DECODE)),
    "a change of ciphers in place of a hello": (records(b"\1", kind=CCS) + records(hello(TLS13, modern())), alerts(UNEXPECTED)),
    "an alert in place of a hello": (records(b"\2\x28", kind=ALERT), {"closed"}),
    "a heartbeat in place of a hello": (records(b"\1\x40\0", kind=HEARTBEAT), alerts(UNEXPECTED, DECODE)),
    "an unknown type of record": (records(b"x", kind=99), alerts(UNEXPECTED, DECODE)),
    "a certificate in place of a hello": (records(b"\x0b\0\0\0"), alerts(UNEXPECTED, DECODE)),
    "a finished in place of a hello": (records(b"\x14\0\0\x0c" + bytes(12)), alerts(UNEXPECTED, DECODE)),
    "HTTP in place of TLS": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", alerts(DECODE, UNEXPECTED, VERSION, OVERFLOW)),
}
for name, suite in WEAK.items():
    HELLOS[f"only {name}"] = (records(hello([suite], OLD)), alerts(FAILURE))


def greeted(world, octets, allowed):
    outcome, _ = answer_to(world, octets)
    return None if outcome in allowed else f"{outcome}, not {' or '.join(sorted(allowed))}"


def sentinel(world):
    """RFC 8446 §4.1.3: a server of TLS 1.3 that speaks TLS 1.2 says so in its random, against a downgrade."""
    outcome, body = answer_to(world, records(hello(ECDSA12, OLD)))
    return None if body[30:38] == b"DOWNGRD\1" else f"{outcome} without the sentinel"


def no_heartbeat(world):
    outcome, body = answer_to(world, records(hello(ECDSA12, [*OLD, (15, b"\1")])))
    return "it is accepted" if b"\x00\x0f\x00\x01" in body[38:] or not outcome.startswith("hello") else None


class Changing(TLSConnection):
    """A client that changes its own handshake messages."""

    change = staticmethod(lambda message: None)

    def _sendMsg(self, message, *arguments, **named):
        self.change(message)
        yield from super()._sendMsg(message, *arguments, **named)


def settings(version, **more):
    chosen = HandshakeSettings()
    chosen.minVersion = chosen.maxVersion = version
    chosen.versions = [version]
    chosen.keyShares = ["x25519"]
    chosen.eccCurves = ["x25519", "secp256r1"]
    for name, value in more.items():
        setattr(chosen, name, value)
    return chosen


def established(world, name, version, session=None, change=None, **more):
    """A connection behind its handshake."""
    connection = Changing(world.connect(name))
    # An abrupt end is what many cases wait for.
    connection.ignoreAbruptClose = True
    connection.closeSocket = True
    if change:
        connection.change = change
    connection.handshakeClientCert(settings=settings(version, **more), session=session, serverName="localhost")
    return connection


def send(connection, kind, octets):
    for _ in connection._recordLayer.sendRecord(Message(kind, bytearray(octets))):
        pass


def outcome(connection):
    """`alert N` or `closed`, after any data."""
    try:
        while connection.read(max=1 << 14, min=1):
            pass
        return "closed"
    except TLSError as error:
        description = getattr(error, "description", None)
        return "closed" if description is None else f"alert {description}"
    except OSError:
        return "closed"


def works(connection, name):
    """The protocol inside still answers."""
    question = b"probe NOOP\r\n" if name == "imaps" else b"GET /v1.0/me HTTP/1.1\r\nHost: localhost\r\n\r\n"
    expected = b"probe OK" if name == "imaps" else b"HTTP/1.1 401"
    connection.write(question)
    received = b""
    while expected not in received:
        piece = connection.read(max=1 << 14, min=1)
        if not piece:
            return f"closed after {received}"
        received += piece
    return None


def going_on(world, name, version, act):
    connection = established(world, name, version)
    if problem := works(connection, name):
        return f"before: {problem}"
    act(connection)
    problem = works(connection, name)
    connection.close()
    return problem


def ending(world, name, version, act, allowed):
    connection = established(world, name, version)
    try:
        act(connection)
    except TLSError:
        # It has ended already, and refuses to send more.
        pass
    came = outcome(connection)
    return None if came in allowed else f"{came}, not {' or '.join(sorted(allowed))}"


def raw(octets):
    return lambda connection: connection.sock.sendall(octets)


def message(kind, octets):
    return lambda connection: send(connection, kind, octets)


def updated(requested):
    def act(connection):
        kind = KeyUpdateMessageType.update_requested if requested else KeyUpdateMessageType.update_not_requested
        for _ in connection.send_keyupdate_request(kind):
            pass

    return act


def updates(count):
    def act(connection):
        for _ in range(count):
            updated(True)(connection)

    return act


def padded(connection):
    connection._recordLayer.padding_cb = lambda length, kind, most: 1000
    send(connection, DATA, b"")


def interleaved(connection):
    send(connection, HANDSHAKE, b"\x18\0")
    send(connection, DATA, b"x")


GOING_ON = {
    "an empty record": (message(DATA, b""), (3, 4)),
    "an empty record in TLS 1.2": (message(DATA, b""), (3, 3)),
    "padding": (padded, (3, 4)),
    "a key update": (updated(False), (3, 4)),
    "a key update with an answer": (updated(True), (3, 4)),
    "three key updates": (updates(3), (3, 4)),
}

ENDING = {
    "a bad tag": (raw(bytes([DATA, 3, 3, 0, 40]) + bytes(40)), BAD_MAC),
    "a record shorter than its tag": (raw(bytes([DATA, 3, 3, 0, 5]) + bytes(5)), BAD_MAC, DECODE),
    "an empty record without a tag": (raw(bytes([DATA, 3, 3, 0, 0])), BAD_MAC, DECODE),
    "a record that is too long": (raw(bytes([DATA, 3, 3]) + struct.pack(">H", 2**14 + 2049) + bytes(2**14 + 2049)), OVERFLOW),
    "an unknown type of record": (raw(bytes([99, 3, 3, 0, 40]) + bytes(40)), UNEXPECTED, BAD_MAC),
    "a wrong version of a record": (raw(bytes([DATA, 4, 3, 0, 40]) + bytes(40)), VERSION, DECODE, BAD_MAC),
    "a heartbeat": (message(HEARTBEAT, b"\1\x40\0"), UNEXPECTED, DECODE),
    "an unknown type inside": (message(99, b"x"), UNEXPECTED, DECODE),
    "an empty handshake record": (message(HANDSHAKE, b""), UNEXPECTED),
    "an alert of one octet": (message(ALERT, b"\2"), DECODE, UNEXPECTED),
    "an alert of three octets": (message(ALERT, b"\1\0\0"), DECODE, UNEXPECTED),
    "a fatal alert": (message(ALERT, b"\2\x28"),),
    "a close_notify": (message(ALERT, b"\1\0"), CLOSE),
    "a finished": (message(HANDSHAKE, b"\x14\0\0\x20" + bytes(32)), UNEXPECTED),
    "a server's hello": (message(HANDSHAKE, b"\2\0\0\x26" + bytes(38)), UNEXPECTED),
    "a ticket": (message(HANDSHAKE, b"\4\0\0\x06" + bytes(6)), UNEXPECTED),
    "a certificate": (message(HANDSHAKE, b"\x0b\0\0\4" + bytes(4)), UNEXPECTED),
    "an unknown message": (message(HANDSHAKE, b"\xc8\0\0\0"), UNEXPECTED, DECODE),
    "a message of 16 MiB": (message(HANDSHAKE, b"\x18\xff\xff\xff" + bytes(100)), UNEXPECTED, DECODE, ILLEGAL),
}
ENDING13 = {
    "a change of ciphers": (raw(bytes([CCS, 3, 3, 0, 1, 1])), UNEXPECTED),
    "an alert in plain text": (raw(bytes([ALERT, 3, 3, 0, 2, 1, 0])), UNEXPECTED, BAD_MAC, DECODE),
    "a handshake in plain text": (raw(records(hello(TLS13, modern()))), UNEXPECTED, BAD_MAC),
    "a record of TLS 1.3's limit and one": (raw(bytes([DATA, 3, 3]) + struct.pack(">H", 2**14 + 257) + bytes(2**14 + 257)), OVERFLOW),
    "nothing but padding": (message(0, b""), UNEXPECTED),
    "a second hello": (message(HANDSHAKE, hello(TLS13, modern())), UNEXPECTED),
    "an end of early data": (message(HANDSHAKE, b"\5\0\0\0"), UNEXPECTED),
    "a key update with another value": (message(HANDSHAKE, b"\x18\0\0\1\2"), ILLEGAL),
    "a key update without a value": (message(HANDSHAKE, b"\x18\0\0\0"), DECODE),
    "a key update with two values": (message(HANDSHAKE, b"\x18\0\0\2\0\0"), DECODE),
    "a message behind a key update": (message(HANDSHAKE, b"\x18\0\0\1\0\x18\0\0\1\0"), UNEXPECTED),
    "data within a message": (interleaved, UNEXPECTED),
    "key updates without end": (updates(200), UNEXPECTED),
    "a warning": (message(ALERT, b"\1\x28"), UNEXPECTED, DECODE),
}
ENDING12 = {
    "a change of ciphers": (message(CCS, b"\1"), UNEXPECTED),
    "a request for a hello": (message(HANDSHAKE, b"\0\0\0\0"), UNEXPECTED),
    "a key update": (message(HANDSHAKE, b"\x18\0\0\1\0"), UNEXPECTED),
    "data within a message": (lambda c: (send(c, HANDSHAKE, b"\1\0"), send(c, DATA, b"x")), UNEXPECTED),
    # At the place of an alert of no renegotiation, after which the connection may go on, this ends it: RFC 5246 §7.2.2.
    "a second hello": (message(HANDSHAKE, hello(ECDSA12, OLD)), NO_RENEGOTIATION, UNEXPECTED),
}


def changed(world, version, change, allowed):
    """A handshake with a wrong message fails."""
    try:
        connection = established(world, "imaps", version, change=change)
        # In TLS 1.3 the client's finished is the last message.
        came = outcome(connection) if version == (3, 4) else "the handshake succeeds"
        return None if came in allowed else came
    except TLSError as error:
        description = getattr(error, "description", None)
        came = "closed" if description is None else f"alert {description}"
        return None if came in allowed else f"{came}, not {' or '.join(sorted(allowed))}"
    except OSError:
        return None


def wrong_finished(message):
    if isinstance(message, Finished):
        message.verify_data = bytearray(message.verify_data)
        message.verify_data[0] ^= 1


def short_finished(message):
    if isinstance(message, Finished):
        message.verify_data = message.verify_data[:-1]


def key(octets):
    def change(message):
        if isinstance(message, ClientKeyExchange):
            message.ecdh_Yc = bytearray(octets)

    return change


def resumed(world, version, tamper):
    """A ticket resumes its session; a ticket that was tampered with does not, and the handshake is a full one."""
    first = established(world, "imaps", version)
    works(first, "imaps")
    session = first.session
    first.close()
    if version == (3, 4):
        if not session.tickets:
            return "no ticket"
        if tamper:
            session.tickets[-1].ticket[20] ^= 1
            session.tickets[:] = session.tickets[-1:]
    else:
        tickets = session.tls_1_0_tickets
        if not tickets:
            return "no ticket"
        if tamper:
            tickets[-1].ticket[20] ^= 1
    try:
        second = established(world, "imaps", version, session=session)
    except TLSError as error:
        # tlslite-ng takes it for granted that a ticket of TLS 1.2 is accepted; a certificate comes in a full handshake only.
        full = tamper and version == (3, 3) and "got certificate" in str(error)
        return None if full else str(error)
    problem = works(second, "imaps")
    if not problem and second.resumed == tamper:
        problem = f"resumed: {second.resumed}"
    second.close()
    return problem


def suites(world, version, cipher):
    connection = established(world, "imaps", version, cipherNames=[cipher])
    problem = works(connection, "imaps")
    connection.close()
    return problem


def run(world, _, results):
    for case, (octets, allowed) in HELLOS.items():
        results.run(HELLO, case, greeted, world, octets, allowed)
    results.run(HELLO, "a sentinel against downgrades", sentinel, world)
    results.run(HELLO, "no heartbeat", no_heartbeat, world)
    for version, label in (((3, 3), "TLS 1.2"), ((3, 4), "TLS 1.3")):
        for cipher in ("aes128gcm", "aes256gcm", "chacha20-poly1305"):
            results.run("tls handshake", f"{label}, {cipher}", suites, world, version, cipher)
        for tamper in (False, True):
            case = f"{label}, a ticket{', tampered with' if tamper else ''}"
            results.run("tls handshake", case, resumed, world, version, tamper)
        for case, change in {"a wrong finished": wrong_finished, "a finished that is too short": short_finished}.items():
            results.run("tls handshake", f"{label}, {case}", changed, world, version, change, alerts(DECRYPT, DECODE))
    for case, octets in {
        "a point that is not on the curve": b"\4" + b"\1" * 64,
        "an empty key": b"",
        "a key of zeros": bytes(32),
        "a key that is too short": bytes([9]) * 31,
    }.items():
        results.run("tls handshake", f"TLS 1.2, {case}", changed, world, (3, 3), key(octets), alerts(ILLEGAL, DECODE, FAILURE))
    for name in ("imaps", "graphs"):
        suite = f"tls records of {name}"
        for case, (act, version) in GOING_ON.items():
            results.run(suite, case, going_on, world, name, version, act)
        for version, label, own in (((3, 3), "TLS 1.2", ENDING12), ((3, 4), "TLS 1.3", ENDING13)):
            for case, (act, *codes) in {**ENDING, **own}.items():
                results.run(suite, f"{label}, {case}", ending, world, name, version, act, alerts(*codes))
