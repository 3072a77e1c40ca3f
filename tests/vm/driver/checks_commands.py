"""The commands beside the service: as root, as `gatepost`, with secrets that only the service has."""

import re
from typing import Any

from checks_sockets import prepare_socket_units
from rows import expect, row

from guest import CERTIFICATE, FILE, GATEPOST, KEY, SCANNER, Guest

CONFIG = f"--config {FILE}"
AS_ROOT = "gatepost"
OWNERS = "find /var/lib/gatepost /run/gatepost /etc/gatepost -printf '%p %u %g %m\\n' 2>/dev/null | sort"


def credentials(configuration: dict[str, Any]) -> None:
    """Client secret and TLS key come from systemd."""
    [scanner] = [account for account in configuration["accounts"] if account["login"] == SCANNER]
    scanner["client_secret"] = {"credential": "client-secret"}
    configuration["listeners"]["imaps"] = {
        "protocol": "imap",
        "bind": "127.0.0.1:1993",
        "tls": "implicit",
        "upstream": "localhost:21993",
        "certificate": CERTIFICATE,
        "private_key": KEY,
    }


def _with_credentials(guest: Guest) -> None:
    prepare_socket_units(guest)
    guest.configure(credentials)


def shown_password(text: str) -> str:
    """Returns the device password that a command has printed."""
    found = re.findall(r"^ *password +(\S+)$", text, re.MULTILINE)
    expect(len(found) == 1, "a device password", text)
    return found[0]


def _add(guest: Guest, name: str, who: str = GATEPOST) -> str:
    return shown_password(guest.do(f"{who} password add {SCANNER} --name {name} {CONFIG}"))


@row(
    "F5.check",
    "`gatepost check` finds no fault in credentials of systemd, before the first start and beside the service",
)
def check(guest: Guest) -> None:
    _with_credentials(guest)
    for moment in ("before the first start", "beside the service"):
        for who in (AS_ROOT, GATEPOST):
            done = guest.run(f"{who} check {CONFIG}")
            expect(done.code == 0, f"{who} check {moment}: no problem", f"exit code {done.code}: {done.text}")
        guest.start()


@row("F5.password", "`password add` and `list` need no credential, beside the service and while it is stopped")
def password(guest: Guest) -> None:
    _with_credentials(guest)
    guest.start()
    made = _add(guest, "printer")
    guest.expect_login(1993, user=SCANNER, password=made, scheme="imaps")
    guest.do("systemctl stop gatepost")
    later = _add(guest, "fax")
    listed = guest.do(f"{GATEPOST} password list {CONFIG}")
    expect("printer" in listed and "fax" in listed, "both passwords in the list", listed)
    guest.start()
    guest.expect_login(1993, user=SCANNER, password=later, scheme="imaps")


@row("F5.rotate", "`state rotate-key` needs no credential, beside the service and while it is stopped")
def rotate(guest: Guest) -> None:
    _with_credentials(guest)
    guest.start()
    made = _add(guest, "printer")
    guest.do(f"{GATEPOST} state rotate-key {CONFIG}")
    guest.do("systemctl restart gatepost")
    guest.expect_login(1993, user=SCANNER, password=made, scheme="imaps")
    guest.do("systemctl stop gatepost")
    guest.do(f"{GATEPOST} state rotate-key {CONFIG}")
    guest.start()
    guest.expect_login(1993, user=SCANNER, password=made, scheme="imaps")


@row("F5.root", "the same commands as root work, or say to run them with `sudo -u gatepost`")
def root_with_credentials(guest: Guest) -> None:
    _with_credentials(guest)
    guest.start()
    _root_commands(guest)
    guest.expect_login(1993, scheme="imaps")


@row("F6", "`gatepost status` and `reload` find the running service, as root and as gatepost")
def status(guest: Guest) -> None:
    guest.start()
    for who in (AS_ROOT, GATEPOST):
        said = guest.do(f"{who} status {CONFIG}")
        expect("imap" in said, f"the listeners in `{who} status`", said)
        guest.do(f"{who} status --ready {CONFIG}")
        guest.do(f"{who} reload {CONFIG}")


@row("F6.credentials", "the same with secrets that only the service has")
def status_with_credentials(guest: Guest) -> None:
    _with_credentials(guest)
    guest.start()
    for who in (AS_ROOT, GATEPOST):
        guest.do(f"{who} status {CONFIG}")
        guest.do(f"{who} reload {CONFIG}")
        guest.do(f"{who} account unlock alice@contoso.example {CONFIG}")


def _root_commands(guest: Guest) -> None:
    """Runs what touches the store as root: it works or says how to run it, and gives nothing another owner."""
    for command in (f"password add {SCANNER} --name root", "password list", "state rotate-key"):
        before = guest.do(OWNERS)
        done = guest.run(f"gatepost {command} {CONFIG}")
        advised = "sudo -u gatepost" in done.text
        expect(done.code == 0 or advised, f"`gatepost {command}` works, or names sudo -u gatepost", done.text)
        expect("chown" not in done.text, "no advice to change owners", done.text)
        after = guest.do(OWNERS)
        # The store's own helper files come and go; what counts is who owns what is there.
        foreign = [
            line
            for line in after.splitlines()
            if line not in before and "/var/lib/gatepost" in line and " gatepost " not in line
        ]
        expect(not foreign, "every file of the store belongs to gatepost", foreign)


@row("F7", "a command as root works, or says to run it with `sudo -u gatepost`; no file gets another owner")
def root(guest: Guest) -> None:
    guest.start()
    _root_commands(guest)
    guest.do("systemctl restart gatepost")
    guest.expect_login()


@row("F7.first", "a command as root before the first start does not lock the service out of its store")
def root_first(guest: Guest) -> None:
    guest.run(f"gatepost password add {SCANNER} --name root {CONFIG}")
    guest.start()
    guest.expect_login()


CLOSED = """
import os, subprocess, sys
read, write = os.pipe()
os.close(read)
both = sys.argv[1] == "both"
done = subprocess.run(sys.argv[2:], stdout=write, stderr=write if both else subprocess.PIPE)
print(done.returncode, (done.stderr or b"").decode())
"""


@row("F17", "a command whose output nobody reads ends without a panic")
def closed_pipe(guest: Guest) -> None:
    guest.start()
    guest.put("/root/closed.py", CLOSED)
    commands = (
        "check",
        "status --socket /run/gatepost/gatepost.sock",
        "--help",
        "password hash --generate",
        "check -c /none",
    )
    for command in commands:
        for which in ("out", "both"):
            said = guest.do(
                f"cd /etc/gatepost && sudo -u gatepost python3 - {which} gatepost {command} < /root/closed.py"
            )
            expect(not said.startswith("101") and "panicked" not in said, f"no panic of `gatepost {command}`", said)


@row("H.commands", "device passwords and keys change beside the service, which says so by itself")
def beside(guest: Guest) -> None:
    guest.start()
    cursor = guest.cursor()
    made = _add(guest, "printer")
    guest.wait("the service notes the password", lambda: "device password" in guest.since(cursor))
    guest.expect_login(user=SCANNER, password=made)
    guest.do(f"{GATEPOST} state rotate-key {CONFIG}")
    listed = guest.do(f"{GATEPOST} password list {CONFIG}")
    expect("printer" in listed, "the password in the list", listed)
    guest.expect_login(user=SCANNER, password=made)
