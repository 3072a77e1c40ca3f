"""Request smuggling: heads and bodies that two readers could understand differently, at a Graph listener with TLS and one without.

A refused request gets one answer, the connection is closed, and nothing of it or of what follows reaches the upstream.
"""

from world import BASIC, PATIENCE, read_to_end

SUITE = "http/1.1 smuggling"

BODY = b'{"a":1}'
CHUNKED = b"7\r\n" + BODY + b"\r\n0\r\n\r\n"

# What an attacker wants the upstream to take for a request of its own.
SMUGGLED = b"GET /v1.0/me/messages?smuggled=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic " + BASIC.encode() + b"\r\n\r\n"


def post(*fields, body=BODY, line=b"POST /v1.0/me/messages HTTP/1.1", host=b"Host: localhost"):
    """A request with these further fields, and the body as it is."""
    lines = [line, *([host] if host else []), b"Content-Type: application/json", b"Authorization: Basic " + BASIC.encode()]
    return b"\r\n".join([*lines, *fields]) + b"\r\n\r\n" + body


LENGTH = b"Content-Length: 7"
TE = b"Transfer-Encoding: chunked"

LAST = post(b"Connection: close", body=b"", line=b"GET /v1.0/me/messages?end HTTP/1.1")

# Requests that are served, so that the refusals below prove something: the octets, and the bodies that arrive.
SERVED = {
    "length": (post(LENGTH), [BODY]),
    "chunked": (post(TE, body=CHUNKED), [BODY]),
    "chunked in another case": (post(b"transfer-ENCODING: cHuNkEd", body=CHUNKED), [BODY]),
    "chunked behind a tab": (post(b"Transfer-Encoding:\tchunked", body=CHUNKED), [BODY]),
    "no body": (post(body=b"", line=b"GET /v1.0/me/messages HTTP/1.1"), [b""]),
    "two in a row": (post(LENGTH) + post(TE, body=CHUNKED), [BODY, BODY]),
    "an empty line before": (b"\r\n" + post(LENGTH), [BODY]),
    "a chunk extension": (post(TE, body=b"7;a=b\r\n" + BODY + b"\r\n0;c\r\n\r\n"), [BODY]),
    "leading zeros of a chunk size": (post(TE, body=b"0007\r\n" + BODY + b"\r\n000\r\n\r\n"), [BODY]),
    "a trailer": (post(TE, body=b"7\r\n" + BODY + b"\r\n0\r\nContent-Length: 99\r\nX-A: b\r\n\r\n"), [BODY]),
    "100-continue": (post(LENGTH, b"Expect: 100-continue"), [BODY]),
    "a hop-by-hop length": (post(LENGTH, b"Connection: close, Content-Length"), [BODY]),
    "a hop-by-hop coding": (post(TE, b"Connection: close, Transfer-Encoding", body=CHUNKED), [BODY]),
    "an upgrade to h2c": (
        post(LENGTH, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        [BODY],
    ),
}

# Heads that are refused: the octets, and the status.
REFUSED = {
    "CL.TE": (post(b"Content-Length: 6", TE, body=b"0\r\n\r\nG"), 400),
    "TE.CL": (post(TE, b"Content-Length: 4", body=b"5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n"), 400),
    "CL.TE, the coding behind a tab": (post(b"Content-Length: 6", b"Transfer-Encoding:\tchunked", body=b"0\r\n\r\nG"), 400),
    "TE.TE, the second unknown": (post(TE, b"Transfer-Encoding: x", body=CHUNKED), 400),
    "TE.TE, the first unknown": (post(b"Transfer-Encoding: x", TE, body=CHUNKED), 400),
    "TE.TE, twice chunked": (post(TE, TE, body=CHUNKED), 400),
    "TE, xchunked": (post(b"Transfer-Encoding: xchunked", body=CHUNKED), 400),
    "TE, chunked with a space inside": (post(b"Transfer-Encoding: chun ked", body=CHUNKED), 400),
    "TE, space before the colon": (post(b"Transfer-Encoding : chunked", body=CHUNKED), 400),
    "TE, tab before the colon": (post(b"Transfer-Encoding\t: chunked", body=CHUNKED), 400),
    "TE, vertical tab before the value": (post(b"Transfer-Encoding: \x0bchunked", body=CHUNKED), 400),
    "TE, form feed behind the value": (post(b"Transfer-Encoding: chunked\x0c", body=CHUNKED), 400),
    "TE, NUL behind the value": (post(b"Transfer-Encoding: chunked\0", body=CHUNKED), 400),
    "TE, in quotes": (post(b'Transfer-Encoding: "chunked"', body=CHUNKED), 400),
    "TE, identity": (post(b"Transfer-Encoding: identity", LENGTH), 400),
    "TE, identity, chunked": (post(b"Transfer-Encoding: identity, chunked", body=CHUNKED), 400),
    "TE, chunked, identity": (post(b"Transfer-Encoding: chunked, identity", body=CHUNKED), 400),
    "TE, gzip, chunked": (post(b"Transfer-Encoding: gzip, chunked", body=CHUNKED), 400),
    "TE, chunked, chunked": (post(b"Transfer-Encoding: chunked, chunked", body=CHUNKED), 400),
    "TE, a comma first": (post(b"Transfer-Encoding: ,chunked", body=CHUNKED), 400),
    "TE, a parameter": (post(b"Transfer-Encoding: chunked;q=1", body=CHUNKED), 400),
    "TE, empty": (post(b"Transfer-Encoding:", LENGTH), 400),
    "TE, underscore in its name": (post(b"Transfer_Encoding: chunked", LENGTH), 400),
    "TE, folded": (post(b"Transfer-Encoding:", b" chunked", body=CHUNKED), 400),
    "TE, hidden in a folded field": (post(LENGTH, b"X: y", b" Transfer-Encoding: chunked"), 400),
    "TE, folded by a tab": (post(LENGTH, b"X: y", b"\tTransfer-Encoding: chunked"), 400),
    "TE, behind a lone LF": (post(LENGTH, b"X: y\nTransfer-Encoding: chunked"), 400),
    "TE, behind a lone CR": (post(LENGTH, b"X: y\rTransfer-Encoding: chunked"), 400),
    "TE, in HTTP/1.0": (post(TE, line=b"POST /v1.0/me/messages HTTP/1.0", body=CHUNKED), 400),
    "CL, twice with one value": (post(LENGTH, LENGTH), 400),
    "CL, twice with two values": (post(LENGTH, b"Content-Length: 0"), 400),
    "CL, a list of one value": (post(b"Content-Length: 7, 7"), 400),
    "CL, a list of two values": (post(b"Content-Length: 7, 0"), 400),
    "CL, a plus sign": (post(b"Content-Length: +7"), 400),
    "CL, a minus sign": (post(b"Content-Length: -7"), 400),
    "CL, hexadecimal": (post(b"Content-Length: 0x7"), 400),
    "CL, an exponent": (post(b"Content-Length: 7e0"), 400),
    "CL, a fraction": (post(b"Content-Length: 7.0"), 400),
    "CL, a space inside": (post(b"Content-Length: 7 7"), 400),
    "CL, empty": (post(b"Content-Length:"), 400),
    "CL, above 2^64": (post(b"Content-Length: 18446744073709551623"), 400),
    "CL, folded": (post(b"Content-Length: 7", b" 7"), 400),
    "CL, space before the colon": (post(b"Content-Length : 7"), 400),
    "CL, underscore in its name": (post(b"Content_Length: 7"), 400),
    "CL, a NUL inside": (post(b"Content-Length: 7\x000"), 400),
    "CL, a full-width digit": (post("Content-Length: ７".encode()), 400),
    "the head ends with lone LFs": (post(LENGTH).replace(b"\r\n", b"\n"), 400),
    "the head ends with LF LF": (post(LENGTH).replace(b"\r\n\r\n", b"\n\n"), 400),
    "the head ends with CR CR": (post(LENGTH).replace(b"\r\n\r\n", b"\r\r" + SMUGGLED), 400),
    "a lone LF before the request": (b"\n" + post(LENGTH), 400),
    "two empty lines before": (b"\r\n\r\n" + post(LENGTH), 400),
    "a space before the first field": (post(LENGTH, host=b" Host: localhost"), 400),
    "a field without a colon": (post(LENGTH, b"X-A"), 400),
    "a field without a name": (post(LENGTH, b": value"), 400),
    "a field name with a space": (post(LENGTH, b"X A: b"), 400),
    "a field name with a NUL": (post(LENGTH, b"X\0A: b"), 400),
    "a field name in UTF-8": (post(LENGTH, "Ü: b".encode()), 400),
    "no Host": (post(LENGTH, host=None), 400),
    "two Hosts": (post(LENGTH, b"Host: localhost"), 400),
    "Host, space before the colon": (post(LENGTH, host=b"Host : localhost"), 400),
    "an absolute target of another host": (post(LENGTH, line=b"POST http://other/v1.0/me/messages HTTP/1.1"), 400),
    "a target with a fragment": (post(LENGTH, line=b"POST /v1.0/me/messages#a HTTP/1.1"), 400),
    "a target with a backslash": (post(LENGTH, line=b"POST /v1.0\\me/messages HTTP/1.1"), 400),
    "a target with a NUL": (post(LENGTH, line=b"POST /v1.0/me\0/messages HTTP/1.1"), 400),
    "a target in UTF-8": (post(LENGTH, line="POST /v1.0/mé/messages HTTP/1.1".encode()), 400),
    "two spaces in the request line": (post(LENGTH, line=b"POST  /v1.0/me/messages HTTP/1.1"), 400),
    "a tab in the request line": (post(LENGTH, line=b"POST\t/v1.0/me/messages HTTP/1.1"), 400),
    "a space behind the version": (post(LENGTH, line=b"POST /v1.0/me/messages HTTP/1.1 "), 400),
    "no version": (post(LENGTH, line=b"POST /v1.0/me/messages"), 400),
    "version 2.0": (post(LENGTH, line=b"POST /v1.0/me/messages HTTP/2.0"), 505),
    "version 1.2": (post(LENGTH, line=b"POST /v1.0/me/messages HTTP/1.2"), 505),
    "version in small letters": (post(LENGTH, line=b"POST /v1.0/me/messages http/1.1"), 400),
    "GET with a body": (post(LENGTH, line=b"GET /v1.0/me/messages HTTP/1.1"), 400),
    "CONNECT": (post(LENGTH, line=b"CONNECT graph.microsoft.com:443 HTTP/1.1"), 400),
    "TRACE": (post(LENGTH, line=b"TRACE /v1.0/me/messages HTTP/1.1"), 501),
    "a method in small letters": (post(LENGTH, line=b"post /v1.0/me/messages HTTP/1.1"), 400),
    "an unknown expectation": (post(LENGTH, b"Expect: 200-ok"), 417),
    "two expectations": (post(LENGTH, b"Expect: 100-continue", b"Expect: 100-continue"), 417),
    "too many fields": (post(LENGTH, *[b"X-%d: a" % n for n in range(200)]), 431),
    "too long a head": (post(LENGTH, b"X: " + b"a" * 65536), 431),
}

# Bodies that are malformed behind a good head: the request never becomes whole at the upstream.
BROKEN = {
    "chunk size with 0x": b"0x7\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size with a plus sign": b"+7\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size with a minus sign": b"-7\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size with a space before": b" 7\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size with a space behind": b"7 \r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size with an underscore": b"0_7\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size that is empty": b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size above 2^64": b"10000000000000007\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size that ends with LF": b"7\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size that ends with CR": b"7\r" + BODY + b"\r\n0\r\n\r\n",
    "chunk extension with a lone LF": b"7;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk extension with a lone CR": b"7;a\rb\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk extension with a NUL": b"7;a\0b\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk data that is too long": b"6\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk data that is too short": b"8\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk data that ends with LF": b"7\r\n" + BODY + b"\n0\r\n\r\n",
    "chunk data that ends with nothing": b"7\r\n" + BODY + b"0\r\n\r\n",
    "last chunk that ends with LF": b"7\r\n" + BODY + b"\r\n0\n\n",
    "trailer with a lone LF": b"7\r\n" + BODY + b"\r\n0\r\nX: a\nY: b\r\n\r\n",
    "trailer that is folded": b"7\r\n" + BODY + b"\r\n0\r\nX: a\r\n b\r\n\r\n",
    "trailer without a colon": b"7\r\n" + BODY + b"\r\n0\r\n" + SMUGGLED,
}


def exchange(world, name, octets):
    """Sends the octets, and reads to the end of the connection."""
    connection = world.connect(name)
    if name == "graphs":
        connection = world.client_tls().wrap_socket(connection, server_hostname="localhost")
    with connection:
        try:
            connection.sendall(octets)
        except (ConnectionError, OSError):
            pass
        return read_to_end(connection)


def statuses(answer):
    """The status of each final answer."""
    found = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    return [status for status in found if status != 100]


def served(world, fake, name, octets, bodies):
    fake.take_requests()
    if b"Connection: close" not in octets:
        # So that there is an end to read to.
        octets += LAST
    answer, closed = exchange(world, name, octets)
    requests = [(head, body) for head, body in fake.take_requests() if b"?end " not in head]
    if not closed:
        return f"the connection stays open after {statuses(answer)}"
    if [body for _, body in requests] != bodies:
        return f"arrived: {requests}; answered: {statuses(answer)}"
    for head, _ in requests:
        lower = head.lower()
        if lower.count(b"content-length:") + lower.count(b"transfer-encoding:") > 1 or b"basic" in lower:
            return f"forwarded: {head}"
        if b"\r\nupgrade:" in lower or b"http2-settings" in lower or b"x-a:" in lower:
            return f"forwarded what is the connection's own: {head}"
    return None


def refused(world, fake, name, octets, status):
    fake.take_requests()
    answer, closed = exchange(world, name, octets + SMUGGLED)
    requests = fake.take_requests()
    if requests:
        return f"forwarded: {requests}"
    if statuses(answer) != [status]:
        return f"answered {statuses(answer)}, not {status}"
    return None if closed else "the connection stays open"


def broken(world, fake, name, body):
    fake.take_requests()
    answer, closed = exchange(world, name, post(TE, body=body) + SMUGGLED)
    requests = fake.take_requests()
    if requests:
        return f"forwarded: {requests}"
    if any(status < 400 for status in statuses(answer)) or len(statuses(answer)) > 1:
        return f"answered {statuses(answer)}"
    return None if closed else f"the connection stays open for {PATIENCE} s"


def run(world, fake, results):
    for name in ("graphs", "graph-plain"):
        suite = SUITE + (" over TLS" if name == "graphs" else "")
        for case, (octets, bodies) in SERVED.items():
            results.run(suite, f"served: {case}", served, world, fake, name, octets, bodies)
        for case, (octets, status) in REFUSED.items():
            results.run(suite, f"refused: {case}", refused, world, fake, name, octets, status)
        for case, body in BROKEN.items():
            results.run(suite, f"broken: {case}", broken, world, fake, name, body)
