"""STARTTLS injection by what stands between Gatepost and an upstream: replies before the handshake must not be believed, and
no credentials may leave without TLS."""

import ssl

from starttls import PLAIN
from world import PASSWORD, USER, Lines

SUITE = "upstream injection"

STARTTLS = {"imap": "STARTTLS", "pop3": "STLS", "smtp": "STARTTLS"}

# Greeting, and capabilities with STARTTLS.
GREETING = {"imap": "* OK ready\r\n", "pop3": "+OK ready\r\n", "smtp": "220 fake ESMTP\r\n"}
OFFER = {
    "imap": "* CAPABILITY IMAP4rev1 STARTTLS AUTH=XOAUTH2 SASL-IR\r\n{tag} OK done\r\n",
    "pop3": "+OK\r\nSTLS\r\nSASL PLAIN XOAUTH2\r\nUSER\r\n.\r\n",
    "smtp": "250-fake\r\n250-STARTTLS\r\n250 AUTH LOGIN XOAUTH2\r\n",
}
GO = {"imap": "{tag} OK go ahead\r\n", "pop3": "+OK go ahead\r\n", "smtp": "220 go ahead\r\n"}
GOOD = {"imap": "{tag} OK done\r\n", "pop3": "+OK done\r\n", "smtp": "235 2.7.0 done\r\n"}
BAD = {"imap": "{tag} NO AUTHENTICATE failed.\r\n", "pop3": "-ERR failed\r\n", "smtp": "535 5.7.3 failed\r\n"}


class Fake:
    """A mail server that follows the rules except for what a case adds, and notes what it hears."""

    def __init__(self, protocol, tls, **adds):
        """`adds`: `greeting` and `offer` replace those above; `behind` follows the reply to STARTTLS in one segment; `refuses`
        STARTTLS; `opens` says what a login gets."""
        self.protocol, self.tls, self.adds = protocol, tls, adds
        self.plain, self.inside = [], []

    def __call__(self, connection):
        self.talk(Lines(connection), self.plain, connection)

    def talk(self, lines, heard, connection):
        protocol, adds = self.protocol, self.adds
        within = heard is self.inside
        if not within:
            lines.send(adds.get("greeting", GREETING[protocol]))
        while (line := lines.line()) is not None:
            heard.append(line)
            words = line.split(" ")
            tag, command = (words[0], words[1:]) if protocol == "imap" else ("", words)
            verb = command[0].upper() if command else ""
            if verb in ("CAPABILITY", "CAPA", "EHLO", "HELO"):
                lines.send(adds.get("offer", OFFER[protocol]).replace("{tag}", tag))
            elif verb == STARTTLS[protocol] and not within:
                if adds.get("refuses"):
                    lines.send(adds["refuses"].replace("{tag}", tag))
                    continue
                lines.send((GO[protocol] + adds.get("behind", "")).replace("{tag}", tag))
                stream = self.tls.wrap_socket(connection, server_side=True)
                return self.talk(Lines(stream), self.inside, stream)
            elif verb in ("AUTHENTICATE", "AUTH", "LOGIN", "USER", "PASS"):
                if verb.startswith("AUTH") and len(command) == 2:
                    # The token follows in a line of its own.
                    lines.send("334 \r\n" if protocol == "smtp" else "+ \r\n")
                    heard.append(lines.line() or "")
                lines.send((GOOD if adds.get("opens", True) else BAD)[protocol].replace("{tag}", tag))
            elif verb in ("QUIT", "LOGOUT"):
                return None
            else:
                lines.send({"imap": f"{tag} OK\r\n", "pop3": "+OK\r\n", "smtp": "250 OK\r\n"}[protocol])
        return None


def log_in(world, listener, protocol):
    """The reply to a login of a client."""
    with world.connect(listener) as connection:
        lines = Lines(connection)
        lines.line()
        if protocol == "imap":
            lines.send(f"c LOGIN {USER} {PASSWORD}\r\n")
            replies = lines.until(lambda line: line.startswith(("c ", "* BYE")))
        elif protocol == "pop3":
            lines.send(f"USER {USER}\r\n")
            lines.line()
            lines.send(f"PASS {PASSWORD}\r\n")
            replies = lines.until(lambda _: True)
        else:
            lines.send("EHLO client\r\n")
            lines.until(lambda line: line.startswith("250 "))
            lines.send(f"AUTH PLAIN {PLAIN}\r\n")
            replies = lines.until(lambda _: True)
        return replies[-1] if replies else ""


def is_in(reply):
    return reply.startswith(("c OK", "+OK", "235"))


def leaked(heard):
    """What a login needs, in plain text."""
    verbs = ("AUTH", "LOGIN", "USER", "PASS")
    said = [line for line in heard if any(f" {verb}" in f" {line.upper()}" for verb in verbs)]
    return [line for line in said if "CAPABILITY" not in line]


def attacked(world, fakes, protocol, listener, expect_in, adds):
    fake = Fake(protocol, fakes.tls, **adds)
    fakes.scripts[f"fake-{protocol}"] = fake
    reply = log_in(world, listener, protocol)
    fakes.scripts[f"fake-{protocol}"] = None
    if leaked(fake.plain):
        return f"in plain text: {leaked(fake.plain)}"
    if is_in(reply) != expect_in:
        return f"the client hears: {reply} (plain: {fake.plain}, inside: {len(fake.inside)} lines)"
    return None


# Names, whether the client may be in, and what the fake adds. `opens: False`: inside TLS the login fails, so that a success can
# only come from what was injected.
def cases(protocol):
    success = {
        "imap": ["* OK\r\n", "s OK done\r\n", "{tag} OK done\r\n", "1 OK done\r\n2 OK done\r\n3 OK done\r\n"],
        "pop3": ["+OK\r\n", "+OK\r\n.\r\n", "+OK\r\n+OK logged in\r\n"],
        "smtp": ["250 OK\r\n", "235 2.7.0 done\r\n", "250-fake\r\n250 AUTH XOAUTH2\r\n235 2.7.0 done\r\n"],
    }[protocol]
    yield "honest", True, {}
    yield "honest, the login fails", False, {"opens": False}
    for n, text in enumerate(success, 1):
        yield f"a reply behind the one to STARTTLS ({n})", False, {"behind": text, "opens": False}
    yield "half a reply behind the one to STARTTLS", False, {"behind": success[0][:-2], "opens": False}
    stripped = {
        "imap": "* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 AUTH=PLAIN\r\n{tag} OK done\r\n",
        "pop3": "+OK\r\nSASL PLAIN XOAUTH2\r\nUSER\r\n.\r\n",
        "smtp": "250-fake\r\n250 AUTH LOGIN PLAIN XOAUTH2\r\n",
    }[protocol]
    yield "STARTTLS is not offered", False, {"offer": stripped, "refuses": BAD[protocol]}
    refuses = {"imap": ["{tag} NO\r\n", "{tag} BAD\r\n"], "pop3": ["-ERR\r\n"], "smtp": ["454 4.7.0\r\n", "500 5.5.1\r\n"]}
    for text in refuses[protocol]:
        yield f"STARTTLS is refused ({text.strip()})", False, {"refuses": text}
    if protocol == "imap":
        preauth = "* PREAUTH IMAP4rev1 ready\r\n"
        yield "PREAUTH", False, {"greeting": preauth, "opens": False}
        yield "PREAUTH, and a second greeting", False, {"greeting": preauth + "* OK ready\r\n", "opens": False}
        yield "a greeting with replies to come", False, {"greeting": "* OK ready\r\n* PREAUTH ready\r\n", "opens": False}
        yield "BYE", False, {"greeting": "* BYE\r\n"}
        referral = "* OK [REFERRAL imap://evil.example/] ready\r\n"
        yield "a referral in the greeting", True, {"greeting": referral}
        yield "an alert in plain text", False, {"behind": "* OK [ALERT] call 555-EVIL\r\n", "opens": False}
    if protocol == "smtp":
        yield "a second greeting", False, {"greeting": "220 fake\r\n250 fake\r\n235 2.7.0 done\r\n", "opens": False}


def speaks_before_tls(world, fakes, script):
    """An upstream with TLS from the first octet says something in plain text first."""
    heard = []

    def serve(connection):
        heard.append(script(connection, fakes.tls))

    fakes.scripts["fake-imap"] = serve
    reply = log_in(world, "imaps-fake", "imap")
    fakes.scripts["fake-imap"] = None
    return f"the client hears: {reply}" if is_in(reply) else None


def preauth_in_plain(connection, _):
    connection.sendall(b"* PREAUTH ready\r\n1 OK\r\n2 OK\r\n3 OK\r\n")
    return connection.recv(4096)


def plain_then_tls(connection, tls):
    connection.sendall(b"* OK ready\r\n")
    try:
        tls.wrap_socket(connection, server_side=True)
    except (ssl.SSLError, OSError) as error:
        return str(error)
    return ""


def preauth_inside(connection, tls):
    """Even a server with the right certificate cannot say that no login is needed."""
    stream = tls.wrap_socket(connection, server_side=True)
    stream.sendall(b"* PREAUTH ready\r\n")
    lines = Lines(stream)
    while (line := lines.line()) is not None:
        tag = line.split(" ")[0]
        lines.send(f"{tag} NO\r\n")
    return ""


def run(world, fakes, results):
    for protocol in ("imap", "pop3", "smtp"):
        for case, expect_in, adds in cases(protocol):
            arguments = (world, fakes, protocol, f"{protocol}-fake", expect_in, adds)
            results.run(SUITE, f"{protocol}: {case}", attacked, *arguments)
    for case, script in {
        "PREAUTH in place of TLS": preauth_in_plain,
        "a greeting before TLS": plain_then_tls,
        "PREAUTH inside TLS": preauth_inside,
    }.items():
        results.run(SUITE, f"imap with implicit TLS: {case}", speaks_before_tls, world, fakes, script)
